"""A look at what retention is about, the same for all engines: what is due, as of one moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from understudy_store.calls import Place, call_place
from understudy_store.commands import EXCESS_COUNT, PromisePurge, Reply, RetentionRead
from understudy_store.records import EndedGraph, PromiseState, Row
from understudy_store.retention import (
    ARCHIVED_BYTES_MAX,
    LOOKED_MAX,
    MEMBERS_MAX,
    Root,
    before,
    cursor_of,
    is_due,
)


class Wanted(NamedTuple):
    """Roots to look at, of one kind: see `RetentionRead`, or "all" for graphs of any retention."""

    kind: str
    before: int
    after: Place | None
    function: str | None = None
    group: str | None = None
    states: tuple[str, ...] = ()
    prefix: str = ""


class Size(NamedTuple):
    """The promises of a graph, pending ones among them, and bytes of payloads."""

    promises: int
    pending: int
    payload_bytes: int


class History(Protocol):
    """A store as of one moment."""

    def roots(self, wanted: Wanted, limit: int) -> Iterable[Root]:
        """Return settled roots, or tombstones, by end and id."""

    def sizes(self, roots: Sequence[str]) -> Mapping[str, Size]:
        """Return the sizes of the graphs of `roots`."""

    def members(self, roots: Sequence[str], limit: int) -> Iterable[tuple[str, str, PromiseState]]:
        """Return root, id and state of members, without the roots, but for other brokers' ones."""

    def held(self, ids: Collection[str], branches: Collection[str]) -> Collection[str]:
        """Return those of `ids` that something pending points to, and `branches` that are."""

    def promises(self) -> int:
        """Return the number of promises."""

    def used_bytes(self) -> int | None:
        """Return how many bytes of its file are in use; None: there is no file."""

    def rows(self, ids: Sequence[str], *, with_data: bool) -> list[Row]:
        """Return the rows of `ids`."""


def ended(history: History, command: PromisePurge | RetentionRead, now: int) -> Reply:
    """Answer what is due, with the reason where it must stay."""
    wanted = _wanted(command, now)
    if wanted is None:
        return Reply(200, ended=[])
    kind = wanted.kind
    left: int | None = None
    if isinstance(command, RetentionRead) and command.kind == "excess":
        kind = command.kind
        left = _excess(history, command)
        if left == 0:
            return Reply(200, ended=[])
    found, cursor = _chosen(history, command, wanted, now)
    if kind == "gone":
        graphs = [EndedGraph(root.id, root.state, root.settled_at) for root in found]
        return Reply(200, ended=graphs, cursor=cursor)
    with_rows = command.with_rows
    sizes = history.sizes([root.id for root in found]) if found else {}
    fitting, is_whole = _fitting(found, sizes, with_rows=with_rows)
    counts = None
    if left is not None:
        counts = {EXCESS_COUNT: left}
        enough = _enough(fitting, sizes, left)
        if len(enough) < len(fitting):
            fitting, found, cursor, is_whole = enough, enough, None, True
    if len(fitting) < len(found) or not is_whole:
        last = fitting[-2] if not is_whole and len(fitting) > 1 else None
        if is_whole:
            last = fitting[-1]
        cursor = command.cursor or "0:" if last is None else cursor_of(last.settled_at, last.id)
    graphs = _graphs(history, fitting, sizes, is_whole, kind, with_rows)
    if kind == "strays":
        graphs = [replace(graph, is_whole=False) for graph in graphs]
    return Reply(200, ended=graphs, cursor=cursor, counts=counts)


def _wanted(command: PromisePurge | RetentionRead, now: int) -> Wanted | None:
    after = None if command.cursor is None else call_place(command.cursor)
    if isinstance(command, PromisePurge):
        return Wanted(
            "all",
            min(command.before, now + 1),
            after,
            command.function,
            command.group,
            command.states,
            command.prefix,
        )
    if command.kind == "strays":
        return Wanted("strays", now + 1 if command.before is None else command.before, after)
    until = before(command.kind, command.rules, now)
    # What its creator has said of a call graph, holds.
    kind = "graphs" if command.kind == "excess" else command.kind
    return None if until is None else Wanted(kind, until, after)


def _chosen(
    history: History, command: PromisePurge | RetentionRead, wanted: Wanted, now: int
) -> tuple[list[Root], str | None]:
    """Return the first roots that are due, and the cursor after what was looked at."""
    found: list[Root] = []
    last: Root | None = None
    looked = 0
    for last in history.roots(wanted, LOOKED_MAX):
        looked += 1
        is_wanted = isinstance(command, PromisePurge) or (
            last.settled_at < wanted.before and is_due(command.kind, last, command.rules, now)
        )
        if is_wanted:
            found.append(last)
            if len(found) == command.limit:
                break
    if last is None or (looked < LOOKED_MAX and len(found) < command.limit):
        return found, None
    return found, cursor_of(last.settled_at, last.id)


def _fitting(
    found: Sequence[Root], sizes: Mapping[str, Size], *, with_rows: bool
) -> tuple[list[Root], bool]:
    """Return the roots whose graphs fit into one purge, and whether the last one fits wholly."""
    fitting: list[Root] = []
    left, bytes_left = MEMBERS_MAX, ARCHIVED_BYTES_MAX
    for root in found:
        size = sizes.get(root.id, Size(1, 0, 0))
        left -= 0 if size.pending else size.promises
        bytes_left -= size.payload_bytes if with_rows and not size.pending else 0
        if fitting and (left < 0 or bytes_left < 0):
            break
        fitting.append(root)
        if left < 0:
            return fitting, False
    return fitting, True


def _excess(history: History, command: RetentionRead) -> int | None:
    """Return how many promises are to go; None: as many as one look finds."""
    rules = command.rules
    if rules.max_bytes is not None:
        used = history.used_bytes()
        if used is not None and used > rules.max_bytes:
            return None
    if rules.max_rows is None:
        return 0
    if command.excess is not None:
        return max(0, command.excess)
    return max(0, history.promises() - rules.max_rows)


def _enough(found: Sequence[Root], sizes: Mapping[str, Size], count: int) -> list[Root]:
    """Return the first roots that together have so many promises that may go, or all."""
    enough: list[Root] = []
    for root in found:
        if count <= 0:
            break
        enough.append(root)
        size = sizes.get(root.id, Size(1, 0, 0))
        count -= 0 if size.pending else size.promises
    return enough


def _graphs(
    history: History,
    roots: Sequence[Root],
    sizes: Mapping[str, Size],
    is_whole: bool,
    kind: str,
    with_rows: bool,
) -> list[EndedGraph]:
    settled = [root.id for root in roots if root.id not in sizes or not sizes[root.id].pending]
    members: dict[str, list[tuple[str, PromiseState]]] = {id_: [] for id_ in settled}
    if settled:
        for root_id, id_, state in history.members(settled, MEMBERS_MAX):
            members[root_id].append((id_, state))
    ids = [*settled, *(id_ for each in members.values() for id_, _ in each)]
    branches = {root.branch for root in roots if root.branch is not None}
    held = frozenset(history.held(ids, branches)) if ids else frozenset()
    rows: dict[str, Row] = {}
    if with_rows:
        rows = {row.promise.id: row for row in history.rows(ids, with_data=True)}
    elif kind == "values":
        rows = {row.promise.id: row for row in history.rows(settled, with_data=False)}
    graphs = []
    for root in roots:
        of_graph = members.get(root.id)
        kept = None
        if of_graph is None:
            kept, of_graph = "a promise of its call graph is pending", []
        elif root.branch in held:
            kept = "the call that has started it is pending"
        elif root.id in held or any(id_ in held for id_, _ in of_graph):
            kept = "a pending promise or a message that is owed points to it"
        own = [rows[id_] for id_ in (root.id, *(id_ for id_, _ in of_graph)) if id_ in rows]
        graphs.append(
            EndedGraph(
                root.id,
                root.state,
                root.settled_at,
                [] if kept else of_graph,
                is_whole or root is not roots[-1],
                kept,
                [] if kept else own,
            )
        )
    return graphs
