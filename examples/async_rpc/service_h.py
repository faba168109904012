"""service-h: `rax`, one of the two functions that `zim` calls at the same time.

Run it with ``python -m examples.async_rpc.service_h``.
"""

from understudy import Context, Runtime

runtime = Runtime(group="service-h")


@runtime.register
def rax(_: Context) -> int:
    print("running function rax")
    return 1


if __name__ == "__main__":
    runtime.serve()
