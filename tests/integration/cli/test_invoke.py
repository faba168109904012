"""Calls that commands make, wait for, and show as trees, with a broker and a node in processes."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.integration.cli.commands import Cli, call
from tests.integration.cli.programs import PATIENCE_S, Program, broker_with_node, wait_until
from understudy import CanceledError, Handle, Runtime


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with one node of group g."""
    with broker_with_node(tmp_path_factory.mktemp("cli")) as where:
        yield where


def test_invoke_waits_for_the_result_and_prints_it(cli: Cli) -> None:
    args = ("--target", "g", "--arg", "ann", "--kwarg", "greeting=hi", "--wait")
    assert cli("invoke", "greet-1", "greet", *args) == (0, '"hi ann"\n', "")
    # The same id attaches,
    assert cli("invoke", "greet-1", "greet", *args) == (0, '"hi ann"\n', "")
    # but only to a call of the same function.
    code, out, err = cli("invoke", "greet-1", "order", "--target", "g", "--wait")
    assert (code, out) == (3, ""), "refused"
    assert "belongs to a call of 'greet'" in err


def test_invoke_without_waiting_only_stores(cli: Cli) -> None:
    code, out, _ = cli("invoke", "stored-1", "greet", "--target", "unserved", "--delay", "1h")
    assert (code, out) == (0, "stored-1: stored for poll://any@unserved\n")
    assert call(cli, "promises", "get", "stored-1")["state"] == "pending"


def test_invoke_warns_of_other_arguments(cli: Cli) -> None:
    call = ("invoke", "greet-2", "greet", "--target", "g", "--wait")
    assert cli(*call, "--arg", "ann") == (0, '"hello ann"\n', "")
    code, out, err = cli(*call, "--arg", "bob")
    assert (code, out) == (0, '"hello ann"\n')
    assert 'greet-2 already exists, with the arguments [["ann"], {}]. Those are kept.' in err
    assert cli(*call) == (0, '"hello ann"\n', "")  # attaching needs no arguments


def test_a_call_that_fails_exits_with_1_and_its_reason(cli: Cli) -> None:
    code, out, err = cli("invoke", "fail-1", "fail", "--target", "g", "--wait")
    assert (code, out) == (1, "")
    assert err == "understudy invoke: fail-1 failed: ValueError: no such order\n"
    found = call(cli, "promises", "get", "fail-1")
    assert found["error"]["type"] == "ValueError"
    assert "raise ValueError" in found["error"]["traceback"]


def test_verbose_shows_the_traceback_of_a_failed_call(cli: Cli) -> None:
    code, _, err = cli("invoke", "fail-2", "fail", "--target", "g", "--wait", "--verbose")
    assert code == 1
    assert err.startswith("Traceback")
    assert "raise ValueError" in err
    assert err.endswith("understudy invoke: fail-2 failed: ValueError: no such order\n")
    code, out, _ = cli("promises", "get", "fail-2")
    assert code == 0
    assert "raise ValueError" in out
    cli("promises", "create", "given-up")
    assert "Traceback" not in cli("promises", "reject", "given-up", "--error", "no")[1]


def test_who_waits_hears_of_the_next_attempt_and_why_it_is_made(cli: Cli) -> None:
    code, out, err = cli("invoke", "retried-1", "waits_for_late", "--target", "g", "--wait")
    assert (code, out) == (0, "2\n")
    assert re.fullmatch(
        r"understudy: late retried-1\.1: attempt 1 of 3 failed: ConnectionError: the bank is "
        r"closed; attempt 2 comes at \d\d:\d\d:\d\d\n",
        err,
    )


def test_a_tree_tells_of_the_next_attempt(cli: Cli, url: str) -> None:
    with Runtime(url=url, group="client") as runtime:
        runtime.options(target="g").rpc("retried-2", "late")
        shown = ""
        while "attempt 2 at" not in shown:
            shown = cli("tree", "retried-2")[1]
        assert re.fullmatch(
            r"retried-2  late  attempt 2 at \d\d:\d\d:\d\d  \S+( \S+)?  "
            r"attempt 1 of 3 failed: ConnectionError: the bank is closed\n",
            shown,
        )
        data = call(cli, "tree", "retried-2")
        assert (data["failures"], data["attempts"]) == (1, 2)
        assert data["retry_at"] > data["created_at"] + 4000
        runtime.cancel("retried-2")


async def awaited(handle: Handle[Any]) -> Any:
    return await handle


WAITS: dict[str, Callable[[Handle[Any]], Any]] = {
    "thread": lambda handle: handle.result(),
    "asyncio": lambda handle: asyncio.run(awaited(handle)),
    "trio": lambda handle: trio.run(awaited, handle),
}


@pytest.mark.parametrize("how", WAITS)
def test_who_waits_hears_why_a_call_does_not_go_on(
    url: str, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.WARNING, "understudy")
    runtime = Runtime(url=url, group="client")
    retried, parked, unserved = f"retried-{how}", f"parked-{how}", f"unserved-{how}"
    expected = [
        rf"late {retried}\.1: attempt 1 of 3 failed: .*: the bank is closed; attempt 2 comes at .*",
        rf"absent {parked} is parked: UnknownFunctionError: .* understudy tasks continue {parked}",
        rf"prise {unserved} waits: no node of group g has the function prise; similar: price",
    ]

    def missing() -> list[str]:
        lines = [record.getMessage() for record in caplog.records if record.name == "understudy"]
        return [each for each in expected if not any(re.fullmatch(each, line) for line in lines)]

    with ThreadPoolExecutor() as pool:
        try:
            handles = [
                runtime.options(target="g").rpc(retried, "waits_for_late"),
                runtime.options(target="poll://uni@g/g-1").rpc(parked, "absent"),
                runtime.options(target="g").rpc(unserved, "prise"),
            ]
            waits = [pool.submit(WAITS[how], handle) for handle in handles]
            wait_until(lambda: not missing(), lambda: f"not told: {missing()}")
            for handle, waiting in zip(handles, waits, strict=True):
                handle.cancel()
                with pytest.raises(CanceledError):
                    waiting.result(PATIENCE_S)
        finally:
            runtime.stop()


def test_a_tree_shows_attempts_in_call_order(cli: Cli) -> None:
    assert cli("invoke", "s-1", "stubborn", "--target", "g", "--wait")[0] == 0
    code, out, _ = cli("tree", "s-1")
    assert code == 0
    ids = [next(word for word in line.split() if "s-1" in word) for line in out.splitlines()]
    assert ids == ["s-1", "s-1.1", "s-1-chosen", "s-1.3", "s-1.4"]
    assert [line.endswith("3 attempts") for line in out.splitlines()] == [False] * 4 + [True]
    assert " run " not in out


def test_waiting_ends_at_the_deadline(cli: Cli) -> None:
    args = ("--target", "unserved", "--timeout", "200ms", "--wait")
    code, _, err = cli("invoke", "late-1", "greet", *args)
    assert code == 1
    assert "late-1 failed: its deadline passed" in err


def test_interrupting_the_wait_leaves_the_call_alone(cli: Cli, url: str, tmp_path: Path) -> None:
    args = ("invoke", "left-1", "greet", "--target", "unserved", "--wait", "--url", url)
    with Program(*args, cwd=tmp_path) as program:
        why = "nothing serves group unserved yet (groups with nodes: g)"
        program.wait_for(f"understudy: greet left-1 waits: {why}\n")
        assert program.stop(signal.SIGINT) == 130
    assert program.output.endswith("left-1 continues; the same command waits for it again\n")
    assert program.output.count("\n") == 2
    assert call(cli, "promises", "get", "left-1")["state"] == "pending"


def test_tree_shows_the_whole_graph(cli: Cli) -> None:
    assert cli("invoke", "order-1", "order", "--target", "g", "--wait")[:2] == (0, "10\n")
    wait_until(
        lambda: call(cli, "promises", "get", "order-1.4")["state"] == "resolved",
        lambda: "the detached call has not settled",
    )
    data = call(cli, "tree", "order-1")
    assert [(child["id"], child["function"], child["role"]) for child in data["children"]] == [
        ("order-1.1", "price", "call"),
        ("order-1.2", "price", "call"),
        ("order-1.3", "add", "local"),
        ("order-1.4", "audit", "detached"),
    ]
    assert (data["value"], data["children"][1]["value"]) == (10, 10)
    assert data["runs"] >= 1
    code, out, _ = cli("tree", "order-1")
    assert code == 0
    assert out.splitlines()[3].startswith("├─ order-1.3  add (local)           resolved  ")
    code, out, _ = cli("tree", "order-1.2")
    assert out.startswith("order-1.2  price(1)  resolved")


def test_tree_counts_similar_children(cli: Cli) -> None:
    cli("invoke", "wide-1", "order", "--target", "g", "--arg", "500", "--wait")
    _, out, _ = cli("tree", "wide-1")
    assert "├─ … 495 more price: 495 resolved" in out
    assert len(out.splitlines()) == 9
    _, out, _ = cli("tree", "wide-1", "--all")
    assert len(out.splitlines()) == 503
    assert "├─ wide-1.500  price(499) " in out
    assert out.index("wide-1.99 ") < out.index("wide-1.100 ")
    _, out, _ = cli("tree", "wide-1", "--children", "30")
    assert len(out.splitlines()) == 34
    assert "├─ … 470 more price: 470 resolved" in out


def test_follow_prints_changes_until_the_call_settles(cli: Cli, url: str, tmp_path: Path) -> None:
    cli("invoke", "gate-1", "gate", "--target", "g")
    with Program("tree", "gate-1", "--follow", "--url", url, cwd=tmp_path) as follower:
        follower.wait_for("gate.open  promise  pending: to be settled from outside")
        assert cli("promises", "resolve", "gate.open", "--value", "7")[0] == 0
        assert follower.wait_for_exit() == 0
        lines = follower.output.splitlines()
    assert "gate.open  promise  resolved" in lines
    assert "gate-1  gate  resolved" in lines
    assert len(lines) == len(set(lines))
