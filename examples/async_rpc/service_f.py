"""service-f: `cog`, the end of the detached chain. Nobody waits for it, so it prints the result."""

from understudy import Context, Runtime

runtime = Runtime(group="service-f")


@runtime.register
def cog(_: Context, arg: int) -> int:
    print("running function cog")
    result = arg + 1
    print(f"the detached chain ends with {result}")
    return result


if __name__ == "__main__":
    runtime.serve()
