"""A survey of a broker's core: all numbers that its metrics page shows, at one moment. Pure.

It is made on the broker's loop, which it must not hold up: it looks at each group and each node,
and at no task. What is counted all the time (`CallTally`) is not copied number by number, since
whoever shows it may do so beside the loop.
"""

from __future__ import annotations

from typing import Final

import msgspec

from understudy_broker.core.call_tally import CallCounts
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.quotas import Level
from understudy_broker.monitoring.histogram import Histogram

#: groups, and nodes, that a survey names; of more groups, those with nodes come first
GROUPS_MAX: Final = 1_000
NODES_MAX: Final = 1_000


class GroupNumbers(msgspec.Struct, frozen=True):
    """Numbers of one group.

    Attributes
    ----------
    oldest_s
        How long the first of its queued tasks has waited, seconds; 0: nothing is queued.
    """

    name: str
    nodes: int
    queued: int
    oldest_s: float


class NodeNumbers(msgspec.Struct, frozen=True):
    """Numbers of one node: the tasks that it holds, and how many more it asks for."""

    group: str
    name: str
    held: int
    credit: int


class Survey(msgspec.Struct, frozen=True):
    """Numbers of a broker.

    Attributes
    ----------
    numbers
        Those of `Metrics.counters`.
    tasks, promises_pending
        Tasks by their state, and pending promises.
    attempts, parks, limited
        As in `Metrics`.
    levels
        How near identities have come to their limits, as in `Quotas`.
    paused
        How many pauses groups have: of all, or of some of their functions.
    calls, waits
        As in `CallTally`; their counts go on.
    peers
        Connected peers by their kind.
    stalled
        Nodes that send no heartbeats although their processes live.
    schedule_lag_s
        How late the schedule is that is due first, seconds; 0: none is due.
    purged, purged_graphs, purged_at_s
        Promises, and call graphs, that retention has deleted, and when that was last, epoch
        seconds; 0: it has not.
    owns_slots
        The broker has slots, or is the only one.
    """

    numbers: dict[str, int]
    tasks: dict[str, int]
    promises_pending: int
    groups: list[GroupNumbers]
    nodes: list[NodeNumbers]
    attempts: dict[tuple[str, str], int]
    parks: dict[tuple[str, str], int]
    limited: dict[str, int]
    levels: list[Level]
    paused: dict[str, int]
    calls: list[CallCounts]
    waits: list[tuple[tuple[str, int], Histogram]]
    peers: dict[str, int]
    stalled: int
    schedule_lag_s: float
    purged: int
    purged_graphs: int
    purged_at_s: float
    owns_slots: bool


def survey(core: BrokerCore, now: int) -> Survey:
    """Return the numbers of a broker at `now`, epoch milliseconds of its clock."""
    metrics, view = core.metrics, core.machine.view
    purges, pauses = core.searches.retention, core.searches.pauses
    groups = [
        GroupNumbers(
            group.name,
            group.nodes,
            group.queued,
            0.0 if group.waiting_since is None else max(0, now - group.waiting_since) / 1000,
        )
        for group in core.dispatcher.statistics().groups
    ]
    if len(groups) > GROUPS_MAX:
        groups.sort(key=lambda group: (group.nodes > 0, group.queued), reverse=True)
        del groups[GROUPS_MAX:]
    nodes: list[NodeNumbers] = []
    peers = {"node": 0, "client": 0, "edge": 0, "broker": 0}
    stalled = 0
    for session in core.sessions:
        peers[session.kind] = peers.get(session.kind, 0) + 1
        stalled += session.stall is not None
        if session.kind == "node" and len(nodes) < NODES_MAX:
            held, credit = view.held_count(session.pid), core.dispatcher.available(session.pid)
            nodes.append(NodeNumbers(session.group, session.name, held, credit))
    calls = metrics.calls
    return Survey(
        numbers=metrics.counters(),
        tasks=view.task_counts(),
        promises_pending=view.pending_count,
        groups=groups,
        nodes=nodes,
        attempts=metrics.attempts.copy(),
        parks=metrics.parks.copy(),
        limited=metrics.limited.copy(),
        levels=core.quotas.levels(core.sessions) if core.quotas.is_on else [],
        paused={name: len(pauses.of(name)) for name in pauses.groups()},
        calls=[] if calls is None else list(calls.counts.values()),
        waits=[] if calls is None else list(calls.waits.items()),
        peers=peers,
        stalled=stalled,
        schedule_lag_s=view.schedule_lag_ms(now) / 1000,
        purged=purges.purged,
        purged_graphs=purges.purged_graphs,
        purged_at_s=purges.purged_at / 1000,
        owns_slots=core.own.map is None or bool(core.own.mine),
    )
