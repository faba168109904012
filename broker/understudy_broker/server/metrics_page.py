"""The metrics page of a broker: its families of numbers, and their text. Pure.

Names and labels are for good: dashboards and alerts are made of them (`docs/metrics.md`). No label
has an id, and the number of lines is bounded, as the core bounds what it counts by itself.
"""

from __future__ import annotations

from typing import Final

from understudy_broker.core.call_tally import CallCounts
from understudy_broker.core.survey import Survey
from understudy_broker.monitoring.exposition import (
    Family,
    Labels,
    histograms_text,
    numbers_text,
)
from understudy_broker.monitoring.histogram import CALLS, COMMITS, SIZES, WAITS
from understudy_broker.server.group_commit import Commits
from understudy_store.engines.base import Measures
from understudy_store.records import PROMISE_WORDS, TASK_WORDS

CREATED: Final = Family(
    "understudy_calls_created_total",
    "counter",
    "Calls that were created.",
    ("group", "function"),
)
SETTLED: Final = Family(
    "understudy_calls_settled_total",
    "counter",
    "Calls that have ended.",
    ("group", "function", "outcome"),
)
DURATION: Final = Family(
    "understudy_call_duration_seconds",
    "histogram",
    "Time from the creation of a call to its end.",
    ("group", "function", "outcome"),
)
WAIT: Final = Family(
    "understudy_schedule_to_start_seconds",
    "histogram",
    "Time for which a task waited in its queue until a node got it; resumed tasks wait again.",
    ("group", "priority"),
)
DEPTH: Final = Family(
    "understudy_queue_depth", "gauge", "Tasks that wait for a node of their group.", ("group",)
)
OLDEST: Final = Family(
    "understudy_queue_oldest_seconds",
    "gauge",
    "Time for which the oldest of them has waited.",
    ("group",),
)
NODES: Final = Family("understudy_group_nodes", "gauge", "Nodes that have joined.", ("group",))
SLOTS: Final = Family(
    "understudy_node_slots",
    "gauge",
    "Tasks that a node holds (used), and how many more it asks for (free).",
    ("group", "node", "state"),
)
ATTEMPTS: Final = Family(
    "understudy_attempts_total",
    "counter",
    "Attempts that did not end their task, by how they ended.",
    ("group", "end"),
)
PARKED: Final = Family(
    "understudy_parked_total",
    "counter",
    "Tasks that were parked, because they could not go on.",
    ("group", "reason"),
)
PROMISES: Final = Family("understudy_promises", "gauge", "Pending promises.", ("state",))
TASKS: Final = Family(
    "understudy_tasks",
    "gauge",
    "Tasks by state; the halted ones are parked, and wait for a person.",
    ("state",),
)
LIMITED: Final = Family(
    "understudy_limited_total",
    "counter",
    "What was refused because an identity, or the broker, was at its limit.",
    ("rule",),
)
LIMIT_USED: Final = Family(
    "understudy_limit_used",
    "gauge",
    "What the identity has that is nearest to its limit.",
    ("rule",),
)
LIMIT: Final = Family(
    "understudy_limit_limit",
    "gauge",
    "How much of it that identity may have.",
    ("rule",),
)
PAUSED: Final = Family(
    "understudy_group_paused", "gauge", "Pauses of a group and its functions.", ("group",)
)
COMMIT: Final = Family(
    "understudy_commit_seconds",
    "histogram",
    "Time for which a commit took, until it was durable.",
)
BATCH: Final = Family(
    "understudy_commit_batch_size", "histogram", "Promises that one commit has written."
)
LAG: Final = Family(
    "understudy_follower_lag_seconds",
    "gauge",
    "Age of the oldest commit that is durable in the journal and not yet in the store's tables.",
)
JOURNAL: Final = Family("understudy_journal_bytes", "gauge", "Bytes of the journal's file.")
STORE: Final = Family("understudy_store_bytes", "gauge", "Bytes of the store's file and its log.")
FREE: Final = Family(
    "understudy_disk_free_bytes", "gauge", "Bytes that are free on the disk of the store."
)
PURGED: Final = Family(
    "understudy_purged_promises_total", "counter", "Promises that were deleted by retention."
)
PURGED_GRAPHS: Final = Family(
    "understudy_purged_graphs_total", "counter", "Call graphs, or parts of them, that were deleted."
)
PURGED_AT: Final = Family(
    "understudy_last_purge_timestamp_seconds",
    "gauge",
    "When anything was deleted last, in seconds since 1970; 0: not since the start.",
)
PEERS: Final = Family("understudy_peers", "gauge", "Connected peers.", ("kind",))
STALLED: Final = Family(
    "understudy_nodes_stalled",
    "gauge",
    "Nodes that send no heartbeats although their processes live.",
)
SCHEDULE_LAG: Final = Family(
    "understudy_schedule_lag_seconds", "gauge", "How late the most overdue schedule is."
)
LOOP_LAG: Final = Family(
    "understudy_loop_lag_seconds",
    "gauge",
    "How long the program's loop took to come to this request.",
)

#: counters of the core, by their names there
COUNTERS: Final = {
    name: Family(f"understudy_{name}_total", "counter", text)
    for name, text in (
        ("frames", "Frames that peers have sent."),
        ("malformed", "Frames that were not well formed."),
        ("requests", "Requests that were performed."),
        ("commands", "Commands in them."),
        ("refused", "Requests and peers that were refused."),
        ("dispatched", "Tasks that were handed to nodes."),
        ("forwarded", "Deliveries that edges and connectors have made."),
        ("forwards_failed", "Deliveries that they could not make."),
        ("connections_lost", "Connections of peers that ended without a goodbye."),
        ("leases_lapsed", "Peers that lost their tasks because they were silent."),
        ("leases_extended", "Silent nodes that kept their tasks because their processes live."),
        ("stale_writes", "Writes that were refused, because another node has the task by now."),
        ("peers_too_slow", "Peers that were dropped because they did not read."),
    )
}

FAMILIES: Final = (
    *(CREATED, SETTLED, DURATION, WAIT, DEPTH, OLDEST, NODES, SLOTS, ATTEMPTS, PARKED),
    *(
        PROMISES,
        TASKS,
        LIMITED,
        LIMIT_USED,
        LIMIT,
        PAUSED,
        COMMIT,
        BATCH,
        LAG,
        JOURNAL,
        STORE,
        FREE,
    ),
    *(PURGED, PURGED_GRAPHS, PURGED_AT, PEERS, STALLED),
    *(SCHEDULE_LAG, LOOP_LAG, *COUNTERS.values()),
)


def broker_text(survey: Survey, measures: Measures, commits: Commits, lag_s: float) -> str:
    """Return the page.

    Parameters
    ----------
    lag_s
        How long the broker's loop took to make the survey.
    """
    nothing: Labels = ()
    return "".join(
        (
            *_calls(survey.calls),
            histograms_text(
                WAIT, WAITS, (((group, str(at)), each) for (group, at), each in survey.waits)
            ),
            *_groups(survey),
            numbers_text(ATTEMPTS, survey.attempts),
            numbers_text(PARKED, survey.parks),
            numbers_text(PROMISES, {("pending",): survey.promises_pending}),
            numbers_text(TASKS, {(TASK_WORDS[state],): n for state, n in survey.tasks.items()}),
            numbers_text(LIMITED, {(rule,): count for rule, count in survey.limited.items()}),
            numbers_text(LIMIT_USED, {(each.rule,): each.used for each in survey.levels}),
            numbers_text(LIMIT, {(each.rule,): each.most for each in survey.levels}),
            numbers_text(PAUSED, {(group,): count for group, count in survey.paused.items()}),
            histograms_text(COMMIT, COMMITS, [(nothing, commits.took_us)]),
            histograms_text(BATCH, SIZES, [(nothing, commits.sizes)]),
            *_store(measures),
            numbers_text(PURGED, {nothing: survey.purged}),
            numbers_text(PURGED_GRAPHS, {nothing: survey.purged_graphs}),
            numbers_text(PURGED_AT, {nothing: survey.purged_at_s}),
            numbers_text(PEERS, {(kind,): count for kind, count in survey.peers.items()}),
            numbers_text(STALLED, {nothing: survey.stalled}),
            numbers_text(SCHEDULE_LAG, {nothing: survey.schedule_lag_s}),
            numbers_text(LOOP_LAG, {nothing: round(lag_s, 6)}),
            *(
                numbers_text(family, {nothing: survey.numbers[name]})
                for name, family in COUNTERS.items()
            ),
        )
    )


def _calls(calls: list[CallCounts]) -> tuple[str, ...]:
    created = {(each.group, each.function): each.created for each in calls}
    ended = [
        ((each.group, each.function, PROMISE_WORDS[state]), histogram)
        for each in calls
        for state, histogram in list(each.ended.items())
    ]
    settled = {labels: sum(histogram.buckets) for labels, histogram in ended}
    return (
        numbers_text(CREATED, created),
        numbers_text(SETTLED, settled),
        histograms_text(DURATION, CALLS, ended),
    )


def _groups(survey: Survey) -> tuple[str, ...]:
    groups = survey.groups
    slots = {}
    for node in survey.nodes:
        slots[node.group, node.name, "used"] = node.held
        slots[node.group, node.name, "free"] = node.credit
    return (
        numbers_text(DEPTH, {(group.name,): group.queued for group in groups}),
        numbers_text(OLDEST, {(group.name,): group.oldest_s for group in groups}),
        numbers_text(NODES, {(group.name,): group.nodes for group in groups}),
        numbers_text(SLOTS, slots),
    )


def _store(measures: Measures) -> tuple[str, ...]:
    known = (
        (LAG, measures.lag_s),
        (JOURNAL, measures.journal_bytes),
        (STORE, measures.store_bytes),
        (FREE, measures.free_bytes),
    )
    return tuple(
        numbers_text(family, {(): number}) for family, number in known if number is not None
    )
