"""Cases with the Python SDK of Resonate, 0.7 and 0.8; runs in that SDK's own environment.

Serves the group `theirs`, plays each case as a client, and prints one line of JSON for each: its
name, and its result. A line of input ends it; until then it goes on serving.

    python python_sdk.py URL PREFIX [LOAD]
"""

import asyncio
import json
import sys
from datetime import timedelta

from resonate.resonate import Resonate
from resonate.retry import Never
from resonate.types import Value

URL, PREFIX = sys.argv[1:3]
LOAD = int(sys.argv[3]) if len(sys.argv) > 3 else 20


async def add(ctx, a: int, b: int) -> int:
    return a + b


async def flow(ctx, n: int) -> int:
    first = await ctx.run(add, n, 1)
    await ctx.sleep(timedelta(milliseconds=30))
    second = await ctx.rpc(add, first, 10)
    both = [ctx.rpc(add, second, each) for each in (100, 1000)]
    return sum([await each for each in both])


async def calls_ours(ctx, n: int) -> int:
    doubled = await ctx.options(target="ours").rpc("double", n)
    return await ctx.options(target="ours").rpc("double", doubled) + 1


async def there_and_back(ctx, n: int) -> int:
    return await ctx.options(target="ours").rpc("calls_theirs", n) + 1


async def fails(ctx) -> None:
    raise ValueError("no such order")


async def sees_ours_fail(ctx) -> str:
    try:
        await ctx.options(target="ours").rpc("boom", "dry")
    except Exception as error:
        return str(error)
    return "no error"


async def gate(ctx) -> str:
    return await ctx.promise(timedelta(seconds=30))


async def deep(ctx, n: int) -> int:
    return 0 if n == 0 else 1 + await ctx.rpc("deep", n - 1)


async def leaves_a_note(ctx) -> str:
    return await ctx.detached("add", 1, 2)


async def echo(ctx, value):
    return value


def tell(case: str, result) -> None:
    print(json.dumps({"case": case, "result": result}), flush=True)


async def cases(r: Resonate) -> None:
    there = r.options(target="theirs", timeout=timedelta(seconds=60))
    ours = r.options(target="ours", timeout=timedelta(seconds=60))

    def name(text: str) -> str:
        return f"{PREFIX}{text}"

    tell("run", await r.run(name("run"), add, 1, 2).result())
    tell("run again", await r.run(name("run"), add, 1, 2).result())
    tell("rpc", await there.rpc(name("rpc"), add, 3, 4).result())
    tell("flow", await there.rpc(name("flow"), flow, 1).result())
    tell("run flow", await r.run(name("run-flow"), flow, 1).result())
    tell("ours", await ours.rpc(name("ours"), "double", 21).result())
    tell("bare address", await r.options(target="poll://ours").rpc(name("b"), "double", 4).result())
    tell("calls ours", await there.rpc(name("calls-ours"), calls_ours, 5).result())
    tell("there and back", await there.rpc(name("back"), there_and_back, 1).result())
    value = {"text": "ä€😀", "list": [1, 2.5, None, True], "empty": {}}
    tell("echo", await there.rpc(name("echo"), echo, value).result() == value)
    tell("ours echo", await ours.rpc(name("ours-echo"), "echo", value).result() == value)
    tell("fails", await failure(there.rpc(name("fails"), fails)))
    tell("ours fails", await failure(ours.rpc(name("ours-fails"), "boom", "dry")))
    tell("sees ours fail", await there.rpc(name("sees"), sees_ours_fail).result())
    tell("deep", await there.rpc(name("deep"), deep, 8).result())
    tell("by keyword", await ours.rpc(name("kw"), "greet", who="you").result())

    handle = there.rpc(name("gate"), gate)
    await handle.id()
    found = []
    while not found:
        page = await r.promises.search("pending", {"resonate:parent": name("gate")}, 10, None)
        found = [each.id for each in page.promises if each.id != name("gate")]
    await r.promises.resolve(found[0], Value(data="open"))
    tell("gate", await handle.result())

    detached = await there.rpc(name("detached"), leaves_a_note).result()
    tell("detached", await (await r.get(detached)).result())

    handles = [there.rpc(name(f"load.{n}"), add, n, n) for n in range(LOAD)]
    tell("load", sum([await each.result() for each in handles]))
    handles = [there.rpc(name(f"flows.{n}"), flow, n) for n in range(LOAD // 2)]
    tell("load of flows", sum([await each.result() for each in handles]))
    tell("end", None)


async def failure(handle) -> str:
    try:
        await handle.result()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


async def main() -> None:
    r = Resonate(url=URL, group="theirs", retry_policy=Never())
    for function in (
        add, flow, calls_ours, there_and_back, fails, sees_ours_fail, gate, deep, leaves_a_note,
        echo,
    ):  # fmt: skip
        r.register(function)
    await cases(r)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await r.stop()


asyncio.run(main())
