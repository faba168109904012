"""Recovery times: from a death to the next attempt, and from a broker's return to its peers'."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from tests.chaos.ledger import Event
from tests.chaos.verdict import Evidence

#: A node that comes back later than this after its broker is late.
BACK_MS: Final = 2_000.0
#: A node that had a fault so shortly before its broker's return is still starting.
_STRUCK_MS: Final = 500.0
_BROKER: Final = "broker"
#: What is done to processes and to the database: see `world` and `several_brokers`.
FAULTS: Final = ("kill", "stop", "term", "joining", "leaving", "cut", "promoted")


def recovery(evidence: Evidence, lease_ms: float) -> dict[str, Any]:
    """Return the recovery times in milliseconds: p50, p99, max and their number."""
    away = _broker_away(evidence.world)
    nodes: list[float] = []
    alone: list[float] = []
    asleep: list[float] = []
    nodes_and_broker: list[float] = []
    stops: list[float] = []
    for event in evidence.world:
        if not event.id.startswith("node/") or event.kind not in ("kill", "stop"):
            continue
        sleeps = _asleep(evidence.world, event.id.rpartition("-")[0])
        for next_at in _taken_over(evidence, event):
            took_ms = next_at - event.at_ms
            if _overlaps(away, event.at_ms, next_at):
                nodes_and_broker.append(took_ms)
            elif event.kind == "kill" and _overlaps(sleeps, event.at_ms, next_at):
                asleep.append(took_ms)
            elif event.kind == "kill":
                nodes.append(took_ms)
                if _is_alone(evidence.world, event, next_at):
                    alone.append(took_ms)
            elif took_ms > lease_ms / 2:
                # Otherwise it was woken or killed before its lease lapsed.
                stops.append(took_ms - lease_ms)
    back, late = _peers_back(evidence.world)
    return {
        "node killed to next attempt, ms": quantiles(nodes),
        "the same, no other of its group had a fault meanwhile, ms": quantiles(alone),
        "the same, while another of its group was stopped, ms": quantiles(asleep),
        "node killed or stopped while the broker was away, ms": quantiles(nodes_and_broker),
        "node stopped: lapse of its lease to next attempt, ms": quantiles(stops),
        "broker there to each node back, ms": quantiles(back),
        "nodes later than 2 s": late,
        "broker killed to next attempt, ms": quantiles(_broker_to_attempt(evidence)),
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p99, max and the number of times."""
    if not values:
        return {"n": 0}
    ranked = sorted(values)

    def at(share: float) -> float:
        return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 1)

    return {"p50": at(0.5), "p99": at(0.99), "max": round(ranked[-1], 1), "n": len(ranked)}


def deeds(world: Sequence[Event]) -> dict[str, int]:
    """Count the faults by kind of process and of fault: ``node kill: 3000``."""
    counts: dict[str, int] = defaultdict(int)
    for event in world:
        if event.kind in FAULTS:
            counts[f"{event.id.partition('/')[0]} {event.kind}"] += 1
    return dict(sorted(counts.items()))


def _taken_over(evidence: Evidence, event: Event) -> list[float]:
    """Return when each attempt that a process had under way was begun again by another."""
    found = []
    for id, begin in _under_way(evidence, event):
        others = [e for e in evidence.begins[id] if e.at_ms > begin.at_ms and e.pid != event.pid]
        # If the later attempt began before the fault, the process had already lost the task.
        if others and others[0].at_ms > event.at_ms:
            found.append(others[0].at_ms)
    return found


def _is_alone(world: Sequence[Event], event: Event, until_ms: float) -> bool:
    """Return whether no other node of the group had a fault, or was still coming back."""
    group = event.id.rpartition("-")[0]
    return not any(
        other.id.startswith(group)
        and other is not event
        and other.kind in ("kill", "stop", "term")
        and event.at_ms - _STRUCK_MS <= other.at_ms <= until_ms
        for other in world
    )


def _under_way(evidence: Evidence, event: Event) -> list[tuple[str, Event]]:
    index: dict[int, list[Event]] = evidence.__dict__.setdefault("begun_by", {})
    if not index:
        for begins in evidence.begins.values():
            for begin in begins:
                index.setdefault(begin.pid, []).append(begin)
    found = []
    for begin in index.get(event.pid, ()):
        ended = evidence.ended.get(begin.text)
        if begin.at_ms < event.at_ms and (ended is None or ended.at_ms > event.at_ms):
            found.append((begin.id, begin))
    return found


def _asleep(world: Sequence[Event], group: str) -> list[tuple[float, float]]:
    """Return when nodes of a group were stopped: a task handed to one waits for its lease."""
    ends = {event.pid: event.at_ms for event in world if event.kind == "cont"}
    # A process that never woke was already dead when it was stopped.
    return [
        (event.at_ms, ends.get(event.pid, event.at_ms))
        for event in world
        if event.kind == "stop" and event.id.startswith(group)
    ]


def _broker_away(world: Sequence[Event]) -> list[tuple[float, float]]:
    """Return the spans from each fault of the broker until its peers could be back."""
    spans = []
    since: float | None = None
    for event in world:
        if event.id != _BROKER:
            continue
        if event.kind in ("kill", "term", "stop"):
            since = event.at_ms if since is None else since
        elif since is not None:
            spans.append((since, event.at_ms + BACK_MS))
            since = None
    if since is not None:
        spans.append((since, float("inf")))
    return spans


def _overlaps(spans: Sequence[tuple[float, float]], start: float, end: float) -> bool:
    return any(begin <= end and start <= until for begin, until in spans)


def _peers_back(world: Sequence[Event]) -> tuple[list[float], int]:
    """Return how long nodes without faults took after each return of the broker."""
    took: list[float] = []
    late = 0
    blows = [e for e in world if e.id == _BROKER and e.kind in ("kill", "term", "stop")]
    for there in (e for e in world if e.kind == "listening"):
        if not any(e.at_ms < there.at_ms for e in blows):
            continue  # This is its first start.
        after = [e.at_ms for e in blows if e.at_ms > there.at_ms]
        names = {e.id for e in world if e.kind == "joined" and e.at_ms < there.at_ms}
        for name in names:
            back_at, struck_at = _back(world, name, there.at_ms)
            until = min([struck_at, *after[:1]])
            if back_at < until:
                took.append(back_at - there.at_ms)
            late += min(back_at, until) > there.at_ms + BACK_MS
    return took, late


def _back(world: Sequence[Event], name: str, there_ms: float) -> tuple[float, float]:
    """Return when a node joined after `there_ms`, and when it had a fault then or just before."""
    back_at = struck_at = float("inf")
    for event in world:
        if event.kind == "joined" and event.id == name and event.at_ms >= there_ms:
            back_at = min(back_at, event.at_ms)
        elif event.id == f"node/{name}" and event.at_ms >= there_ms - _STRUCK_MS:
            struck_at = min(struck_at, event.at_ms)
    return back_at, struck_at


def _broker_to_attempt(evidence: Evidence) -> list[float]:
    """Return the times from a broker's death to the first attempt under the next one."""
    begins = sorted(begin.at_ms for begins in evidence.begins.values() for begin in begins)
    found = []
    killed_at: float | None = None
    for event in evidence.world:
        if event.id == _BROKER and event.kind == "kill":
            killed_at = event.at_ms
        elif event.kind == "listening" and killed_at is not None:
            at = bisect_right(begins, event.at_ms)
            if at < len(begins):
                found.append(begins[at] - killed_at)
            killed_at = None
    return found
