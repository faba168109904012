"""Retention: which settled call graphs are due to be deleted, and what stays of them. Pure.

A call graph is deleted as a whole, and only when all of it has settled. How long it is kept counts
from the end of its root. Its creator may say it (the tag `records.TAG_RETENTION`); else the rule of
its function decides, else that of its group, else the default.

There are three stages. First the payloads and the steps may go, and the row of the root stays and
says so. Then the graph goes, and a *tombstone* takes the place of each id by which somebody may ask
again: that of the root, and those that its functions have chosen themselves. It is a row without
content, so whoever looks for the id finds it, and creating it is refused (410). In the end that
goes, too, and the id is free.

What is due is read in slices beside all else (`engines.ended`), and deleted by the machine
(`machine.purges`), as a part of a batch: one commit, before or after which everything is there or
gone, in the journal as in the table.

Never deleted is what anything points to: a graph with a pending promise, with an unblock that is
owed, with a task in the callbacks of a pending promise; a detached call whose caller is pending,
which may ask for it again when it is replayed; and the last call of a schedule.

What is not perfect: a pending task of another graph may have asked for a call by the id that was
chosen for it. If it is replayed after that is gone, it hears 410. And a promise that a client puts
into a settled graph (by the tag of its origin) between the look and the purge outlives the rest.

Where several brokers have slots of their own, each deletes what is in its slots. Members with
chosen ids that live elsewhere are *strays* there. They are deleted after their root, about which
their broker asks the root's (`is_root_gone`).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from understudy_store.commands import Reply
from understudy_store.records import (
    HEADER_DROPPED,
    KEPT_FOREVER,
    EndedGraph,
    PromiseState,
    RetentionRules,
)

#: promises that one purge deletes, at most; of a larger graph the root goes last
MEMBERS_MAX: Final = 4_096
#: roots that one look goes through
LOOKED_MAX: Final = 512
#: bytes of payloads that one look reads for an archive, beyond the first graph
ARCHIVED_BYTES_MAX: Final = 16 * 1024 * 1024

_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)\Z")
_UNITS_MS: Final = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}


#: after its end a call graph is kept for so long, however much the store has
EXCESS_MIN_MS: Final = 60_000


class Root(NamedTuple):
    """A settled root, as far as it decides what is due; times in epoch milliseconds."""

    id: str
    state: PromiseState
    settled_at: int
    function: str | None = None
    group: str | None = None
    #: as its creator has said, milliseconds
    retention: int | None = None
    #: the task that has made it, of a detached call
    branch: str | None = None
    has_payloads: bool = True
    #: of a root that is here by its members only
    is_elsewhere: bool = False


def duration_ms(text: str) -> int | None:
    """Return the milliseconds of a duration as ``30d``; None for ``never``.

    Raises
    ------
    ValueError
        It is neither.

    Examples
    --------
    >>> duration_ms("30d"), duration_ms("12h"), duration_ms("0s"), duration_ms("never")
    (2592000000, 43200000, 0, None)
    """
    if text == "never":
        return None
    found = _DURATION.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration: write 30d, 12h, 90m, 10s or never")
    return int(found[1]) * _UNITS_MS[found[2]]


def kept_ms(root: Root, rules: RetentionRules) -> int | None:
    """Return how long a call graph is kept after the end of its root; None: for ever."""
    if root.retention is not None:
        return None if root.retention >= KEPT_FOREVER else root.retention
    for name in (f"{root.group}/{root.function}", root.function):
        if name in rules.functions:
            return rules.functions[name]
    if root.group in rules.groups:
        return rules.groups[root.group]
    return rules.default


def shortest_ms(rules: RetentionRules) -> int | None:
    """Return the shortest time that any rule says; None: all say for ever."""
    times = (rules.default, *rules.groups.values(), *rules.functions.values())
    return min((each for each in times if each is not None), default=None)


def strays_before(rules: RetentionRules, purged_before: int | None, now: int) -> int | None:
    """Return the time before which strays have settled whose roots may be gone; None: none may.

    Parameters
    ----------
    purged_before
        The time of a purge by hand of everything that had ended before; None: there was none.
    """
    times = [each for each in (shortest_ms(rules), rules.values) if each is not None]
    by_rules = [now - min(times) + 1] if times else []
    asked = [] if purged_before is None else [purged_before]
    return max(by_rules + asked, default=None)


def before(kind: str, rules: RetentionRules, now: int) -> int | None:
    """Return the time before which everything has settled that may be due; None: nothing is."""
    if kind == "kept":
        return now + 1
    if kind == "excess":
        return now - EXCESS_MIN_MS
    kept = {
        "graphs": shortest_ms(rules),
        "values": rules.values,
        "gone": rules.idempotency,
    }[kind]
    return None if kept is None else now - kept + 1


def is_due(kind: str, root: Root, rules: RetentionRules, now: int) -> bool:
    """Return whether a root that is of this kind is due, by itself."""
    if kind == "values":
        return root.has_payloads
    if kind in ("gone", "excess"):
        return True
    if kind == "strays":
        return root.is_elsewhere
    kept = kept_ms(root, rules)
    return kept is not None and root.settled_at + kept <= now


def is_root_gone(reply: Reply, strays: EndedGraph, rules: RetentionRules, now: int) -> bool:
    """Return whether members may go, by the answer of their root's broker.

    They may if the root was purged, or its payloads were. A root that its broker does not know was
    purged long ago, or never there; then they are kept as long as a root would be.

    Parameters
    ----------
    reply
        The reply to a `PromiseGet` of the root.
    """
    if reply.status == 404:
        return rules.default is not None and strays.settled_at + rules.default <= now
    if not reply.ok or reply.promise is None:
        return reply.status == 410
    return reply.promise.settled and HEADER_DROPPED in reply.promise.value.headers


def keeps_id(graph: EndedGraph, rules: RetentionRules, now: int) -> bool:
    """Return whether the ids of a graph that is deleted now stay taken."""
    if rules.idempotency is None:
        return True
    return graph.settled_at + rules.idempotency > now


def is_chosen(id_: str, root: str) -> bool:
    """Return whether the id of a member was chosen: nobody else asks for one of the others."""
    return not id_.startswith(f"{root}.")


def cursor_of(settled_at: int, id_: str) -> str:
    """Return the cursor after a root."""
    return f"{settled_at}:{id_}"
