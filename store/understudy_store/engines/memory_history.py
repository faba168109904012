"""Rows in memory as of one moment, for looks at what retention is about. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import replace

from understudy_store.addresses import group_of
from understudy_store.commands import STATS_FUNCTIONS_MAX
from understudy_store.engines.ended import Size, Wanted
from understudy_store.records import (
    HEADER_DROPPED,
    TAG_BRANCH,
    PromiseState,
    Row,
    StoreStats,
    Value,
    function_of,
    is_gone,
    origin_of,
    payload_bytes,
    retention_of,
)
from understudy_store.retention import Root, is_chosen


class MemoryHistory:
    """A `History` of rows.

    Parameters
    ----------
    pointed_at
        Ids to which callbacks and unblocks point.
    """

    def __init__(self, rows: Sequence[Row], pointed_at: Collection[str]) -> None:
        self._rows = {row.promise.id: row for row in rows}
        self._pointed_at = pointed_at
        self._graphs: dict[str, list[Row]] = {}
        for row in rows:
            self._graphs.setdefault(origin_of(row.promise), []).append(row)

    def roots(self, wanted: Wanted, limit: int) -> Iterable[Root]:
        """Return settled roots, or tombstones, by end and id."""
        if wanted.kind == "strays":
            return self._stray_origins(wanted, limit)
        roots = [root for row in self._rows.values() if (root := _root(row, wanted)) is not None]
        roots.sort(key=lambda root: (root.settled_at, root.id))
        return roots[:limit]

    def _stray_origins(self, wanted: Wanted, limit: int) -> list[Root]:
        ended: dict[str, int] = {}
        for row in self._rows.values():
            promise, origin = row.promise, origin_of(row.promise)
            at = promise.settled_at
            if at is not None and origin != promise.id and is_chosen(promise.id, origin):
                ended[origin] = max(at, ended.get(origin, 0))
        after = "" if wanted.after is None else wanted.after[1]
        found = []
        for id_ in sorted(each for each in ended if each > after)[:limit]:
            root = self._rows.get(id_)
            is_there = (
                root is not None
                and not is_gone(root.promise)
                and HEADER_DROPPED not in root.promise.value.headers
            )
            found.append(Root(id_, "resolved", ended[id_], is_elsewhere=not is_there))
        return found

    def sizes(self, roots: Sequence[str]) -> dict[str, Size]:
        """Return the sizes of the graphs of `roots`."""
        return {
            id_: Size(
                len(rows := self._graphs[id_]),
                sum(not row.promise.settled for row in rows),
                sum(payload_bytes(row.promise) for row in rows),
            )
            for id_ in roots
        }

    def members(self, roots: Sequence[str], limit: int) -> Iterable[tuple[str, str, PromiseState]]:
        """Return root, id and state of members, without the roots."""
        found = [
            (root, row.promise.id, row.promise.state)
            for root in roots
            for row in self._graphs[root]
            if row.promise.id != root
        ]
        return found[:limit]

    def held(self, ids: Collection[str], branches: Collection[str]) -> Collection[str]:
        """Return those of `ids` that something points to, and `branches` that are pending."""
        pending = [
            each for each in branches if each in self._rows and not self._rows[each].promise.settled
        ]
        return [*(id_ for id_ in ids if id_ in self._pointed_at), *pending]

    def promises(self) -> int:
        """Return the number of promises."""
        return sum(not is_gone(row.promise) for row in self._rows.values())

    def used_bytes(self) -> int | None:
        """Return None: there is no file."""
        return None

    def rows(self, ids: Sequence[str], *, with_data: bool) -> list[Row]:
        """Return the rows of `ids`."""
        rows = [self._rows[id_] for id_ in ids if id_ in self._rows]
        if with_data:
            return rows
        return [
            Row(
                replace(
                    row.promise,
                    param=Value(row.promise.param.headers),
                    value=Value(row.promise.value.headers),
                ),
                row.task,
            )
            for row in rows
        ]


def stats_of(rows: Sequence[Row], attempts: int) -> StoreStats:
    """Count rows."""
    there = [row for row in rows if not is_gone(row.promise)]
    functions = Counter(
        (group_of(row.task.target), function)
        for row in there
        if row.task is not None and (function := function_of(row)) is not None
    )
    ended = [
        row.promise.settled_at
        for row in there
        if row.promise.settled_at is not None and origin_of(row.promise) == row.promise.id
    ]
    by_count = sorted(functions.items(), key=lambda each: (-each[1], each[0]))
    return StoreStats(
        promises=len(there),
        pending=sum(not row.promise.settled for row in there),
        tombstones=len(rows) - len(there),
        attempts=attempts,
        oldest_ended_at=min(ended, default=None),
        functions=[
            (group, function, count) for (group, function), count in by_count[:STATS_FUNCTIONS_MAX]
        ],
    )


def _root(row: Row, wanted: Wanted) -> Root | None:
    promise = row.promise
    if promise.settled_at is None or promise.settled_at >= wanted.before:
        return None
    gone = is_gone(promise)
    if gone is not (wanted.kind == "gone") or origin_of(promise) != promise.id:
        return None
    retention = retention_of(promise.tags)
    if retention is not None and wanted.kind == "graphs":
        return None
    if retention is None and wanted.kind == "kept":
        return None
    if wanted.after is not None and (promise.settled_at, promise.id) <= wanted.after:
        return None
    function = function_of(row)
    group = None if row.task is None else group_of(row.task.target)
    if (
        wanted.function not in (None, function)
        or wanted.group not in (None, group)
        or (wanted.states and promise.state not in wanted.states)
        or not promise.id.startswith(wanted.prefix)
    ):
        return None
    return Root(
        promise.id,
        promise.state,
        promise.settled_at,
        function,
        group,
        retention,
        promise.tags.get(TAG_BRANCH),
        HEADER_DROPPED not in promise.value.headers,
    )
