"""The comparison of a call that a function makes with the call that its history holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_PLACE,
    HEADER_SITE,
    HEADER_VERSION,
    PromiseRecord,
)

#: Kinds as they are recorded, if that differs from the kind of the call: whether the caller waits
#: at once is no part of history, so a replay may call with rfc what was called with rfi.
RECORDED_KIND: Final = {"rfc": "rfi", "lfc": "lfi"}
#: Kinds that are the same thing to the store: one call may attach to another by its id, if both
#: call the same function.
_STORED_AS: Final[dict[str | None, str]] = {
    **dict.fromkeys(("rpc", "rfi", "rfc", "detached", "schedule"), "call"),
    **dict.fromkeys(("lfi", "lfc"), "local"),
}
#: kinds as people know them, by their recorded names
_WORDS: Final = {"rfi": "rpc", "lfi": "run"}


def describe(record: PromiseRecord) -> str:
    """Name the call that made a promise: ``rpc bar version 2``."""
    headers = record.param.headers
    return call_name(headers) + _of_version(headers.get(HEADER_VERSION))


def call_name(headers: Mapping[str, str]) -> str:
    """Name the call in the headers of a param, without its version: ``rpc bar``."""
    return _named(headers.get(HEADER_KIND, "?"), headers.get(HEADER_FUNCTION, ""))


def place_of(record: PromiseRecord) -> str:
    """Return the place of a recorded call among its caller's: the id that follows from it."""
    return record.param.headers.get(HEADER_PLACE, record.id)


def difference(record: PromiseRecord, spec: CallSpec) -> NonDeterminismError | None:
    """Return the error if `record`, recorded in the place of `spec`, is another call; else None."""
    headers = record.param.headers
    kind = RECORDED_KIND.get(spec.kind, spec.kind)
    version = str(spec.version) if spec.version else None
    place = spec.place or spec.id
    same_id = record.id == spec.id
    if (
        same_id
        and headers.get(HEADER_KIND) == kind
        and headers.get(HEADER_FUNCTION, "") == spec.name
        and (version is None or headers.get(HEADER_VERSION) == version)
        and headers.get(HEADER_PLACE, place) == place
    ):
        return None
    recorded, asked = describe(record), _named(kind, spec.name) + _of_version(version)
    if not same_id:
        recorded, asked = f"{recorded} with the id {record.id}", f"{asked} with the id {spec.id}"
    elif recorded == asked:
        recorded, asked = f"{recorded} as {headers[HEADER_PLACE]}", f"{asked} as {place}"
    return NonDeterminismError(place, recorded, asked, headers.get(HEADER_SITE, "?"), spec.site)


def are_alike(kind: str | None, other: str | None) -> bool:
    """Return whether calls of these kinds are the same to the store, so that ids may be shared."""
    return _STORED_AS.get(kind, kind) == _STORED_AS.get(other, other)


def left_over(
    record: PromiseRecord,
    ended_at: str,
    raised: BaseException | None = None,
    *,
    waits: bool = False,
) -> NonDeterminismError:
    """Return the error of a function that ended without making a call that its history holds.

    Parameters
    ----------
    record
        The promise of that call.
    ended_at
        Place of the function in the code: ``file.py:12``.
    raised
        The exception that the function ended with; None if it returned.
    waits
        It has not ended, but all that it still waits for are other calls.
    """
    site = record.param.headers.get(HEADER_SITE, "?")
    asked = "nothing: it " + ("waits for other calls" if waits else "ended")
    if raised is not None:
        asked += f" with {raised!r}"
    error = NonDeterminismError(record.id, describe(record), asked, site, ended_at)
    error.__cause__ = raised
    return error


def renamed(record: PromiseRecord, spec: CallSpec) -> NonDeterminismError:
    """Return the error of a task that makes a call while a recorded task has not begun.

    Parameters
    ----------
    record
        A call of the recorded task.
    """
    site = record.param.headers.get(HEADER_SITE, "?")
    asked = f"{spec.label} as {spec.place or spec.id}, in a task that the history does not know"
    return NonDeterminismError(record.id, describe(record), asked, site, spec.site)


def defined_at(fn: Callable[..., Any]) -> str:
    """Return the place where a function is defined (``/app/file.py:12``); ``?`` if unknown."""
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "?"


def _named(kind: str, name: str) -> str:
    return f"{_WORDS.get(kind, kind)} {name}".strip()


def _of_version(version: str | None) -> str:
    return f" version {version}" if version else ""
