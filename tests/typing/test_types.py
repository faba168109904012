"""What type checkers refuse, and that they do not refuse the rest.

What they must accept, with the exact types, stands in ``cases/``: the normal run of mypy checks it.
Here are the mistakes. Each line that ends with ``# wrong: ...`` must have an error of that kind,
and no other line any: so a check that has become blind shows, too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"

#: seconds; a first run of mypy has to read all packages that are used
PATIENCE_S = 240

#: mypy's codes: how a call is wrong depends on how many overloads are left to choose from
KINDS = {
    "arg-type": "call",
    "call-arg": "call",
    "call-overload": "call",
    "assignment": "result",
    "assert-type": "result",
}

MISTAKES = """
from collections.abc import Generator
from typing import Any, assert_type

from understudy import Context, Promise, Runtime
from understudy.testing import crash_everywhere

runtime = Runtime.local()


@runtime.register
def generator(ctx: Context, number: int, *, text: str = "") -> Generator[Any, Any, list[str]]:
    yield ctx.sleep(1)
    return [text] * number


@runtime.register
async def coroutine(ctx: Context, number: int) -> dict[str, int]:
    await ctx.sleep("soon")  # wrong: call
    return {"number": number}


@runtime.register(version=2)
def plain(_: Context, number: int) -> float:
    return number / 2


def parameters(ctx: Context) -> Generator[Any, Any, None]:
    yield from ctx.rfc(generator, "one")  # wrong: call
    yield from ctx.rfc(coroutine, "one")  # wrong: call
    yield from ctx.rfc(plain, "one")  # wrong: call
    yield from ctx.rfi(plain, "one")  # wrong: call
    yield from ctx.detached(plain, "one")  # wrong: call
    yield from ctx.lfc(plain, "one")  # wrong: call
    yield from ctx.lfi(plain, "one")  # wrong: call
    yield from ctx.run(plain, "one")  # wrong: call
    yield from ctx.rpc(plain, "one")  # wrong: call
    yield from ctx.rfc(generator, 1, texts="x")  # wrong: call
    yield from ctx.rfc(generator)  # wrong: call
    yield from ctx.rfc(plain, 1, 2)  # wrong: call
    yield from ctx.rfc(5)  # wrong: call
    yield from ctx.rfc(plain, 1).options(taget="g")  # wrong: call
    yield from ctx.rfc(plain, 1).options(timeout="5 s")  # wrong: call


def results(ctx: Context) -> Generator[Any, Any, None]:
    a: str = yield from ctx.rfc(plain, 1)  # wrong: result
    b: list[int] = yield from ctx.rfc(generator, 1)  # wrong: result
    c: list[str] = yield from ctx.rfi(generator, 1)  # wrong: result
    d: list[str] = yield from ctx.rfc(generator, 1)
    assert_type((yield from ctx.rfc(plain, 1)), int)  # wrong: result
    assert_type((yield from ctx.rfi(plain, 1)), Promise[int])  # wrong: result


def several(ctx: Context) -> Generator[Any, Any, None]:
    first = yield from ctx.rfi(plain, 1)
    yield from ctx.map(plain, ["one"])  # wrong: call
    yield from ctx.all([1])  # wrong: call
    yield from ctx.all([first], return_exceptions="yes")  # wrong: call
    a: list[str] = yield from ctx.all([first])  # wrong: result
    b: str = yield from ctx.race([first])  # wrong: result
    c: list[str] = yield from ctx.map(plain, [1])  # wrong: result
    d: list[float] = yield from ctx.map(plain, [1], return_exceptions=True)  # wrong: result
    e: list[float] = yield from ctx.all([first])


async def awaited(ctx: Context) -> None:
    assert_type(await ctx.rfc(coroutine, 1), dict[str, str])  # wrong: result
    b: dict[str, int] = await ctx.rfi(coroutine, 1)  # wrong: result
    c: dict[str, int] = await ctx.rfc(coroutine, 1)
    await ctx.rfc(coroutine, text="x")  # wrong: call


def from_outside() -> None:
    runtime.rpc("id", generator, "one")  # wrong: call
    runtime.rpc("id", coroutine)  # wrong: call
    runtime.run("id", plain, 1, 2)  # wrong: call
    runtime.rpc(5, plain, 1)  # wrong: call
    a: str = runtime.rpc("id", plain, 1).result()  # wrong: result
    b: float = runtime.rpc("id", plain, 1).result()
    runtime.options(taget="g")  # wrong: call
    runtime.options(timeout="5 s")  # wrong: call
    runtime.schedules.create("id", "* * * * *", plain, "one")  # wrong: call
    runtime.schedules.create("id", "* * * * *", plain, 1)


def in_tests() -> None:
    crash_everywhere(generator, "one")  # wrong: call
    crash_everywhere(coroutine)  # wrong: call
    crash_everywhere(5)  # wrong: call
    crash_everywhere.on(runtime, befor=print)  # wrong: call
    a: str = crash_everywhere(plain, 1).result  # wrong: result
    b: float = crash_everywhere(plain, 1).result
"""


def mypy(*arguments: str) -> str:
    """Run mypy with the project's own settings; what it reports."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_mistakes_in_calls_are_refused_and_nothing_else_is(tmp_path: Path) -> None:
    program = tmp_path / "mistakes.py"
    program.write_text(MISTAKES)
    report = mypy(str(program))
    errors = re.findall(r"mistakes.py:(\d+): error: .*\[(.+)\]", report)
    found = {(int(line), KINDS.get(code, code)) for line, code in errors}
    expected = {
        (number, line.rpartition("# wrong: ")[2])
        for number, line in enumerate(MISTAKES.splitlines(), 1)
        if "# wrong: " in line
    }
    assert found == expected, report


def test_cases_are_part_of_the_normal_run_and_pass() -> None:
    assert mypy(*map(str, sorted(CASES.glob("*.py")))) == ""
