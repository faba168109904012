"""Cases with the Python SDK of Resonate, 0.5 and 0.6; runs in that SDK's own environment.

As `python_sdk`, over the older REST.

    python legacy_sdk.py VERSION STORE_PORT POLL_PORT PREFIX [LOAD]
"""

import json
import sys
import uuid

from resonate import Resonate

VERSION, STORE, POLL, PREFIX = sys.argv[1:5]
LOAD = int(sys.argv[5]) if len(sys.argv) > 5 else 10


def make() -> Resonate:
    if VERSION.startswith("0.6"):
        return Resonate.remote(group="theirs", store_port=STORE, message_source_port=POLL)
    from resonate.message_sources import Poller
    from resonate.stores import RemoteStore

    pid = uuid.uuid4().hex
    store = RemoteStore(host="http://localhost", port=STORE)
    poller = Poller(group="theirs", id=pid, host="http://localhost", port=POLL)
    return Resonate(pid=pid, store=store, message_source=poller)


resonate = make()


@resonate.register
def add(ctx, a, b):
    return a + b


@resonate.register
def flow(ctx, n):
    first = yield ctx.lfc(plus, n, 1)
    yield ctx.sleep(0.03)
    second = yield ctx.rfc("add", first, 10).options(target="poll://theirs")
    one = yield ctx.rfi("add", second, 100).options(target="poll://theirs")
    two = yield ctx.rfi("add", second, 1000).options(target="poll://theirs")
    return (yield one) + (yield two)


def plus(ctx, a, b):
    return a + b


@resonate.register
def calls_ours(ctx, n):
    doubled = yield ctx.rfc("double", n).options(target="poll://ours")
    again = yield ctx.rfc("double", doubled).options(target="poll://ours")
    return again + 1


@resonate.register
def there_and_back(ctx, n):
    result = yield ctx.rfc("calls_theirs", n).options(target="poll://ours")
    return result + 1


@resonate.register
def sees_ours_fail(ctx):
    try:
        yield ctx.rfc("boom", "dry").options(target="poll://ours")
    except Exception as error:
        return str(error)
    return "no error"


@resonate.register
def deep(ctx, n):
    if n == 0:
        return 0
    below = yield ctx.rfc("deep", n - 1).options(target="poll://theirs")
    return below + 1


@resonate.register
def echo(ctx, value):
    return value


def tell(case, result):
    print(json.dumps({"case": case, "result": result}), flush=True)


def begin(target, id_, function, *args):
    """Begin a call; `rpc` returned a handle before 0.6, and returns the result since."""
    to = resonate.options(target=f"poll://{target}")
    start = to.begin_rpc if hasattr(to, "begin_rpc") else to.rpc
    return start(f"{PREFIX}{id_}", function, *args)


def rpc(target, id_, function, *args):
    return begin(target, id_, function, *args).result()


def failure(target, id_, function, *args):
    try:
        rpc(target, id_, function, *args)
    except Exception as error:
        return str(error)
    return "no error"


def main():
    resonate.start()
    tell("rpc", rpc("theirs", "rpc", "add", 3, 4))
    tell("rpc again", rpc("theirs", "rpc", "add", 3, 4))
    start = resonate.begin_run if hasattr(resonate, "begin_run") else resonate.run
    tell("run", start(f"{PREFIX}run", "flow", 1).result())
    tell("flow", rpc("theirs", "flow", "flow", 1))
    tell("ours", rpc("ours", "ours", "double", 21))
    tell("calls ours", rpc("theirs", "calls-ours", "calls_ours", 5))
    tell("there and back", rpc("theirs", "back", "there_and_back", 1))
    value = {"text": "ä€", "list": [1, 2.5, None, True], "long": "x" * 10_000}
    tell("echo", rpc("theirs", "echo", "echo", value) == value)
    tell("ours echo", rpc("ours", "ours-echo", "echo", value) == value)
    tell("ours fails", failure("ours", "ours-fails", "boom", "dry"))
    tell("sees ours fail", rpc("theirs", "sees", "sees_ours_fail"))
    tell("deep", rpc("theirs", "deep", "deep", 6))
    handles = [begin("theirs", f"load.{n}", "add", n, n) for n in range(LOAD)]
    tell("load", sum(handle.result() for handle in handles))
    handles = [begin("theirs", f"flows.{n}", "flow", n) for n in range(LOAD)]
    tell("load of flows", sum(handle.result() for handle in handles))
    tell("end", None)
    sys.stdin.readline()


main()
