"""Runtimes and handles over a plain fork, as gunicorn's preloading and multiprocessing make it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from understudy_broker.server.embedded import EmbeddedBroker

HANDLE = """
import os, sys
from understudy import Runtime

runtime = Runtime("g", url=sys.argv[1])
made = runtime.promises.create("p-1")
handle = runtime.get("p-1")
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if handle.result(20) == "yes" and handle.done() else 1)
    children.append(pid)
runtime.promises.resolve("p-1", "yes")
assert handle.result(20) == "yes"
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
"""

#: Forks again and again while another thread imports what a connection needs, and connects.
WHILE_CONNECTING = """
import os, sys, threading, time
from understudy import Runtime

runtime = Runtime("g", url=sys.argv[1])
connecting = threading.Thread(target=runtime.promises.create, args=("parent",))
connecting.start()
children = []
while len(children) < 5:
    pid = os.fork()
    if pid == 0:
        runtime.promises.create(f"child-{os.getpid()}")
        os._exit(0)
    children.append(pid)
    time.sleep(0.02)
connecting.join()
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
"""

#: Each process makes an embedded broker of its own, as none has made one before the fork.
EMBEDDED = """
import os
from understudy import Runtime

runtime = Runtime.local()

@runtime.register
def add(ctx, a, b):
    return a + b

children = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        with runtime:
            os._exit(0 if runtime.rpc("add-1", add, number, 1).result(20) == number + 1 else 1)
    children.append(pid)
with runtime:
    assert runtime.rpc("add-1", add, 7, 1).result(20) == 8
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
"""


@pytest.mark.parametrize("program", [HANDLE, WHILE_CONNECTING, EMBEDDED])
def test_a_forked_process_goes_on(program: str, tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        subprocess.run(
            [sys.executable, "-c", program, broker.endpoint], cwd=tmp_path, check=True, timeout=60
        )


def test_a_long_folder_for_temporary_files_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    program = EMBEDDED.replace("range(3)", "range(0)").replace("[0, 0, 0]", "[]")
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"TMPDIR": str(folder)},
        check=True,
        timeout=60,
    )
