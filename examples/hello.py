"""A durable call in ten lines: broker, store and node are in this one process.

Run it with ``python examples/hello.py``.
"""

from understudy import Context, Runtime

runtime = Runtime.local()


@runtime.register
def greet(_: Context, name: str) -> str:
    return f"Hello, {name}!"


if __name__ == "__main__":
    with runtime:
        print(runtime.rpc("hello-1", greet, "world").result())
