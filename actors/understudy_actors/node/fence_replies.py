"""The promises that the replies to a fence's commands stand for, as a replay would see them."""

from __future__ import annotations

from typing import Final

from understudy_actors.errors import CommandError, NonDeterminismError
from understudy_actors.interpreter.determinism import describe
from understudy_actors.interpreter.ports import Values
from understudy_actors.interpreter.step_result import ChildCommand
from understudy_store.commands import PromiseCreate, PromiseSettle, Reply
from understudy_store.records import (
    EMPTY,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_SITE,
    REJECTED,
    RESOLVED,
    TAG_BRANCH,
    PromiseRecord,
    Value,
)

#: Kinds of calls that are the same thing to the store: one may attach to another by its id, if both
#: call the same function.
_ALIKE: Final = dict.fromkeys(("rpc", "rfi", "detached", "schedule"), "call")


def settled_by(command: PromiseSettle, reply: Reply) -> PromiseRecord:
    """Return the promise that this node's own settle has settled."""
    return PromiseRecord(
        command.id,
        RESOLVED if command.state == RESOLVED else REJECTED,
        EMPTY,
        command.value,
        {},
        reply.now or 0,
        0,
        reply.now,
    )


def refused(command: ChildCommand, reply: Reply, values: Values) -> PromiseRecord:
    """Return a failed promise for a call that the store has refused."""
    error = CommandError(reply.status, reply.error or "refused")
    return _failed(command.id, values.encode_error(error))


def mismatch(command: PromiseCreate, found: PromiseRecord, values: Values) -> PromiseRecord | None:
    """Return a failed promise if the one found under this id was made by another call.

    None if the calls agree, or if a client of another kind made the promise and left no headers.
    """
    asked, recorded = command.param.headers, found.param.headers
    kinds = [_ALIKE.get(h.get(HEADER_KIND, "?"), h.get(HEADER_KIND)) for h in (asked, recorded)]
    same_function = asked.get(HEADER_FUNCTION) == recorded.get(HEADER_FUNCTION)
    if (kinds[0] == kinds[1] and same_function) or HEADER_KIND not in recorded:
        return None
    kind, name = asked.get(HEADER_KIND, "?"), asked.get(HEADER_FUNCTION, "")
    error: Exception
    if found.tags.get(TAG_BRANCH) == command.tags.get(TAG_BRANCH):
        error = NonDeterminismError(
            command.id,
            describe(found),
            f"{kind} {name}".strip(),
            recorded.get(HEADER_SITE, "?"),
            asked.get(HEADER_SITE, "?"),
        )
    else:
        site = recorded.get(HEADER_SITE)
        made = f"{describe(found)}, called at {site}" if site else describe(found)
        error = CommandError(
            409,
            f"the id {command.id!r} belongs to another call ({made}), so it cannot be "
            f"{kind} {name}".rstrip()
            + ": give one of them another id",
        )
    return _failed(command.id, values.encode_error(error))


def missing(id: str, values: Values) -> PromiseRecord:
    """Return a failed promise for one that a function waits for and that does not exist."""
    error = CommandError(404, f"promise {id!r} does not exist, so nothing can settle it")
    return _failed(id, values.encode_error(error))


def _failed(id: str, error: bytes) -> PromiseRecord:
    return PromiseRecord(id, REJECTED, EMPTY, Value({}, error), {}, 0, 0, None)
