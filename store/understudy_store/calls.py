"""Root calls as lists show them: their records, their order, and the cursors of their pages. Pure.

A list goes from the newest call to the oldest; calls of the same millisecond go by their ids, the
greatest first. The place of a call in that order is its time with its id, and a cursor is the place
of the last call of a page, as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from understudy_store.addresses import group_of
from understudy_store.commands import COUNTED_MAX, CallSearch
from understudy_store.records import CallRecord, Row, error_of, function_of

#: time in epoch milliseconds, and id
Place: TypeAlias = tuple[int, str]


def call_of(row: Row) -> CallRecord | None:
    """Return the root call in a row, projected already; None if it has none."""
    function = function_of(row)
    return None if function is None else call_record(row, function, error_of(row.promise))


def call_record(row: Row, function: str, error: str | None) -> CallRecord:
    """Return the root call in a row, of which payloads and headers need not be there."""
    promise, task = row.promise, row.task
    assert task is not None, "a root call has a task"
    return CallRecord(
        promise.id,
        function,
        group_of(task.target),
        promise.state,
        task.state,
        promise.tags,
        promise.created_at,
        promise.timeout_at,
        task.started_at,
        promise.settled_at,
        error,
        task.failures,
        task.deaths,
        task.cause,
        task.node,
        task.suspensions,
        task.logged,
    )


def place_of(call: CallRecord, search: CallSearch) -> Place:
    """Return the place of a call that a search has found."""
    time = call.settled_at if search.by_end else call.created_at
    assert time is not None, "calls that are listed by their ends have ended"
    return time, call.id


def call_cursor(place: Place) -> str:
    """Return the cursor of the page after `place`.

    Examples
    --------
    >>> call_cursor((1790000000000, "order-7"))
    '1790000000000:order-7'
    """
    return f"{place[0]}:{place[1]}"


def call_place(cursor: str) -> Place | None:
    """Return the place that a cursor names; None if it is no cursor.

    Examples
    --------
    >>> call_place("1790000000000:order-7"), call_place("order-7")
    ((1790000000000, 'order-7'), None)
    """
    time, colon, id_ = cursor.partition(":")
    if not (colon and time.isascii() and time.isdecimal() and len(time) < 20):
        return None
    return int(time), id_


def error_matches(error: str | None, wanted: str) -> bool:
    """Return whether the class of an exception is the one that is wanted, with its module or not.

    Examples
    --------
    >>> error_matches("shop.Declined", "Declined"), error_matches("shop.Declined", "shop.Declined")
    (True, True)
    """
    return error is not None and (error == wanted or error.endswith(f".{wanted}"))


def took_ms(call: CallRecord, now: int) -> int:
    """Return how long a call has taken from its creation, until `now` at the latest."""
    return (now if call.settled_at is None else call.settled_at) - call.created_at


def is_wanted(call: CallRecord, stored_state: str, search: CallSearch, now: int) -> bool:
    """Return whether a projected call meets the conditions of a search, but for its cursor.

    Parameters
    ----------
    stored_state
        The state before the projection. A pending call past its deadline is among those that ended
        once that is stored, which the sweep of the same moment does.
    """
    if search.states and not (stored_state == call.state and call.state in search.states):
        return False
    time = call.settled_at if search.by_end else call.created_at
    return (
        time is not None
        and (search.since is None or time >= search.since)
        and (search.until is None or time < search.until)
        and search.function in (None, call.function)
        and search.group in (None, call.group)
        and (search.error is None or error_matches(call.error, search.error))
        and call.id.startswith(search.prefix)
        and search.tags.items() <= call.tags.items()
        and (not search.slow_ms or took_ms(call, now) >= search.slow_ms)
    )


def counted(states: Iterable[str]) -> dict[str, int]:
    """Count states, the first `COUNTED_MAX` of them."""
    counts: dict[str, int] = {}
    for _, state in zip(range(COUNTED_MAX), states, strict=False):
        counts[state] = counts.get(state, 0) + 1
    return counts
