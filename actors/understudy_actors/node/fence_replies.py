"""The promises that the replies to a fence's commands stand for, as a replay would see them."""

from __future__ import annotations

from typing import Final

from understudy_actors.errors import CommandError, NonDeterminismError, refused
from understudy_actors.interpreter.determinism import are_alike, call_name, describe
from understudy_actors.interpreter.ports import Values
from understudy_actors.interpreter.step_result import ChildCommand
from understudy_store.commands import PromiseCreate, PromiseSettle, Reply
from understudy_store.records import (
    EMPTY,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_PLACE,
    HEADER_SITE,
    REJECTED,
    RESOLVED,
    TAG_BRANCH,
    TAG_PARENT,
    PromiseRecord,
    Value,
)

#: characters of an id in a message; the store may have refused it because it is too long
_SHOWN_CHARS: Final = 100


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


def failed(id: str, error: Exception, values: Values) -> PromiseRecord:
    """Return a promise that failed with `error`, for a call that cannot be made."""
    return PromiseRecord(id, REJECTED, EMPTY, Value({}, values.encode_error(error)), {}, 0, 0, None)


def explained(command: ChildCommand, error: CommandError) -> CommandError:
    """Return the refusal of a command with the call that it belongs to, in words."""
    if not isinstance(command, PromiseCreate):
        return CommandError(error.status, f"the result of {_shortened(command.id)}: {error.error}")
    headers = command.param.headers
    at = f" at {headers[HEADER_SITE]}" if HEADER_SITE in headers else ""
    text = f"{call_name(headers)}{at} ({_shortened(command.id)}) was refused: {error.error}"
    return refused(error.status, text)


def _shortened(id: str) -> str:
    return id if len(id) <= _SHOWN_CHARS else f"{id[:_SHOWN_CHARS]}…"


def conflict(
    command: PromiseCreate, found: PromiseRecord
) -> NonDeterminismError | CommandError | None:
    """Return the error if the promise found under the id of a create was made by another call.

    It is a `NonDeterminismError` if that call was made earlier by the same run in the same place.
    None if the calls agree, or if a client of another kind made the promise and left no headers.
    """
    asked, recorded = command.param.headers, found.param.headers
    same_function = asked.get(HEADER_FUNCTION) == recorded.get(HEADER_FUNCTION)
    alike = are_alike(asked.get(HEADER_KIND), recorded.get(HEADER_KIND))
    if (alike and same_function) or HEADER_KIND not in recorded:
        return None
    site = recorded.get(HEADER_SITE)
    same_run = [found.tags.get(tag) == command.tags.get(tag) for tag in (TAG_BRANCH, TAG_PARENT)]
    if all(same_run) and asked.get(HEADER_PLACE) == recorded.get(HEADER_PLACE):
        return NonDeterminismError(
            command.id, describe(found), call_name(asked), site or "?", asked.get(HEADER_SITE, "?")
        )
    made = f"{describe(found)}, called at {site}" if site else describe(found)
    return CommandError(
        409,
        f"the id {command.id!r} belongs to another call ({made}), so it cannot be "
        f"{call_name(asked)}: give one of them another id",
    )


def missing(id: str, values: Values) -> PromiseRecord:
    """Return a failed promise for one that a function waits for and that does not exist."""
    error = CommandError(404, f"promise {id!r} does not exist, so nothing can settle it")
    return failed(id, error, values)
