"""Calls are counted by group and function, and the number of these is bounded."""

from __future__ import annotations

from tests.unit.broker.core.rig import Rig
from understudy_broker.core import call_tally
from understudy_broker.core.call_tally import OTHER, CallTally
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSettle
from understudy_store.records import (
    EMPTY,
    HEADER_FUNCTION,
    PENDING,
    TAG_TARGET,
    PromiseRecord,
    PromiseState,
    Row,
    TaskRecord,
    Value,
)


def row(
    target: str, function: str, state: PromiseState = "pending", settled_at: int | None = None
) -> Row:
    param = Value({HEADER_FUNCTION: function})
    promise = PromiseRecord("p", state, param, EMPTY, {TAG_TARGET: target}, 10**6, 1000, settled_at)
    return Row(promise, TaskRecord("p", "pending" if state == PENDING else "fulfilled", 1, target))


def test_calls_are_counted_when_they_are_created_and_when_they_end() -> None:
    tally = CallTally()
    tally.take(Changes(1, [row("poll://any@g", "f"), row("g", "f"), row("poll://uni@g/n", "h")]))
    ended = [row("g", "f", "resolved", 1500), row("g", "f", "rejected", 1000)]
    tally.take(Changes(2, [], [*ended, row("g", "f")]))
    assert {key: each.created for key, each in tally.counts.items()} == {
        ("g", "f"): 2, ("g", "h"): 1,
    }  # fmt: skip
    found = tally.counts["g", "f"].ended
    assert {state: (sum(each.buckets), each.total) for state, each in found.items()} == {
        "resolved": (1, 500), "rejected": (1, 0),
    }  # fmt: skip


def test_a_call_that_is_created_and_ends_in_one_batch_is_counted_twice() -> None:
    tally = CallTally()
    tally.take(Changes(1, [row("g", "f", "rejected_timedout", 1000)]))
    counts = tally.counts["g", "f"]
    assert counts.created == sum(counts.ended["rejected_timedout"].buckets) == 1


def test_what_has_no_task_is_no_call() -> None:
    tally = CallTally()
    ended = Row(row("g", "f", "resolved", 1500).promise)
    tally.take(Changes(1, [Row(row("g", "f").promise)], [ended]))
    assert not tally.counts


def test_beyond_the_bound_all_others_are_counted_together() -> None:
    tally = CallTally(pairs_max=3)
    for n in range(10):
        tally.take(Changes(1, [row("g", f"f{n}"), row(f"group-{n}", "f")]))
    assert len(tally.counts) == 4
    assert sum(each.created for each in tally.counts.values()) == 20
    assert tally.counts[OTHER, OTHER].created == 17


def test_groups_are_those_of_addresses() -> None:
    tally = CallTally()
    addresses = ("poll://any@a/n", "http://x.example/hook", "amqp://mq/q", "a")
    tally.take(Changes(1, [row(address, "f") for address in addresses]))
    assert {group: each.created for (group, _), each in tally.counts.items()} == {
        "a": 2, "http": 1, "amqp": 1,
    }  # fmt: skip


def test_waits_are_counted_by_group_and_priority_within_a_bound() -> None:
    tally = CallTally()
    for n in range(call_tally.QUEUES_MAX + 10):
        tally.started(f"g{n}", 7, 5)
    assert len(tally.waits) == call_tally.QUEUES_MAX + 1
    assert sum(tally.waits[OTHER, 0].buckets) == 10


def test_a_core_counts_only_if_somebody_reads_it() -> None:
    assert Rig().core.metrics.calls is None
    rig = Rig(counts_calls=True)
    rig.join(b"n", "n", credit=1)
    rig.create(b"n", "p", target="g")
    rig.create(b"n", "q", target=None)
    rig.now += 50
    rig.turn()
    rig.reply(b"n", PromiseSettle("p", "resolved", EMPTY))
    tally = rig.core.metrics.calls
    assert tally is not None
    [counts] = tally.counts.values()
    assert (counts.group, counts.created, counts.ended["resolved"].total) == ("g", 1, 50)
    assert [(key, sum(each.buckets)) for key, each in tally.waits.items()] == [(("g", 0), 1)]
