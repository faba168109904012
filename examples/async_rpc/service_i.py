"""service-i: `dop`, the second of the two that `zim` fans out to."""

from understudy import Context, Runtime

runtime = Runtime(group="service-i")


@runtime.register
def dop(_: Context) -> int:
    print("running function dop")
    return 1


if __name__ == "__main__":
    runtime.serve()
