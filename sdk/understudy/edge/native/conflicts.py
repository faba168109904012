"""Conflicts: an id that is asked for belongs to something else, or has settled in another way.

The same id means the same call. A client that repeats a request with the same id gets the call that
is stored, so a request for another function or with other arguments is a mistake, and is told what
is stored there.
"""

from __future__ import annotations

from typing import Any

from understudy.client.schedule_conflicts import difference
from understudy.edge.native.problems import Problem
from understudy.values.seals import is_sealed
from understudy.views.json_data import compact, decoded, sealed_text
from understudy.views.records import promise_json, schedule_json
from understudy_store.commands import PromiseCreate, SchedulePut
from understudy_store.records import (
    HEADER_DROPPED,
    HEADER_FUNCTION,
    HEADER_VERSION,
    PROMISE_WORDS,
    TAG_TARGET,
    PromiseRecord,
    ScheduleRecord,
    Value,
)


def check_same_call(asked: PromiseCreate, found: PromiseRecord, *, is_keyed: bool) -> None:
    """Raise a `Problem` if a call that exists is not the one that is asked for.

    Parameters
    ----------
    is_keyed
        Whether its id comes from an idempotency key: reuse is then 422, otherwise 409.
    """
    detail = _difference(asked, found)
    if detail:
        raise Problem(422 if is_keyed else 409, detail, stored=promise_json(found))


def _difference(asked: PromiseCreate, found: PromiseRecord) -> str:
    name = asked.param.headers.get(HEADER_FUNCTION)
    other = found.param.headers.get(HEADER_FUNCTION)
    if name != other:
        what = f"a call of {other!r}" if other else "a promise that calls no function"
        return (
            f"the id {asked.id!r} belongs to {what}, so {name!r} cannot be called under it. The "
            "same id means the same call: give this one another"
        )
    if asked.tags.get(TAG_TARGET) != found.tags.get(TAG_TARGET):
        return (
            f"{found.id} already exists, for {found.tags.get(TAG_TARGET)}. Use a new id for a new "
            "call"
        )
    if asked.param.headers.get(HEADER_VERSION) != found.param.headers.get(HEADER_VERSION):
        version = found.param.headers.get(HEADER_VERSION, "the highest")
        return f"{found.id} already exists, for version {version}. Use a new id for a new call"
    if HEADER_DROPPED in found.value.headers:
        return ""  # Its arguments are not known any more.
    if is_sealed(found.param.data):
        return (
            f"{found.id} already exists, and whether with these arguments cannot be told: "
            f"{sealed_text(found.param.data)}. Those are kept. Use a new id for a new call"
        )
    if not _is_same(asked.param, found.param):
        return (
            f"{found.id} already exists, with the arguments {compact(decoded(found.param.data))}. "
            "Those are kept. Use a new id for a new call"
        )
    return ""


def check_same_promise(asked: PromiseCreate, found: PromiseRecord) -> None:
    """Raise a `Problem` with 409 if a promise that exists is another one than is asked for."""
    function = found.param.headers.get(HEADER_FUNCTION)
    if function is not None:
        detail = f"the id {found.id!r} belongs to a call of {function!r}: give the promise another"
    elif HEADER_DROPPED not in found.value.headers and not _is_same(asked.param, found.param):
        detail = (
            f"{found.id} already exists, with the value {compact(decoded(found.param.data))}. That "
            "is kept. Use a new id for a new promise"
        )
    else:
        return
    raise Problem(409, detail, stored=promise_json(found))


def check_same_schedule(asked: SchedulePut, found: ScheduleRecord) -> None:
    """Raise a `Problem` with 409 if a schedule that exists is another one than is asked for."""
    text = difference(asked, found)
    if text is not None:
        raise Problem(
            409,
            f"schedule {found.id!r} already exists, with {text}. To change it: replace=true",
            stored=schedule_json(found),
        )


def check_settled(found: PromiseRecord, state: str, value: bytes | None = None) -> None:
    """Raise a `Problem` with 409 if a promise was settled otherwise than is asked for.

    Parameters
    ----------
    value
        The value that it is to have; None: whichever.
    """
    is_same = value is None or value == found.value.data or HEADER_DROPPED in found.value.headers
    if found.state == state and (is_same or decoded(value) == decoded(found.value.data)):
        return
    how = PROMISE_WORDS[found.state]
    how = how if found.state != state else f"{how} with another value"
    raise Problem(
        409, f"{found.id} was already {how}, and does not change", stored=promise_json(found)
    )


def _is_same(one: Value, other: Value) -> bool:
    return one.data == other.data or _shown(one) == _shown(other)


def _shown(value: Value) -> Any:
    return decoded(value.data)
