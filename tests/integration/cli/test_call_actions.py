"""Actions on many calls by the command line: parked, failing, running ones, promises of people."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.commands import Cli, call
from tests.support import eventually
from understudy import Constant, Context, Runtime
from understudy.cli import bulk
from understudy.client.seal_keys import add_seal_key
from understudy.errors import BrokerUnavailableError
from understudy.repairs import execution
from understudy.values.seals import is_sealed
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.commands import PromiseGet, TaskHalt


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with EmbeddedBroker(f"sqlite:///{tmp_path}/s.db") as broker:
        yield broker.endpoint


@pytest.fixture
def shop(url: str) -> Iterator[Runtime]:
    """A node of the group shop, whose bank is closed until the test opens it."""
    with Runtime(group="shop", id="shop-1", url=url) as node:
        node.register(order)
        node.register(retry=Constant(600, 9))(pay)
        node.register(retry=Constant(600, 1))(fails)
        node.register(approve)
        OPEN.clear()
        yield node


OPEN: list[str] = []


def pay(ctx: Context) -> str:
    if not OPEN:
        raise ConnectionError("the bank is closed")
    return "paid"


def order(ctx: Context) -> Generator[Any, Any, str]:
    paid = yield ctx.rpc(pay)
    return str(paid)


def fails(ctx: Context, number: int) -> int:
    if not OPEN:
        raise ValueError(f"no stock of {number}")
    return number


def approve(ctx: Context) -> Generator[Any, Any, Any]:
    answer = yield ctx.promise(id=f"{ctx.id}.answer")
    return (yield answer)


def states(cli: Cli, *options: str) -> dict[str, str]:
    return {each["id"]: each["state"] for each in call(cli, "calls", *options)["calls"]}


def ids_with(cli: Cli, state: str) -> list[str]:
    return [each["id"] for each in call(cli, "tasks", "search", "--state", state)]


def failing(cli: Cli) -> list[str]:
    return [e["id"] for e in call(cli, "tasks", "search", "--state", "queued") if e["failures"]]


def test_what_is_tried_again_parked_or_waits(cli: Cli, shop: Runtime) -> None:
    made = shop.options(target="shop")
    orders = [made.rpc(f"order-{n}", order) for n in range(3)]
    eventually(lambda: failing(cli) == ["order-0.1", "order-1.1", "order-2.1"], 30)

    # What is tried again is below the calls that match.
    code, out, err = cli("calls", "retry", "--function", "order", "--error", "ConnectionError")
    assert (code, out) == (2, "")
    assert "there is no terminal to ask at" in err
    code, out, _ = cli("calls", "retry", "--prefix", "order-", "--dry-run")
    assert code == 0
    assert "order-1.1  queued  pay       shop   attempt 1 of 9 failed: ConnectionError" in out
    assert "this retries 3 calls in 1 group: shop 3" in out
    assert "understudy tasks retry --group shop --cause 'ConnectionError" in cli("why", "shop")[1]
    assert call(cli, "calls", "retry", "--error", "ValueError", "--yes")["matched"] == 0

    # Parked ones, by their group and cause, or by the graph that they are in.
    for id_ in ("order-0.1", "order-1.1"):
        shop.session.connected().command(TaskHalt(id_, "the deploy was wrong")).result(10)
    assert ids_with(cli, "halted") == ["order-0.1", "order-1.1"]
    assert "--group shop --cause 'the deploy was wrong'" in cli("why", "shop")[1]
    OPEN.append("now")
    found = call(cli, "calls", "continue", "order-0", "--yes")
    assert (found["matched"], found["done"], found["groups"]) == (1, 1, {"shop": 1})
    assert orders[0].result(timeout=30) == "paid"
    args = ("--group", "shop", "--cause", "deploy was wrong", "--yes")
    code, out, _ = cli("tasks", "continue", *args)
    assert (code, out) == (0, "Continued 1 of 1 call\n")
    assert orders[1].result(timeout=30) == "paid"
    assert cli("tasks", "continue", *args)[1] == "Nothing to continue: no call matches\n"
    assert call(cli, "calls", "retry", "--function", "order", "--yes")["done"] == 1
    assert orders[2].result(timeout=30) == "paid"

    # Halted and canceled ones, and a promise of a person.
    asked = [made.options(tags={"day": "monday"}).rpc(f"ask-{n}", approve) for n in range(4)]
    eventually(lambda: len(ids_with(cli, "waiting")) == 4, 30)
    assert call(cli, "calls", "halt", "ask-3", "--yes")["done"] == 1
    assert call(cli, "calls", "cancel", "--tag", "day=monday", "--dry-run")["matched"] == 4
    assert call(cli, "calls", "cancel", "ask-3", "--yes")["done"] == 1
    again = call(cli, "calls", "cancel", "ask-3", "order-0", "--yes")
    assert (again["done"], again["already"]) == (1, 1)
    assert again["reasons"] == {"was resolved meanwhile": 1}
    found = call(cli, "promises", "resolve", "--prefix", "ask-", "--value", '{"ok": 1}', "--yes")
    assert (found["done"], found["functions"]) == (3, {})
    assert [each.result(timeout=30) for each in asked[:3]] == [{"ok": 1}] * 3


def test_restarts_and_what_is_refused(cli: Cli, shop: Runtime) -> None:
    made = shop.options(target="shop", tags={"customer": "ann"})
    for n in range(3):
        with pytest.raises(ValueError, match="no stock"):
            made.rpc(f"fail-{n}", fails, n).result(timeout=30)
    made.options(tags={}).rpc("fail-2-2", approve)
    OPEN.append("now")
    args = ("calls", "restart", "--error", "ValueError", "--since", "1h", "--yes")
    code, out, _ = cli(*args)
    assert code == 1
    assert out.splitlines() == [
        "Restarted 2 of 3 calls; 1 refused",
        "  1: the id that its restart would have belongs to another call",
    ]
    assert shop.get("fail-1-2").result(timeout=30) == 1
    again = shop.promises.get("fail-1-2")
    assert again.tags["customer"] == "ann"
    assert again.tags["understudy:restart-of"] == "fail-1"
    # Again it makes no second call.
    assert cli(*args)[1].startswith("Restarted 0 of 3 calls; 2 needed it no more; 1 refused")
    assert states(cli, "--prefix", "fail-1") == {"fail-1": "rejected", "fail-1-2": "resolved"}
    for command, words in (
        (("calls", "cancel"), "say which, by ids or conditions"),
        (("calls", "cancel", "--running"), "say which"),
        (("calls", "cancel", "--all", "--prefix", "x"), "exclude each other"),
        (("calls", "cancel", "x", "--prefix", "x"), "exclude each other"),
        (("calls", "--failed", "restart", "--all"), "options come after the subcommand"),
        (("calls", "retry", "--failed", "--prefix", "x"), "understudy calls restart"),
        (("calls", "restart", "--running"), "have not ended"),
        (("calls", "restart", "--all", "--cause", "x"), "--cause is about"),
        (("tasks", "continue"), "say which"),
        (("tasks", "halt", "--state", "halted"), "nothing to halt"),
        (("promises", "resolve"), "say which"),
        (("calls", "cancel", "--all", "--json"), "--json asks nothing"),
    ):
        code, _, err = cli(*command)
        assert code == 2, (command, err)
        assert words in err, command
    assert cli("calls", "cancel", "nobody", "--yes")[0] == 1


def test_ctrl_c_stops_between_calls_and_the_same_command_goes_on(
    cli: Cli, shop: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop.options(target="nobody")
    for n in range(40):
        made.rpc(f"lost-{n}", "lost")
    monkeypatch.setattr(execution, "BATCH", 8)
    asked = bulk.ask
    batches: list[int] = []

    def interrupted(client: Any, commands: Any) -> Any:
        answers = asked(client, commands)
        batches.append(len(commands))
        if len(batches) == 3:  # One is the choice.
            signal.raise_signal(signal.SIGINT)
        return answers

    monkeypatch.setattr(bulk, "ask", interrupted)
    args = ("calls", "cancel", "--group", "nobody", "--yes")
    before = signal.getsignal(signal.SIGINT)
    code, out, err = cli(*args)
    assert code == 130
    assert out == "Canceled 16 of 40 calls; 24 left as they were\n"
    assert "stopping after the calls that are under way" in err
    assert "give the same command again" in err
    assert signal.getsignal(signal.SIGINT) is before
    assert len(states(cli, "--state", "canceled")) == 16

    def cut_off(client: Any, commands: Any) -> Any:
        if len(commands) > 1:
            raise BrokerUnavailableError("tcp://127.0.0.1:1", "it is away")
        return asked(client, commands)

    monkeypatch.setattr(bulk, "ask", cut_off)
    code, out, err = cli(*args)
    assert (code, out) == (4, "Canceled 0 of 24 calls; 24 left as they were\n")
    assert "it is away" in err
    monkeypatch.setattr(bulk, "ask", asked)
    code, out, _ = cli(*args, "--json")
    data = json.loads(out)
    assert (code, data["matched"], data["done"], data["left"]) == (0, 24, 24, 0)


def test_sealed_arguments_are_sealed_anew(
    cli: Cli, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(0o700)
    add_seal_key(keys / "seal.keys", "k1")
    OPEN.clear()
    with Runtime(group="shop", url=url, seal_keys=keys / "seal.keys") as node:
        node.register(retry=Constant(600, 1))(fails)
        with pytest.raises(ValueError, match="no stock"):
            node.options(target="shop").rpc("fail-7", fails, 7).result(timeout=30)
        OPEN.append("now")
        code, out, _ = cli("calls", "restart", "fail-7", "--yes")
        assert code == 1
        assert "1: its arguments are sealed with the key 'k1', which this process" in out
        monkeypatch.setenv("UNDERSTUDY_SEAL_KEYS", str(keys / "seal.keys"))
        assert cli("calls", "restart", "fail-7", "--yes")[0] == 0
        assert node.get("fail-7-2").result(timeout=30) == 7
    monkeypatch.delenv("UNDERSTUDY_SEAL_KEYS")
    with Runtime(group="reader", url=url) as reader:
        param = reader.session.connected().command(PromiseGet("fail-7-2")).result(10).reply.promise
        assert param is not None
        assert is_sealed(param.param.data or b"")


def test_it_asks_at_a_terminal(cli: Cli, shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.options(target="nobody").rpc("lost-1", "lost")
    answers = iter(["no\n", "y\n"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: next(answers), raising=False)
    monkeypatch.setattr(bulk, "has_terminal", lambda: True)
    code, _, err = cli("calls", "cancel", "lost-1")
    assert code == 1
    assert "This cancels 1 call, with what it called, in 1 group: nobody 1. Go on? [y/N]" in err
    assert "nothing was changed" in err
    assert states(cli) == {"lost-1": "pending"}
    assert cli("calls", "cancel", "lost-1")[0] == 0
    assert states(cli) == {"lost-1": "canceled"}
