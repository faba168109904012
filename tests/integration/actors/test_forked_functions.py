"""Functions that fork: the child ends when its function lets go of it, and the node goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

#: What a child prints is not lost, and what it does to the node's exit handlers is nothing.
PROGRAM = """
import asyncio, atexit, json, multiprocessing, os, sys, trio
from understudy import Never, RequestError, Runtime

runtime = Runtime.local(retry=Never())
form = sys.argv[1]
atexit.register(os.write, 1, b"exit handlers\\n")

def fork(how):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print("child: " + how)
    if how == "return":
        return None
    if how == "exit":
        sys.exit(5)
    if how == "words":
        sys.exit("in words")
    raise ValueError("in the child")

def step(ctx, how):
    return fork(how)

@runtime.register
def leaf(ctx, how):
    return fork(how)

@runtime.register
def run(ctx, how):
    return (yield ctx.run(step, how))

@runtime.register
def generator(ctx, how):
    earlier = yield ctx.rfi(nothing)
    yield ctx.run(nothing)
    code = fork(how)
    if code is not None:
        yield earlier
    return code

@runtime.register
def nothing(ctx):
    return None

@runtime.register
def going_on(ctx, how):
    code = fork("return")
    for _ in range(3000):
        ctx.run(nothing)
    yield ctx.sleep(0)
    return code

@runtime.register
async def of_trio(ctx, how):
    await trio.sleep(0)
    return fork(how)

@runtime.register(loop="asyncio")
async def of_asyncio(ctx, how):
    await asyncio.sleep(0)
    return fork(how)

@runtime.register
async def awaiting(ctx, how):
    code = fork("return")
    await trio.sleep(0)
    return code

@runtime.register
async def task_of_trio(ctx, how):
    codes = []
    async def task():
        codes.append(fork(how))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
    return codes[0]

@runtime.register(loop="asyncio")
async def task_of_asyncio(ctx, how):
    async def task():
        return fork(how)
    async with asyncio.TaskGroup() as group:
        started = group.create_task(task())
    return started.result()

def square(number):
    return number * number

@runtime.register
def pool(ctx, how):
    with multiprocessing.get_context("fork").Pool(2) as processes:
        return sum(processes.map(square, range(4)))

@runtime.register
def nested(ctx, how):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    inner = Runtime.local()
    inner.register(nothing)
    with inner:
        inner.rpc("inner", nothing).result(20)
    sys.exit(7)

with runtime:
    for how in sys.argv[2:]:
        print(json.dumps([how, runtime.rpc(f"call-{how}", form, how).result(20)]), flush=True)
    assert runtime.rpc("after", nothing).result(20) is None
"""


def perform(form: str, *hows: str, folder: Path) -> tuple[list[Any], str, str]:
    """Return the exit codes of the children by what they do, the other output, and the errors."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, form, *hows],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also children that live on
    assert process.returncode == 0, errors
    lines = output.splitlines()
    assert lines.count("exit handlers") == 1  # the node's own
    results = [json.loads(line) for line in lines if line.startswith("[")]
    assert [how for how, _ in results] == list(hows)
    return [code for _, code in results], output, errors


@pytest.mark.parametrize(
    "form",
    ["leaf", "run", "generator", "of_trio", "of_asyncio", "task_of_asyncio"],
)
def test_a_child_ends_as_at_the_top_of_a_program(form: str, tmp_path: Path) -> None:
    codes, output, errors = perform(form, "return", "exit", "words", "raise", folder=tmp_path)
    assert codes == [0, 5, 1, 1]
    assert [output.count(f"child: {how}\n") for how in ("return", "exit", "words", "raise")] == [
        1, 1, 1, 1
    ]  # fmt: skip
    assert errors.count("in words\n") == 1
    assert errors.count("Traceback") == errors.count("ValueError: in the child") == 1


def test_a_child_of_a_task_of_trio_ends_after_the_step(tmp_path: Path) -> None:
    codes, _, errors = perform("task_of_trio", "return", "exit", "raise", folder=tmp_path)
    assert codes == [0, 1, 1]
    assert errors.count("task, which has failed") == 2


@pytest.mark.parametrize("form", ["going_on", "awaiting"])
def test_a_child_is_no_node(form: str, tmp_path: Path) -> None:
    codes, _, errors = perform(form, "go on", folder=tmp_path)
    assert codes == [1]
    assert "cannot use ctx or await: only the process that forked is the node" in errors


def test_processes_that_end_by_themselves_do_so(tmp_path: Path) -> None:
    assert perform("pool", "pool", folder=tmp_path)[0] == [14]


def test_a_child_may_have_a_node_of_its_own(tmp_path: Path) -> None:
    assert perform("nested", "nested", folder=tmp_path)[0] == [7]
