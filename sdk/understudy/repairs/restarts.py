"""Restarts: new calls that ask for what settled ones have asked for. Pure.

The id of a restart follows from that of the call, so to repeat a restart makes no second call. The
arguments are copied as they are stored. Sealed ones are bound to their promise, so they must have
been opened when the call was read, and are sealed anew when the new one is made.
"""

from __future__ import annotations

from typing import Final

from understudy.options import RESERVED
from understudy.repairs.plan import DONE, Outcome
from understudy.values.seals import key_id
from understudy_actors.errors import CommandError
from understudy_actors.interpreter.child_commands import TIME_MS_MAX
from understudy_store.commands import PromiseCreate, Reply
from understudy_store.records import (
    HEADER_PLACE,
    HEADER_TRACELINK,
    HEADER_TRACEPARENT,
    HEADER_TRACESTATE,
    TAG_ORIGIN,
    TAG_PRIORITY,
    TAG_TARGET,
    PromiseRecord,
    Value,
)

#: the id of the call that this one does again
TAG_RESTART_OF: Final = f"{RESERVED}restart-of"

#: What belongs to the caller of the first call; the new one has none.
_NOT_COPIED: Final = (HEADER_PLACE, HEADER_TRACEPARENT, HEADER_TRACESTATE, HEADER_TRACELINK)


def restart_id(record: PromiseRecord) -> str:
    """Return the id under which a call is made again: with ``-2``, then ``-3`` and so on.

    Of a restart the number is raised, so the third call of ``order-7`` is ``order-7-3``.
    """
    earlier = record.tags.get(TAG_RESTART_OF)
    base, dash, number = record.id.rpartition("-")
    if earlier is not None and dash and number.isascii() and number.isdecimal():
        return f"{base}-{int(number) + 1}"
    return f"{record.id}-2"


def restart_of(record: PromiseRecord, now_ms: int) -> PromiseCreate | Outcome:
    """Return the command that makes a settled call again, or why that cannot be.

    The new call has the function, the arguments, the options and the tags of the first one, as much
    time to its deadline, and no delay.
    """
    if not record.settled:
        return Outcome("refused", "it has not ended")
    if TAG_TARGET not in record.tags:
        return Outcome("refused", "it is no call that a group performs")
    if record.tags.get(TAG_ORIGIN, record.id) != record.id:
        return Outcome("refused", "it is part of another call: restart that one")
    param = record.param
    if key := key_id(param.data or b""):
        return Outcome(
            "refused",
            f"its arguments are sealed with the key {key!r}, which this process does not have "
            "(UNDERSTUDY_SEAL_KEYS), so they cannot be sealed for a new call",
        )
    headers = {name: text for name, text in param.headers.items() if name not in _NOT_COPIED}
    kept = (TAG_TARGET, TAG_PRIORITY)
    tags = {
        name: text
        for name, text in record.tags.items()
        if name in kept or not name.startswith(RESERVED)
    }
    tags[TAG_RESTART_OF] = record.id
    timeout_at = min(now_ms + record.timeout_at - record.created_at, TIME_MS_MAX)
    return PromiseCreate(restart_id(record), timeout_at, Value(headers, param.data), tags)


def restarted(record: PromiseRecord, answer: Reply | CommandError) -> Outcome:
    """Return what the answer to the create of a restart means for the first call."""
    if isinstance(answer, CommandError):
        return Outcome("refused", answer.error)
    made = answer.promise
    if answer.status == 201 or made is None:
        return DONE
    if made.tags.get(TAG_RESTART_OF) == record.id:
        return Outcome("already", "had been restarted")
    return Outcome("refused", "the id that its restart would have belongs to another call")
