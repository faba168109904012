"""The metrics page of a node: its families of numbers, and their text. Pure.

Their names differ from those of a broker, so that sums over all programs count nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from understudy_actors.node.statistics import NodeStatistics
from understudy_broker.monitoring.exposition import Family, histograms_text, numbers_text
from understudy_broker.monitoring.histogram import CALLS, Histogram

CONNECTED: Final = Family("understudy_node_connected", "gauge", "1 while a broker answers.")
CONCURRENCY: Final = Family(
    "understudy_node_concurrency", "gauge", "Functions that may run at a time.", ("group",)
)
TASKS: Final = Family(
    "understudy_node_tasks",
    "gauge",
    "Tasks in this node: held, with a lease; running, which are held and not waiting; and warm, "
    "suspended and still in memory.",
    ("group", "state"),
)
BACKLOG: Final = Family(
    "understudy_node_backlog", "gauge", "Functions that no thread has begun.", ("group",)
)
ENDED: Final = Family(
    "understudy_functions_ended_total",
    "counter",
    "Functions that have ended here, steps included.",
    ("group", "outcome"),
)
EXECUTION: Final = Family(
    "understudy_execution_seconds",
    "histogram",
    "Time from when this node got a task until its function returned or raised, waits included.",
    ("group", "function"),
)
REPLAYS: Final = Family(
    "understudy_replays_total", "counter", "Tasks that began here with a history.", ("group",)
)
REPLAYED_STEPS: Final = Family(
    "understudy_replayed_steps_total",
    "counter",
    "Settled promises in these histories.",
    ("group",),
)
WARM_RESUMES: Final = Family(
    "understudy_warm_resumes_total",
    "counter",
    "Tasks that went on from memory, without a replay.",
    ("group",),
)
BLOCKED: Final = Family(
    "understudy_node_blocked_seconds",
    "gauge",
    "Time for which functions have blocked an event loop, or all workers.",
    ("who",),
)
NODE_LOOP_LAG: Final = Family(
    "understudy_node_loop_lag_seconds",
    "gauge",
    "How long the node's own loop took to come to this request.",
)
COLLECTIONS: Final = Family(
    "understudy_gc_collections_total",
    "counter",
    "Runs of Python's garbage collector.",
    ("generation",),
)
FAMILIES: Final = (
    *(CONNECTED, CONCURRENCY, TASKS, BACKLOG, ENDED, EXECUTION, REPLAYS, REPLAYED_STEPS),
    *(WARM_RESUMES, BLOCKED, NODE_LOOP_LAG, COLLECTIONS),
)


class NodeNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of a node.

    Attributes
    ----------
    executions
        How long functions took, milliseconds, by name; they go on counting.
    blocked
        For how long what is blocked, in seconds.
    collections
        Runs of the garbage collector, by generation.
    """

    group: str
    connected: bool
    concurrency: int
    backlog: int
    statistics: NodeStatistics
    executions: Mapping[str, Histogram]
    blocked: Mapping[str, float]
    collections: tuple[int, ...]
    lag_s: float


def node_text(node: NodeNumbers) -> str:
    """Return the page."""
    group, counts = node.group, node.statistics
    return "".join(
        (
            numbers_text(CONNECTED, {(): int(node.connected)}),
            numbers_text(CONCURRENCY, {(group,): node.concurrency}),
            numbers_text(
                TASKS,
                {
                    (group, "held"): counts.held,
                    (group, "running"): counts.running,
                    (group, "warm"): counts.warm,
                },
            ),
            numbers_text(BACKLOG, {(group,): node.backlog}),
            numbers_text(
                ENDED, {(group, "returned"): counts.done, (group, "raised"): counts.failed}
            ),
            histograms_text(
                EXECUTION,
                CALLS,
                (((group, name), each) for name, each in node.executions.items()),
            ),
            numbers_text(REPLAYS, {(group,): counts.replays}),
            numbers_text(REPLAYED_STEPS, {(group,): counts.replayed_steps}),
            numbers_text(WARM_RESUMES, {(group,): counts.warm_resumes}),
            numbers_text(BLOCKED, {(who,): for_s for who, for_s in node.blocked.items()}),
            numbers_text(NODE_LOOP_LAG, {(): round(node.lag_s, 6)}),
            numbers_text(COLLECTIONS, {(str(n),): each for n, each in enumerate(node.collections)}),
        )
    )
