"""Progress of several brokers: how long calls wait after each kind of fault, and who ended why."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from tests.chaos.app import PROBE
from tests.chaos.ledger import Event
from tests.chaos.recovery import quantiles
from tests.chaos.verdict import Evidence
from understudy_store.slots import slot_of

#: How long calls may wait after each kind of fault, in milliseconds, in 99 of 100 cases.
GOALS_MS: Final = {
    "kill": 2_000,
    "term": 500,
    "joining": 500,
    "leaving": 500,
    "stop 1": 5_000,
    "stop 4": 5_000,
    "stop 8": 5_000,
    "promoted": 5_000,
    "cut": 2_000,
}
#: A call that waits longer than this has been forgotten.
FORGOTTEN_MS: Final = 30_000.0
#: A broker that is stopped for longer may have been taken over from.
_LEASE_S: Final = 3.0

_OF_BROKERS: Final = ("kill", "term", "stop", "joining", "leaving", "cut", "down")


class Probe(NamedTuple):
    """One short call."""

    asked_ms: float
    done_ms: float
    slot: int


class Fault(NamedTuple):
    """A fault that came alone, and the time until all was as before."""

    kind: str
    since_ms: float
    until_ms: float
    #: first letters of the brokers that had the slots before
    owners: str


def progress(evidence: Evidence) -> dict[str, Any]:
    """Return for each kind of fault how long calls waited, in milliseconds."""
    probes = list(probes_of(evidence))
    found: dict[str, Any] = {}
    waits: dict[str, list[float]] = defaultdict(list)
    owned: dict[str, list[float]] = defaultdict(list)
    for fault in faults_of(evidence.world):
        waits[fault.kind].append(longest_wait(probes, fault))
        owned[fault.kind] += first_returns(probes, fault)
    for kind, goal_ms in GOALS_MS.items():
        ranked = quantiles(waits[kind])
        late = [round(ms) for ms in sorted(waits[kind]) if ms > goal_ms]
        found[f"{kind}: longest wait of a call, ms"] = ranked | {"late": late[-8:] or 0}
        found[f"{kind}: to the first return of each owner's slots, ms"] = quantiles(owned[kind])
    storm = [event.at_ms for event in evidence.world if event.kind == "storm over"]
    stormy = [each for each in probes if storm and each.asked_ms < storm[0]]
    found["all in the storm: a call, ms"] = quantiles([p.done_ms - p.asked_ms for p in stormy])
    found["all one by one: a call, ms"] = quantiles(
        [p.done_ms - p.asked_ms for p in probes if not storm or p.asked_ms >= storm[0]]
    )
    return found


def stands(evidence: Evidence) -> list[str]:
    """Return what did not go on: calls that waited too long, and slots that nobody had."""
    found = [
        f"the slots were not shared out again {event.at_ms:.0f}: {event.text}"
        for event in evidence.world
        if event.kind == "never"
    ]
    found += [
        f"a call of slot {probe.slot} waited from {probe.asked_ms:.0f} to {probe.done_ms:.0f}"
        for probe in probes_of(evidence)
        if probe.done_ms - probe.asked_ms > FORGOTTEN_MS
    ]
    for fault in faults_of(evidence.world):
        missing = (
            {*fault.owners}
            - {"-"}
            - {
                fault.owners[each.slot]
                for each in probes_of(evidence)
                if each.asked_ms >= fault.since_ms
            }
        )
        if missing:
            found.append(f"no call of the slots of {sorted(missing)} after {fault.kind}")
    return found


def ends_without_fault(world: Sequence[Event]) -> list[str]:
    """Return the ends of brokers that no fault explains."""
    found = []
    # One that is asked to end, or has slept for too long, may be stopped again before it ends.
    since: dict[str, list[Event]] = defaultdict(list)
    for event in world:
        if not event.id.startswith("broker/"):
            continue
        if event.kind in ("kill", "term", "stop"):
            since[event.id].append(event)
        elif event.kind == "ended":
            faults = since.pop(event.id, [])
            if not any(_explains(fault, event.text) for fault in faults):
                found.append(f"{event.id} {event.text} at {event.at_ms:.0f}, after {faults}")
    return found


def _explains(fault: Event, text: str) -> bool:
    if fault.kind == "stop":
        return text == "exited with code 1" and float(fault.text) >= _LEASE_S
    return text == {"kill": "was killed by SIGKILL", "term": "exited with code 0"}[fault.kind]


def probes_of(evidence: Evidence) -> Iterator[Probe]:
    """Yield the short calls that have returned, in the order in which they were asked for."""
    results = {event.id: event.at_ms for event in evidence.calls["result"]}
    for event in evidence.calls["asked"]:
        if event.id.startswith(PROBE) and event.id in results:
            yield Probe(event.at_ms, results[event.id], slot_of(event.id))


def faults_of(world: Sequence[Event]) -> Iterator[Fault]:
    """Yield the faults that came alone: after all was whole, and until it was again."""
    owners = ""
    blow: Event | None = None
    alone = False
    for event in world:
        if event.kind == "owners":
            owners, alone, blow = event.text, True, None
        elif event.kind in _OF_BROKERS and _is_of_brokers(event):
            alone = alone and blow is None
            blow = event
        elif event.kind == "promoted" and blow is not None:
            blow = event
        elif event.kind == "whole":
            if alone and blow is not None:
                yield Fault(_kind_of(blow), blow.at_ms, event.at_ms, owners)
            alone, blow = False, None


def _is_of_brokers(event: Event) -> bool:
    return event.id.startswith("broker/") or event.id == "database"


def _kind_of(event: Event) -> str:
    return f"stop {event.text}" if event.kind == "stop" else event.kind


def longest_wait(probes: Sequence[Probe], fault: Fault) -> float:
    """Return how long a call waited after the fault, at most."""
    return max(
        (
            each.done_ms - max(each.asked_ms, fault.since_ms)
            for each in probes
            if each.asked_ms < fault.until_ms and each.done_ms > fault.since_ms
        ),
        default=0.0,
    )


def first_returns(probes: Sequence[Probe], fault: Fault) -> list[float]:
    """Return the time from the fault to the first return of a later call of each owner's slots."""
    first: dict[str, float] = {}
    at = bisect.bisect_left(probes, (fault.since_ms, 0.0, 0))
    for each in probes[at:]:
        if each.asked_ms >= fault.until_ms:
            break
        owner = fault.owners[each.slot]
        first[owner] = min(first.get(owner, each.done_ms), each.done_ms)
    return [done - fault.since_ms for owner, done in first.items() if owner != "-"]
