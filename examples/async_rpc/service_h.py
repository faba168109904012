"""service-h: `rax`, the first of the two that `zim` fans out to."""

from understudy import Context, Runtime

runtime = Runtime(group="service-h")


@runtime.register
def rax(_: Context) -> int:
    print("running function rax")
    return 1


if __name__ == "__main__":
    runtime.serve()
