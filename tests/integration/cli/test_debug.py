"""``understudy debug`` and ``rehearse`` in this process, against a broker in a thread."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.cli.commands import Cli
from tests.support import eventually
from understudy import Context, Runtime
from understudy.cli import main
from understudy.testing import record
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.commands import TaskHalt

SOURCE = """
from understudy import Context, Runtime

runtime = Runtime(group="g")

def charge(ctx: Context, cents: int) -> str:
    raise AssertionError("no step runs")

@runtime.register
def order(ctx: Context, cents: int):
    print("between the steps")
    receipt = yield ctx.run(charge, cents)
    promise = yield ctx.promise()
    return receipt, (yield promise)
"""
CHANGED = SOURCE.replace("receipt = yield", "yield ctx.sleep(1)\n    receipt = yield")


@contextmanager
def node_of_group_g(url: str) -> Iterator[Runtime]:
    """Run a node of group g with three calls that wait: order-1, order-2 and gone-1."""
    runtime = Runtime(group="g", url=url)

    def charge(ctx: Context, cents: int) -> str:
        return f"receipt for {cents}"

    @runtime.register
    def order(ctx: Context, cents: int):  # type: ignore[no-untyped-def]  # as users write it
        receipt = yield ctx.run(charge, cents)
        promise = yield ctx.promise()
        return receipt, (yield promise)

    runtime.register(order, name="gone")
    with runtime:
        for id in ("order-1", "order-2", "gone-1"):
            runtime.rpc(id, id.partition("-")[0], 5)
        eventually(lambda: len([*runtime.promises.search(state="pending")]) == 6)
        yield runtime


@pytest.fixture
def node(url: str) -> Iterator[Runtime]:
    """A node of group g, at the broker of this process."""
    with node_of_group_g(url) as runtime:
        yield runtime


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with the modules of the app; each command imports them anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    for number in range(5):
        (tmp_path / f"same_{number}.py").write_text(SOURCE)
        (tmp_path / f"changed_{number}.py").write_text(CHANGED)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("same_", "changed_")):
            del sys.modules[name]


@pytest.mark.usefixtures("folder")
def test_a_rehearsal_finds_what_breaks_and_touches_nothing(cli: Cli, node: Runtime) -> None:
    before = [*node.promises.search()]
    code, out, err = cli("rehearse", "same_0:runtime", "--function", "order")
    assert (code, out) == (0, "2 calls of group g under way: 2 go on, 0 break.\n")
    assert "between the steps" in err, "not among the results"
    assert "2 calls in" in err

    code, out, _ = cli("rehearse", "same_1:runtime")
    assert code == 1
    assert "3 calls of group g under way: 2 go on, 1 break." in out
    assert "1 call of gone: " in out
    assert "understudy debug gone-1 same_1:runtime" in out

    code, out, _ = cli("rehearse", "changed_0:runtime", "--prefix", "order-", "--limit", "1")
    assert code == 1
    assert "recorded  run charge  cli/test_debug.py:" in out
    assert f"now       sleep  {Path.cwd().name}/changed_0.py:12" in out
    assert "order-1 (at order-1.1)" in out

    code, out, _ = cli("rehearse", "same_2:runtime", "--group", "others")
    assert (code, out[:40]) == (0, "No call of group others is under way: th")
    assert cli("rehearse", "nothing:runtime")[0] == 2
    assert [*node.promises.search()] == before
    node.promises.resolve("order-1.2", "yes")
    assert node.get("order-1").result() == ("receipt for 5", "yes")


def test_a_call_is_debugged_from_the_broker_or_from_a_file(
    url: str,
    node: Runtime,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    record("order-2", node).save(folder / "order-2.json")
    node.session.command(TaskHalt("order-2", "the code has changed"))
    for number, given in enumerate((("--url", url), ("--history", "order-2.json"))):
        monkeypatch.setattr(sys, "stdin", io.StringIO("n\np receipt\nq\n"))
        args = ("debug", "order-2", f"same_{number}:runtime", "--at", "charge", *given)
        code = main([*args])
        out, err = capfd.readouterr()
        assert code == 0, err
        assert "Before step order-2.1, run charge: the record has run charge, resolved." in out
        assert "'receipt for 5'" in out
        assert ("It is parked: the code has changed" in out) == ("--url" in given)
    assert node.promises.get("order-2").state == "pending"


@pytest.mark.usefixtures("folder")
def test_the_file_of_a_store_is_read_and_not_changed(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = folder / "calls.db"
    with EmbeddedBroker(str(store)) as broker, node_of_group_g(broker.endpoint) as node:
        node.promises.resolve("order-1.2", "yes")
        node.get("order-1").result()
    content = store.read_bytes()
    assert main(["rehearse", "changed_0:runtime", "--store", "calls.db", "--json"]) == 1
    report = json.loads(capfd.readouterr().out)
    assert (report["calls"], report["break"], report["go_on"]) == (2, 2, 0)
    assert {cause["function"]: cause["kind"] for cause in report["causes"]} == {
        "order": "mismatch",
        "gone": "no_function",
    }
    monkeypatch.setattr(sys, "stdin", io.StringIO("c\nq\n"))
    assert main(["debug", "order-1", "same_0:runtime", "--store", "calls.db"]) == 0
    assert "order returns, as recorded." in capfd.readouterr().out
    assert store.read_bytes() == content

    for given, code, says in (
        (("--store", "none.db"), 1, "there is no store"),
        (("--store", "same_0.py"), 1, "is not an SQLite database"),
        (("--store", "calls.db", "--history", "a.json"), 2, "exclude each other"),
    ):
        assert main(["debug", "order-1", "same_1:runtime", *given]) == code
        assert says in capfd.readouterr().err


@pytest.mark.usefixtures("folder", "node")
@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("nobody", "same_0:runtime"), 1, "there is no call 'nobody'"),
        (("order-1.1", "same_0:runtime"), 1, "debug order-1 same_0:runtime --at order-1.1"),
        (("order-1.2", "same_0:runtime"), 1, "is no call of a function"),
        (("gone-1", "same_0:runtime"), 1, "same_0:runtime cannot run gone-1: "),
        (("order-1",), 2, "name the Runtime that has the function"),
        (("order-1", "same_0:runtime", "--debugpy", "here"), 2, "write --debugpy PORT"),
    ],
)
def test_what_cannot_be_debugged_is_explained(
    cli: Cli, args: tuple[str, ...], code: int, says: str
) -> None:
    found, _, err = cli("debug", *args)
    assert (found, says in err) == (code, True), err
