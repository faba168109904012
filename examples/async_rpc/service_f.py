"""service-f: `cog`, the last function of the detached chain. It prints the result.

Nobody waits for it. Run it with ``python -m examples.async_rpc.service_f``.
"""

from understudy import Context, Runtime

runtime = Runtime(group="service-f")


@runtime.register
def cog(_: Context, number: int) -> int:
    print("running function cog")
    result = number + 1
    print(f"the detached chain ends with {result}")
    return result


if __name__ == "__main__":
    runtime.serve()
