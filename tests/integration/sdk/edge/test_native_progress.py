"""Progress and cancellation through real processes: a node, a broker, an edge, a command line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.system import until
from tests.integration.sdk.edge.rig import Rig, events_in, open_rig

NODE = """
import os
import time
from pathlib import Path

import understudy
from understudy import Context, Runtime, subprocesses

runtime = Runtime("shop")


def rows(folder):
    # It is not passed the context.
    ctx = understudy.current()
    while True:
        for number in range(1000):
            ctx.progress(0.42, "row 42")
        if ctx.wait_canceled(0.01):
            Path(folder, "canceled").write_text(str(time.time()))
            return


@runtime.register
def load(ctx: Context, folder: str) -> None:
    rows(folder)


@runtime.register
def flow(ctx: Context, folder: str):
    yield ctx.run(load, folder)


@runtime.register
def convert(ctx: Context, folder: str) -> None:
    command = "echo $$ > $F/new && mv $F/new $F/pid && exec sleep 60"
    try:
        subprocesses.run(command, shell=True, env={**os.environ, "F": folder})
    finally:
        Path(folder, "converted").touch()


if __name__ == "__main__":
    runtime.serve()
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("edge"), NODE) as rig:
        yield rig


def shown(rig: Rig, *arguments: str) -> str:
    """Return the output of a command."""
    program = rig.system.command(*arguments)
    assert program.wait() == 0
    return program.output


def test_progress_is_shown_until_the_call_is_canceled(rig: Rig, tmp_path: Path) -> None:
    rig.post("/calls/shop/flow?id=flow-1", [str(tmp_path)])
    until("the step speaks", lambda: "progress" in rig.http.get("/calls/flow-1").json())
    progress = rig.http.get("/calls/flow-1").json()["progress"]
    assert (progress["fraction"], progress["text"]) == (0.42, "row 42")
    assert abs(progress["at"] / 1000 - time.time()) < 60
    tree = rig.http.get("/calls/flow-1/tree").json()
    assert tree["progress"] is None
    assert tree["children"][0]["progress"]["text"] == "row 42"
    assert "42 % row 42" in shown(rig, "tree", "flow-1")
    assert "flow-1: 42 % row 42" in shown(rig, "tasks", "get", "flow-1")
    with (
        rig.http.stream("GET", "/calls/flow-1/events") as call,
        rig.http.stream("GET", "/calls/flow-1/tree/events") as graph,
    ):
        texts = [call.iter_text(), graph.iter_text()]
        got = ["", ""]
        for index, text in enumerate(texts):
            while "event: progress" not in got[index]:
                got[index] += next(text)
        asked_at = time.time()
        assert rig.post("/calls/flow-1/cancel").status_code == 200
        got = [before + "".join(text) for before, text in zip(got, texts, strict=True)]
    for each in map(events_in, got):
        assert ("progress", None) in [(name, id_) for name, id_, _ in each]
        told = next(data for name, _, data in each if name == "progress")
        assert (told["id"], told["fraction"], told["text"]) == ("flow-1.1", 0.42, "row 42")
        assert each[-1][0] == "end"
    until("the step has ended", (tmp_path / "canceled").exists)
    # A tenth of a second where nothing else runs; much more than that is none, either.
    assert float((tmp_path / "canceled").read_text() or asked_at) - asked_at < 5
    assert "progress" not in rig.http.get("/calls/flow-1").json()


def test_a_subprocess_ends_with_its_call(rig: Rig, tmp_path: Path) -> None:
    rig.post("/calls/shop/convert?id=convert-1&timeout=1s", [str(tmp_path)])
    until("the program runs", (tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    answer = rig.http.get("/calls/convert-1/result?wait=30s")
    assert answer.json()["state"] == "timedout"
    until("its function has ended", (tmp_path / "converted").exists)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
