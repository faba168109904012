"""The verdict of chaos finds each kind of violation; else a good verdict would mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.app import PROGRAMS, expected_ids, program_of
from tests.chaos.faults import EVERY_S, plan
from tests.chaos.ledger import Event, Ledger, read
from tests.chaos.recovery import deeds, recovery
from tests.chaos.verdict import Evidence, Row, judge

SEED = 1
#: The id of a call of two steps.
CALL = next(id for id in (f"c0-0-{n}" for n in range(1000)) if program_of(id, SEED)[0] == "sleeper")
FIRST, SECOND = expected_ids(CALL, SEED)


def _event(at_ms: float, kind: str, id: str, text: str = "", pid: int = 1) -> Event:
    return Event(at_ms, kind, pid, id, text)


def _good() -> tuple[list[Event], dict[str, Row]]:
    """Return the events of a good call: process 1 dies in its first step, process 2 goes on."""
    tokens = [f"{FIRST} b", f"{SECOND} c"]
    events = [
        _event(1, "asked", CALL, "sleeper", pid=9),
        _event(2, "acked", CALL, pid=9),
        _event(10, "begin", FIRST, f"{FIRST} a", pid=1),
        _event(20, "kill", "node/left-0", pid=1),
        _event(60, "begin", FIRST, f"{FIRST} b", pid=2),
        _event(70, "end", FIRST, f"{FIRST} b", pid=2),
        _event(90, "begin", SECOND, f"{SECOND} c", pid=2),
        _event(95, "end", SECOND, f"{SECOND} c", pid=2),
        _event(120, "result", CALL, json.dumps(tokens), pid=9),
    ]
    rows = {
        CALL: Row("resolved", tokens, 110),
        FIRST: Row("resolved", tokens[0], 72),
        SECOND: Row("resolved", tokens[1], 97),
    }
    return events, rows


def _violations(events: list[Event], rows: dict[str, Row]) -> list[str]:
    return [
        text.partition(":")[0] for text in judge(Evidence(sorted(events), rows, SEED)).violations
    ]


def test_a_good_run() -> None:
    verdict = judge(Evidence(*_good(), SEED))
    assert verdict.violations == []
    figures = verdict.figures
    assert (figures["calls asked"], figures["calls acknowledged"], figures["lost"]) == (1, 1, 0)
    assert (figures["steps"], figures["steps by attempts"]) == (2, {1: 1, 2: 1})


def test_an_acknowledged_call_that_is_absent_or_pending_is_lost() -> None:
    events, rows = _good()
    assert _violations(events, rows | {CALL: Row("pending", None, None)}) == ["lost"]
    del rows[CALL]
    assert "lost" in _violations(events, rows)


def test_a_call_that_was_not_acknowledged_may_be_absent() -> None:
    assert _violations([_event(1, "asked", CALL, "sleeper")], {}) == []


@pytest.mark.parametrize(
    "value",
    [
        [f"{SECOND} c", f"{FIRST} b"],
        [f"{FIRST} b"],
        [f"{FIRST} a", f"{SECOND} c"],
        [f"{FIRST} invented", f"{SECOND} c"],
        None,
    ],
)
def test_a_result_of_an_attempt_that_never_ended_is_wrong(value: Any) -> None:
    events, rows = _good()
    rows[CALL] = Row("resolved", value, 110)
    assert "wrong results" in _violations(events, rows)


def test_a_failed_call_is_wrong() -> None:
    events, rows = _good()
    events.append(_event(130, "failed", CALL, "ValueError()"))
    rows[CALL] = Row("rejected", None, 110)
    assert _violations(events, rows).count("wrong results") == 2


def test_a_promise_with_two_values_was_settled_twice() -> None:
    events, rows = _good()
    later = _event(200, "again", CALL, json.dumps([f"{FIRST} x", f"{SECOND} c"]), pid=9)
    # One is the call itself, the other its step, whose token the parent reports.
    assert _violations([*events, later], rows) == ["settled twice", "settled twice"]
    rows[FIRST] = Row("resolved", f"{FIRST} x", 72)
    assert "settled twice" in _violations(events, rows)


def _with_attempt_after(*extra: Event) -> tuple[list[Event], dict[str, Row]]:
    """Store the result of process 2 after process 3 was given the same step."""
    events, rows = _good()
    return [*events, _event(65, "begin", FIRST, f"{FIRST} d", pid=3), *extra], rows


def test_a_write_of_a_node_that_had_lost_the_task_is_stale() -> None:
    assert _violations(*_with_attempt_after()) == ["stale writes applied"]


def test_a_write_may_have_the_time_of_a_batch_that_began_before_it() -> None:
    events, rows = _good()
    rows[FIRST] = Row("resolved", f"{FIRST} b", 58)
    assert _violations(events, rows) == []


def test_a_late_attempt_of_a_stopped_process_makes_no_write_stale() -> None:
    stopped = _event(30, "stop", "node/left-1", pid=3)
    assert _violations(*_with_attempt_after(stopped)) == []


def test_a_stored_step_that_begins_again_counts_as_repeated() -> None:
    events, rows = _good()
    events.append(_event(130, "begin", FIRST, f"{FIRST} d", pid=3))
    assert _violations(events, rows) == ["stored steps repeated"]
    assert _violations([*events, _event(30, "stop", "node/left-1", pid=3)], rows) == []


# -- recovery -------------------------------------------------------------------------------------


def _recovery(*extra: Event) -> dict[str, Any]:
    events, rows = _good()
    return recovery(Evidence(sorted([*events, *extra]), rows, SEED), lease_ms=1000)


def test_the_time_from_a_kill_to_the_next_attempt() -> None:
    assert _recovery()["node killed to next attempt, ms"]["p50"] == 40
    # Neither an attempt that had ended was interrupted, nor one whose task had been given away.
    later = _event(100, "kill", "node/left-1", pid=2)
    assert _recovery(later)["node killed to next attempt, ms"]["n"] == 1


def test_a_task_handed_to_a_stopped_node_waits_for_its_lease() -> None:
    stop = _event(15, "stop", "node/left-1", pid=4)
    asleep = "the same, while another of its group was stopped, ms"
    assert _recovery(stop, _event(50, "cont", "node/left-1", pid=4))[asleep]["n"] == 1
    # The node was dead before the signal came.
    assert _recovery(stop)[asleep]["n"] == 0


def test_recovery_while_the_broker_is_away_is_measured_apart() -> None:
    figures = _recovery(_event(15, "kill", "broker", pid=7), _event(40, "listening", "broker"))
    assert figures["node killed to next attempt, ms"]["n"] == 0
    assert figures["node killed or stopped while the broker was away, ms"]["p50"] == 40
    assert figures["broker killed to next attempt, ms"] == {"p50": 45, "p99": 45, "max": 45, "n": 1}


def test_the_time_in_which_nodes_come_back_to_their_broker() -> None:
    world = [
        _event(1, "listening", "broker"),
        *(_event(2, "joined", name) for name in ("left-0", "left-1", "right-0", "right-1")),
        _event(10_000, "kill", "broker"),
        _event(11_000, "listening", "broker"),
        _event(11_150, "joined", "left-0"),
        _event(11_300, "joined", "left-1"),
        _event(11_200, "kill", "node/right-0"),
    ]
    figures = recovery(Evidence(sorted(world), {}, SEED), lease_ms=1000)
    assert figures["broker there to each node back, ms"] == {
        "p50": 300,
        "p99": 300,
        "max": 300,
        "n": 2,
    }
    assert figures["nodes later than 2 s"] == 1, "right-1, which nobody had touched"
    assert deeds(world) == {"broker kill": 1, "node kill": 1}


# -- the plan -------------------------------------------------------------------------------------


def test_the_plan_follows_from_the_seed() -> None:
    acts, same, other = (
        plan(seed, 600, EVERY_S, lambda dice: dice.uniform(0.1, 2.5)) for seed in (5, 5, 6)
    )
    assert acts == same
    assert acts != other
    assert [act.at_s for act in acts] == sorted(act.at_s for act in acts)
    kills = sum(act.verb == "kill" and act.kind == "node" for act in acts)
    assert kills > 3000
    assert {f"{act.verb} {act.kind}" for act in acts} == set(EVERY_S)
    assert all((act.hold_s > 0) == (act.verb == "stop") for act in acts)


def test_every_program_is_called() -> None:
    names = {program_of(f"c0-0-{n}", SEED)[0] for n in range(200)}
    assert names == {name for name, _, _ in PROGRAMS}


def test_a_line_torn_by_a_kill_is_left_out_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "nodes.log"
    ledger = Ledger(path)
    ledger.write("begin", "a", "1")
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole + whole[:length])
        Ledger(path).write("end", "a", "1")
        assert [event.kind for event in read([path])] == ["begin", "end"]
