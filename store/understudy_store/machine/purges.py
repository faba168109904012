"""Purges: the machine deletes call graphs that have settled, and leaves tombstones (semantics: 6).

It has no history in memory, so an engine has found what is due (`engines.ended`). What is in memory
all the same is in use: it is being settled, or a command of this batch is about it. That stays for
this time. So no id is deleted and used in the same batch.
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy_store.machine.state import State
from understudy_store.records import (
    EndedGraph,
    PurgedRecord,
    RetentionRules,
    tombstone,
    without_payloads,
)
from understudy_store.retention import is_chosen, keeps_id


def purge(
    s: State, kind: str, graphs: Iterable[EndedGraph], rules: RetentionRules, now: int
) -> list[PurgedRecord]:
    """Delete what an engine has found to be due; tell what became of each.

    Parameters
    ----------
    kind
        That of the `RetentionRead`; "graphs" for a `PromisePurge`.
    """
    now = s.clock(now)
    last_calls = {each.course.last_id for each in s.schedules.values()}
    done = []
    for graph in graphs:
        why = graph.kept or _in_use(s, graph, last_calls)
        if why is not None:
            done.append(PurgedRecord(graph.id, graph.settled_at, 0, why))
            continue
        is_kept = kind != "gone" and keeps_id(graph, rules, now)
        for id_, state in graph.members:
            s.purged.append(id_)
            if is_kept and is_chosen(id_, graph.id):
                s.replaced.append(tombstone(id_, state, graph.settled_at))
        count = len(graph.members)
        if graph.is_whole:
            count += 1
            s.purged.append(graph.id)
            if kind == "values":
                root = next(row for row in graph.rows if row.promise.id == graph.id)
                s.replaced.append(without_payloads(root, now))
            elif is_kept:
                s.replaced.append(tombstone(graph.id, graph.state, graph.settled_at))
        done.append(PurgedRecord(graph.id, graph.settled_at, count))
    return done


def _in_use(s: State, graph: EndedGraph, last_calls: set[str | None]) -> str | None:
    for id_ in (graph.id, *[id_ for id_, _ in graph.members]):
        if id_ in s.promises or id_ in s.packed:
            return "it is in use"
        if id_ in last_calls:
            return "it is the last call of a schedule"
    return None
