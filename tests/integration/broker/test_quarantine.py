"""A function that kills its process each time it runs, with real processes under a pool."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.programs import Forked, run_forked, wait_until
from tests.support import free_url
from understudy import Runtime
from understudy_store.commands import TaskGet
from understudy_store.records import TaskRecord

#: nodes in a row that a broker lets die of one task, unless it is told otherwise
DEATHS_MAX = 4
INNOCENTS = 60

APP = """
import os, signal, time
from pathlib import Path

from understudy import Context, Runtime

runtime = Runtime(group="g")

@runtime.register
def killer(ctx: Context, flag: str):
    first = yield ctx.lfc(step)
    if not Path(flag).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return first

def step(ctx: Context) -> str:
    return "mended"

@runtime.register
def innocent(ctx: Context, number: int):
    doubled = yield ctx.lfc(slow, number)
    return (yield ctx.rfc("leaf", doubled))

def slow(ctx: Context, number: int) -> int:
    time.sleep(0.02)
    return 2 * number

@runtime.register
def leaf(ctx: Context, number: int) -> int:
    time.sleep(0.02)
    return number + 1

@runtime.register
def caller(ctx: Context, flag: str):
    return (yield ctx.rfc("killer", flag))
"""

TOPOLOGY = """
[broker]
listen = "{url}"
store = "sqlite:///kept.db"

[[group]]
name = "g"
app = "app:runtime"
nodes = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def system(folder: Path) -> Iterator[tuple[str, Forked]]:
    """A broker and two nodes, and their address."""
    url = free_url()
    (folder / "topology.toml").write_text(TOPOLOGY.format(url=url))
    with Forked("up", cwd=folder) as up:
        up.wait_for("up: broker at")
        yield url, up


def said(folder: Path, url: str, *args: str) -> Any:
    """What a command prints as JSON."""
    done = run_forked(*args, "--json", "--url", url, cwd=folder)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def wait_for_park(runtime: Runtime, folder: Path, url: str, id: str, up: Forked) -> dict[str, Any]:
    def parked() -> bool:
        assert up.process.poll() is None, up.output
        found: TaskRecord | None = runtime.session.command(TaskGet(id)).task
        return found is not None and found.state == "halted"

    wait_until(parked, lambda: up.output)
    task: dict[str, Any] = said(folder, url, "tasks", "get", id)
    return task


def test_the_killer_is_parked_and_the_group_goes_on(
    folder: Path, system: tuple[str, Forked]
) -> None:
    url, up = system
    flag = folder / "mended"
    with Runtime(group="tests", url=url) as runtime:
        calls = runtime.options(target="g")
        before = [calls.rpc(f"before-{n}", "innocent", n) for n in range(INNOCENTS)]
        killed = calls.rpc("kill-1", "caller", str(flag))
        after = [calls.rpc(f"after-{n}", "innocent", n) for n in range(INNOCENTS)]
        for handles in (before, after):
            assert [h.result(timeout=40) for h in handles] == [2 * n + 1 for n in range(INNOCENTS)]

        task = wait_for_park(runtime, folder, url, "kill-1.1", up)
        assert task["deaths"] == DEATHS_MAX
        assert f"its holder vanished {DEATHS_MAX} times in a row" in task["cause"]
        assert "the last: node g-" in task["cause"]
        assert "connection closed, 20" in task["cause"]
        # nobody else was
        assert [t["id"] for t in said(folder, url, "tasks", "search", "--state", "halted")] == [
            "kill-1.1"
        ]
        # whoever waits goes on waiting, and is told where to look
        with pytest.raises(TimeoutError, match="understudy tree kill-1"):
            killed.result(timeout=0.1)
        shown = run_forked("tree", "kill-1", "--url", url, cwd=folder).stdout
        line = next(line for line in shown.splitlines() if " kill-1.1 " in line)
        assert re.match(r'\S* *└─ kill-1\.1 +killer\("[^"]*…\) +parked ', line), shown
        assert "to let it run again: understudy tasks continue kill-1.1" in shown
        assert (
            "trouble" in run_forked("promises", "get", "kill-1.1", "--url", url, cwd=folder).stdout
        )
        assert said(folder, url, "promises", "get", "kill-1.1")["task"]["deaths"] == DEATHS_MAX
        assert "parked" in up.output

        # the pool has not given up, and both nodes work
        assert up.process.poll() is None
        flag.touch()
        again = run_forked("tasks", "continue", "kill-1.1", "--url", url, cwd=folder)
        assert again.returncode == 0, again
        assert killed.result(timeout=40) == "mended"
        late = [calls.rpc(f"late-{n}", "innocent", n) for n in range(INNOCENTS)]
        assert [h.result(timeout=40) for h in late] == [2 * n + 1 for n in range(INNOCENTS)]
        assert said(folder, url, "groups")["counters"]["parked"] == 1


@pytest.mark.parametrize(("nodes", "killers"), [(1, 2), (2, 3)])
def test_several_killers_are_parked_before_the_pool_gives_up(
    folder: Path, nodes: int, killers: int
) -> None:
    """Each kills four processes, of the ten that each node may lose in a minute."""
    url, flag = free_url(), folder / "mended"
    topology = TOPOLOGY.format(url=url).replace("nodes = 2", f"nodes = {nodes}")
    (folder / "topology.toml").write_text(topology)
    with Forked("up", cwd=folder) as up:
        # A busy machine starts processes slowly, and a runtime waits for a broker only so long.
        up.wait_for("up: broker at")
        with Runtime(group="tests", url=url) as runtime:
            calls = runtime.options(target="g")
            killed = [calls.rpc(f"kill-{n}", "killer", str(flag)) for n in range(killers)]
            innocents = [calls.rpc(f"i-{n}", "innocent", n) for n in range(10)]
            assert [h.result(timeout=40) for h in innocents] == [2 * n + 1 for n in range(10)]
            for n in range(killers):
                wait_for_park(runtime, folder, url, f"kill-{n}", up)
            flag.touch()
            for n in range(killers):
                assert (
                    run_forked(
                        "tasks", "continue", f"kill-{n}", "--url", url, cwd=folder
                    ).returncode
                    == 0
                )
            assert [h.result(timeout=40) for h in killed] == ["mended"] * killers


def test_a_park_survives_the_broker(folder: Path) -> None:
    """Stopped, started again from the store: still parked, with its cause."""
    url, flag = free_url(), folder / "mended"
    args = ("broker", "--listen", url, "--store", "sqlite:///kept.db", "--set", "deaths_max=1")
    with Forked(*args, cwd=folder) as broker:
        broker.wait_for("listening on")
        with (
            Forked("node", "app:runtime", "--url", url, cwd=folder) as node,
            Runtime(group="tests", url=url) as runtime,
        ):
            runtime.options(target="g").rpc("kill-1", "killer", str(flag))
            assert node.wait_for_exit() == -9
            cause = wait_for_park(runtime, folder, url, "kill-1", broker)["cause"]
    with Forked(*args, cwd=folder) as broker:
        broker.wait_for("listening on")
        assert said(folder, url, "tasks", "get", "kill-1")["cause"] == cause
        assert cause.startswith("its holder vanished once; the last: node ")
