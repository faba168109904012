"""service-i: `dop`, one of the two functions that `zim` calls at the same time.

Run it with ``python -m examples.async_rpc.service_i``.
"""

from understudy import Context, Runtime

runtime = Runtime(group="service-i")


@runtime.register
def dop(_: Context) -> int:
    print("running function dop")
    return 1


if __name__ == "__main__":
    runtime.serve()
