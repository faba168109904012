"""Promises: the commands that create, settle and search them."""

from __future__ import annotations

from typing import Any, Final

from understudy.edge.native.bodies import NOTHING
from understudy.edge.native.call_lists import NEWEST_PARAMETERS
from understudy.edge.native.calls import CODEC, checked_id, encoded_value, group_name, timeout_ms_of
from understudy.edge.native.parameters import Parameters
from understudy.edge.native.problems import Problem
from understudy_actors.error_classes import error_class
from understudy_store.addresses import poll
from understudy_store.commands import PromiseCreate, PromiseSearch, PromiseSettle
from understudy_store.records import (
    HEADER_ERROR,
    HEADER_FUNCTION,
    HEADER_KIND,
    REJECTED,
    RESOLVED,
    TAG_EXTERNAL,
    TAG_TARGET,
    TRUE,
    PromiseRecord,
    Value,
)

CREATE_PARAMETERS: Final = ("timeout", "tag")
SEARCH_PARAMETERS: Final = ("state", "prefix", "origin", "tag", "limit", "cursor")
CALLS_PARAMETERS: Final = (*SEARCH_PARAMETERS, "group", "function", "order", *NEWEST_PARAMETERS)

#: the message of a failure for which none is given
_REJECTED: Final = "rejected"


def create_promise(id_: str, body: Any, parameters: Parameters, now_ms: int) -> PromiseCreate:
    """Return the command that creates a promise which is settled from outside.

    Parameters
    ----------
    body
        Data for whoever settles it.
    """
    tags = parameters.tags()
    tags[TAG_EXTERNAL] = TRUE
    data = None if body is NOTHING else encoded_value(body)
    timeout_at = now_ms + timeout_ms_of(parameters)
    return PromiseCreate(checked_id(id_), timeout_at, Value({HEADER_KIND: "promise"}, data), tags)


def resolve(id_: str, body: Any) -> PromiseSettle:
    """Return the command that settles a promise with a value."""
    return PromiseSettle(id_, RESOLVED, Value({}, encoded_value(body)))


def reject(id_: str, body: Any) -> PromiseSettle:
    """Return the command that settles a promise with a failure.

    Parameters
    ----------
    body
        The message, or an object with a `message`.

    Raises
    ------
    Problem
        It is neither.
    """
    message = body.get("message", _REJECTED) if isinstance(body, dict) else body
    if message is NOTHING:
        message = _REJECTED
    if not isinstance(message, str) or (isinstance(body, dict) and body.keys() - {"message"}):
        raise Problem(
            422, 'the body is the message of the failure: "too expensive", or {"message": "..."}'
        )
    error = RuntimeError(message)
    value = Value({HEADER_ERROR: error_class(error)}, CODEC.encode_error(error))
    return PromiseSettle(id_, REJECTED, value)


def search(parameters: Parameters) -> PromiseSearch:
    """Return the command that reads a page of promises."""
    return PromiseSearch(
        parameters.state(),
        parameters.tags(reserved=True),
        parameters.text("prefix") or "",
        parameters.text("origin"),
        parameters.limit(),
        parameters.text("cursor"),
    )


def search_calls(parameters: Parameters) -> PromiseSearch:
    """Return the command that reads a page of promises, some of which are calls."""
    found = search(parameters)
    group = parameters.text("group")
    if group is None:
        return found
    return PromiseSearch(
        found.state,
        {**found.tags, TAG_TARGET: poll(group_name(group))},
        found.prefix,
        found.origin,
        found.limit,
        found.cursor,
    )


def is_call(record: PromiseRecord, function: str | None) -> bool:
    """Return whether a promise is a call, by any node, of a function; None: of any."""
    name = record.param.headers.get(HEADER_FUNCTION)
    return name is not None and TAG_TARGET in record.tags and function in (None, name)
