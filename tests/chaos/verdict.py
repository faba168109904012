"""The verdict on a run: computed from the ledgers and from the store at the end, without I/O.

The violations, and how each is found:

lost
    A client was told that its call is stored, but the store does not have it, or has not settled it
    after a minute without faults.
settled twice
    Two values were seen for one promise: by a client at two times, in the result of a parent, or in
    the store.
stale writes applied
    The store has the result of an attempt although a later attempt had begun before the result was
    written. By then the task had been given away, so the write carried an old version.
repeated
    A step began although it was already stored, on a node that was never stopped. (A stopped node
    may have lost its lease without knowing it.)
incomplete
    A result has a step that the store does not have, or has not settled.
wrong
    A call failed, or its result does not consist of one attempt of each of its steps, in order.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.chaos.app import expected_ids
from tests.chaos.ledger import Event

#: All changes of a batch have one time, in whole milliseconds. They may in fact be later by the
#: time that it takes to read and decode the batch.
_BATCH_MS: Final = 20.0


class Row(NamedTuple):
    """A promise in the store."""

    state: str
    value: Any
    settled_at: int | None


@dataclass
class Verdict:
    """The violations of rules, each with its place, and the figures of a run."""

    violations: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


class Evidence:
    """The events of a run, sorted by subject."""

    def __init__(self, events: Iterable[Event], rows: Mapping[str, Row], seed: int) -> None:
        self.rows = rows
        self.seed = seed
        #: Attempts of each promise, in the order in which they began.
        self.begins: dict[str, list[Event]] = defaultdict(list)
        #: The ends of attempts, by token; an attempt ends by returning or raising.
        self.ended: dict[str, Event] = {}
        self.calls: dict[str, list[Event]] = defaultdict(list)
        #: Faults of processes, and the broker's log lines about them.
        self.world: list[Event] = []
        for event in events:
            if event.kind == "begin":
                self.begins[event.id].append(event)
            elif event.kind in ("end", "raise"):
                self.ended[event.text] = event
            elif event.kind in ("asked", "acked", "result", "again", "failed"):
                self.calls[event.kind].append(event)
            else:
                self.world.append(event)
        self.stopped = {event.pid for event in self.world if event.kind == "stop"}


def judge(evidence: Evidence, others: Mapping[str, list[str]] | None = None) -> Verdict:
    """Return the violations and figures of a run that has ended.

    Parameters
    ----------
    others
        Violations of further rules, by the name of the rule.
    """
    verdict = Verdict()
    checks = {
        "lost": _lost(evidence),
        "wrong results": _wrong(evidence),
        "settled twice": _settled_twice(evidence),
        "stale writes applied": _stale(evidence),
        "stored steps repeated": _repeated(evidence),
        "steps that are not in the store": _incomplete(evidence),
        **(others or {}),
    }
    calls = evidence.calls
    acked = {event.id for event in calls["acked"]}
    verdict.figures["calls asked"] = len(calls["asked"])
    verdict.figures["calls acknowledged"] = len(acked)
    verdict.figures["results received"] = len(calls["result"])
    for what, found in checks.items():
        verdict.figures[what] = len(found)
        verdict.violations += [f"{what}: {text}" for text in found]
    verdict.figures["promises in the store"] = len(evidence.rows)
    verdict.figures |= _attempts(evidence)
    return verdict


def _lost(evidence: Evidence) -> list[str]:
    found = []
    for id in sorted({event.id for event in evidence.calls["acked"]}):
        row = evidence.rows.get(id)
        if row is None:
            found.append(f"{id} was acknowledged but is not in the store")
        elif row.settled_at is None:
            found.append(f"{id} was acknowledged but is still {row.state}")
    return found


def _wrong(evidence: Evidence) -> list[str]:
    found = [f"{event.id} failed with {event.text}" for event in evidence.calls["failed"]]
    for id in sorted({event.id for event in evidence.calls["acked"]}):
        row = evidence.rows.get(id)
        if row is None or row.settled_at is None:
            continue
        expected = expected_ids(id, evidence.seed)
        tokens = row.value if isinstance(row.value, list) else []
        ids = [str(token).partition(" ")[0] for token in tokens]
        if row.state != "resolved" or ids != expected:
            found.append(f"{id} is {row.state} with {row.value!r}, not with steps {expected}")
        for token in tokens:
            ended = evidence.ended.get(token)
            if ended is None or ended.kind != "end":
                found.append(f"{id} has the result of an attempt that never ended: {token!r}")
    return found


def _settled_twice(evidence: Evidence) -> list[str]:
    seen: dict[str, set[str]] = defaultdict(set)
    for id, row in evidence.rows.items():
        if row.settled_at is not None:
            seen[id].add(json.dumps(row.value))
    for event in evidence.calls["result"] + evidence.calls["again"]:
        seen[event.id].add(event.text)
        for token in json.loads(event.text) or ():
            seen[token.partition(" ")[0]].add(json.dumps(token))
    return [f"{id}: {sorted(values)}" for id, values in sorted(seen.items()) if len(values) > 1]


def _stale(evidence: Evidence) -> list[str]:
    found = []
    for id, row in sorted(evidence.rows.items()):
        if row.settled_at is None or row.state != "resolved":
            continue
        believed = next((e for e in evidence.begins.get(id, ()) if e.text == row.value), None)
        if believed is None:
            continue
        # A stopped process may begin a task that it has lost, because it does not know it yet.
        found += [
            f"{id}: {row.value!r} was stored at {row.settled_at}, but {other.text!r} had begun at "
            f"{other.at_ms:.0f} in process {other.pid}"
            for other in evidence.begins[id]
            if believed.at_ms < other.at_ms < row.settled_at and other.pid not in evidence.stopped
        ]
    return found


def _repeated(evidence: Evidence) -> list[str]:
    found = []
    for id, begins in sorted(evidence.begins.items()):
        row = evidence.rows.get(id)
        if row is None or row.settled_at is None:
            continue
        found += [
            f"{id} was stored at {row.settled_at}, but began again in process {begin.pid} at "
            f"{begin.at_ms:.0f}"
            for begin in begins
            if begin.at_ms > row.settled_at + _BATCH_MS
            and begin.text != row.value
            and begin.pid not in evidence.stopped
        ]
    return found


def _incomplete(evidence: Evidence) -> list[str]:
    """Find steps that a result consists of and the store does not have."""
    found = []
    for id in sorted({event.id for event in evidence.calls["acked"]}):
        row = evidence.rows.get(id)
        if row is None or row.state != "resolved":
            continue
        found += [
            f"{id} has a result, but its step {step} is not settled"
            for step in expected_ids(id, evidence.seed)
            if step not in evidence.rows or evidence.rows[step].settled_at is None
        ]
    return found


def _attempts(evidence: Evidence) -> dict[str, Any]:
    """Count the starts of steps, without those that raise on purpose."""
    counts: Counter[int] = Counter()
    for begins in evidence.begins.values():
        raised = sum(
            begin.text in evidence.ended and evidence.ended[begin.text].kind == "raise"
            for begin in begins
        )
        counts[len(begins) - raised] += 1
    steps = sum(counts.values())
    total = sum(number * count for number, count in counts.items())
    return {
        "steps": steps,
        "attempts per step": round(total / steps, 4) if steps else 0,
        "steps by attempts": dict(sorted(counts.items())),
    }
