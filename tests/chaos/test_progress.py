"""The verdict on several brokers finds each kind of violation, and measures what it should."""

from __future__ import annotations

import json

from tests.chaos.ledger import Event
from tests.chaos.progress import (
    FORGOTTEN_MS,
    Fault,
    Probe,
    ends_without_fault,
    faults_of,
    first_returns,
    longest_wait,
    progress,
    stands,
)
from tests.chaos.several_brokers import violations
from tests.chaos.verdict import Evidence, Row, judge
from understudy_store.slots import SLOTS, slot_of

SEED = 1
PROBES = [f"probe-0-{n}" for n in range(3)]
#: slots of two brokers; each has one of the first two probes
OWNERS = "".join("a" if slot == slot_of(PROBES[0]) else "b" for slot in range(SLOTS))


def _event(at_ms: float, kind: str, id: str = "world", text: str = "") -> Event:
    return Event(at_ms, kind, 1, id, text)


def _call(id: str, asked_ms: float, done_ms: float) -> tuple[list[Event], dict[str, Row]]:
    """Return a short call with all that it leaves."""
    step, token = f"{id}.1", f"{id}.1 x"
    events = [
        _event(asked_ms, "asked", id, "probe"),
        _event(asked_ms + 1, "acked", id),
        _event(asked_ms + 2, "begin", step, token),
        _event(asked_ms + 3, "end", step, token),
        _event(done_ms, "result", id, json.dumps([token])),
    ]
    stored = int(asked_ms + 4)
    return events, {id: Row("resolved", [token], stored), step: Row("resolved", token, stored)}


def _evidence(*extra: Event, without: str = "") -> Evidence:
    """Return a good run: a broker is killed at 1000, and a call of each owner goes on."""
    events = [
        _event(990, "owners", "database", OWNERS),
        _event(1000, "kill", "broker/a"),
        _event(1001, "ended", "broker/a", "was killed by SIGKILL"),
        _event(2000, "whole"),
    ]
    rows: dict[str, Row] = {}
    for id, asked_ms, done_ms in zip(PROBES, (1010, 1020, 1900), (1250, 1030, 2100), strict=True):
        made, stored = _call(id, asked_ms, done_ms)
        events += made
        rows |= stored
    rows.pop(without, None)
    return Evidence(sorted([*events, *extra]), rows, SEED)


def _rules(evidence: Evidence) -> list[str]:
    found = judge(evidence, violations(evidence)).violations
    return [text.partition(":")[0] for text in found]


def test_a_good_run() -> None:
    assert _rules(_evidence()) == []


def test_an_acknowledged_call_that_the_store_does_not_have_is_lost() -> None:
    assert _rules(_evidence(_event(1500, "acked", "c0-0-7"))) == ["lost"]


def test_a_step_that_the_store_does_not_have_is_missing() -> None:
    evidence = _evidence(without=f"{PROBES[0]}.1")
    assert _rules(evidence) == ["steps that are not in the store"]


def test_what_is_left_at_the_end_is_a_violation() -> None:
    left = _event(9000, "found", "database", "promises are pending: 1")
    assert _rules(_evidence(left)) == ["left at the end"]


def test_slots_that_are_not_shared_out_again_stand_still() -> None:
    assert _rules(_evidence(_event(9000, "never", text="a has 3"))) == ["standing still"]


def test_a_call_that_waits_too_long_stands_still() -> None:
    events, rows = _call(PROBES[0], 1000, 1001 + FORGOTTEN_MS)
    assert len(stands(Evidence(events, rows, SEED))) == 1


def test_the_slots_of_each_owner_must_go_on() -> None:
    events, rows = _call(PROBES[0], 1010, 1020)
    faults = [
        _event(990, "owners", "database", OWNERS),
        _event(1000, "kill", "broker/a"),
        _event(2000, "whole"),
    ]
    found = stands(Evidence(sorted([*faults, *events]), rows, SEED))
    assert found == ["no call of the slots of ['b'] after kill"]


def test_the_end_of_a_broker_needs_a_reason() -> None:
    def may_end(text: str, *faults: Event) -> bool:
        return not ends_without_fault([*faults, _event(50, "ended", "broker/a", text)])

    stop = _event(10, "stop", "broker/a", "4")
    assert may_end("exited with code 1", stop)
    assert not may_end("exited with code 1", _event(10, "stop", "broker/a", "1"))
    assert may_end("exited with code 1", stop, _event(15, "stop", "broker/a", "1"))
    assert not may_end("exited with code 0", stop)
    assert not may_end("exited with code 1")
    assert may_end("exited with code 0", _event(10, "term", "broker/a"))
    assert may_end("exited with code 0", _event(10, "term", "broker/a"), stop)
    assert not may_end("exited with code 1", _event(10, "term", "broker/a"))
    assert not may_end("exited with code 1", _event(10, "kill", "broker/a"))


def test_waits_after_a_fault() -> None:
    (fault,) = faults_of(_evidence().world)
    assert fault == Fault("kill", 1000, 2000, OWNERS)
    figures = progress(_evidence())
    assert figures["kill: longest wait of a call, ms"]["max"] == 240
    assert figures["kill: to the first return of each owner's slots, ms"]["max"] == 250


def test_a_wait_counts_from_the_fault_and_from_the_promotion() -> None:
    probe = Probe(500, 1600, 0)
    assert longest_wait([probe], Fault("kill", 1000, 2000, OWNERS)) == 600
    assert longest_wait([probe], Fault("kill", 1700, 2000, OWNERS)) == 0
    assert first_returns([probe], Fault("kill", 1000, 2000, OWNERS)) == []
    world = [
        _event(1, "owners", "database", OWNERS),
        _event(2, "down", "database"),
        _event(9, "promoted", "database"),
        _event(20, "whole"),
    ]
    assert [(fault.kind, fault.since_ms) for fault in faults_of(world)] == [("promoted", 9)]


def test_faults_that_come_together_are_not_measured() -> None:
    assert not list(faults_of(_evidence(_event(1500, "cut", "database")).world))
