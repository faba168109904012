"""The public types of promises, schedules and groups, and their old names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from understudy import Context, Group, Node, Runtime, Schedule, StoredPromise
from understudy.errors import ConfigurationError
from understudy.testing import Stage

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime("shop", "ann")
    runtime.register(report)
    with Stage(runtime, start=START):
        yield runtime


def report(ctx: Context, of: str) -> str:
    return f"report of {of}"


def test_a_promise(runtime: Runtime) -> None:
    made = runtime.promises.create("p", timeout=90, tags={"kind": "a"}, value={"amount": 1})
    assert (made.id, made.state, made.function) == ("p", "pending", None)
    assert (made.created_at, made.timeout_at) == (START, START + timedelta(seconds=90))
    assert made.settled_at is None
    assert made.tags["kind"] == "a"
    assert (made.value(), made.param()) == (None, {"amount": 1})
    settled = runtime.promises.resolve("p", [1])
    assert (settled.state, settled.value(), settled.settled_at) == ("resolved", [1], START)
    assert settled.param() == {"amount": 1}


def test_a_call_has_a_function_and_no_param(runtime: Runtime) -> None:
    runtime.rpc("r", report, "sales").result()
    found = runtime.promises.get("r")
    assert (found.function, found.param(), found.value()) == ("report", None, "report of sales")


def test_a_promise_without_a_value_for_the_settler(runtime: Runtime) -> None:
    assert runtime.promises.create("p").param() is None


def test_a_schedule(runtime: Runtime) -> None:
    made = runtime.options(timeout=600, tags={"k": "v"}).schedules.create(
        "s", "30 3 * * *", report, "sales"
    )
    assert (made.id, made.cron, made.function) == ("s", "30 3 * * *", "report")
    assert (made.timeout_s, made.tags["k"]) == (600.0, "v")
    assert (made.created_at, made.last_run_at) == (START, None)
    assert made.next_run_at == START.replace(hour=3, minute=30)


def test_a_schedule_that_has_run(runtime: Runtime) -> None:
    runtime.schedules.create("s", "* * * * *", report, "sales")
    with pytest.raises(TimeoutError):
        runtime.options(delay=3600).rpc("later", report, "x").result(timeout=61)
    assert runtime.schedules.get("s").last_run_at == START + timedelta(minutes=1)


def test_groups(runtime: Runtime) -> None:
    runtime.options(target="bank").rpc("charge", "charge")
    groups = runtime.groups()
    bank, shop = groups.groups
    assert (bank.name, bank.nodes, bank.queued) == ("bank", (), 1)
    [ann] = shop.nodes
    assert (ann.name, ann.silent_s, ann.functions) == ("ann", 0.0, ("report",))
    assert groups.counters


@pytest.mark.parametrize(
    "read",
    [
        lambda r: r.promises.create("p"),
        lambda r: r.schedules.create("s", "* * * * *", "report", "x"),
        lambda r: r.groups().groups[0],
        lambda r: r.groups().groups[0].nodes[0],
    ],
)
def test_all_are_frozen_and_comparable(runtime: Runtime, read: Callable[[Runtime], Any]) -> None:
    one, other = read(runtime), read(runtime)
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, dataclasses.fields(one)[0].name, "x")


class TestOldNames:
    def test_of_a_promise(self, runtime: Runtime) -> None:
        promise: StoredPromise = runtime.promises.create("p")
        with pytest.warns(DeprecationWarning, match=r"StoredPromise\.record"):
            assert promise.record.id == "p"

    def test_of_a_schedule(self, runtime: Runtime) -> None:
        made: Schedule = runtime.options(timeout=5).schedules.create("s", "* * * * *", report, "x")
        with pytest.warns(DeprecationWarning, match=r"Schedule\.timeout_s"):
            assert made.promise_timeout == 5000
        with pytest.warns(DeprecationWarning, match=r"Schedule\.tags"):
            assert made.promise_tags == made.tags
        with pytest.warns(DeprecationWarning, match=r"Schedule\.function"):
            assert made.promise_param.headers["fn"] == "report"

    def test_of_a_group_and_a_node(self) -> None:
        node = Node("n", "n#1", 7, "host", 32, 0, 0.25)
        with pytest.warns(DeprecationWarning, match=r"Node\.silent_s"):
            assert node.silent_ms == 250
        with pytest.warns(DeprecationWarning, match=r"Group\.waiting_s"):
            assert Group("g", (node,), 1, 1.5).waiting_ms == 1500


def test_options_make_a_copy_and_leave_the_runtime_as_it_is(runtime: Runtime) -> None:
    tagged = runtime.options(tags={"k": "v"})
    both = tagged.options(timeout=60)
    for number, each in enumerate((runtime, tagged, both)):
        each.rpc(f"r-{number}", report, "sales").result()
    tags = [runtime.promises.get(f"r-{number}").tags.get("k") for number in range(3)]
    assert tags == [None, "v", "v"]
    assert runtime.promises.get("r-2").timeout_at == START + timedelta(seconds=60)
    assert (tagged.session, tagged.promises) == (runtime.session, runtime.promises)


def test_states_have_one_set_of_names_and_searches_take_the_store_s_too(runtime: Runtime) -> None:
    for id in ("p", "q"):
        runtime.promises.create(id)
    assert runtime.promises.cancel("q").state == "canceled"
    for state, id in (("canceled", "q"), ("rejected_canceled", "q"), ("pending", "p")):
        assert [each.id for each in runtime.promises.search(state=state)] == [id]
    with pytest.raises(
        ConfigurationError, match="use one of pending, resolved, rejected, canceled"
    ):
        runtime.promises.search(state="done")
