"""The comparison of a call that a function makes with the call that its history holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_SITE,
    HEADER_VERSION,
    PromiseRecord,
)

#: Kinds as they are recorded, if that differs from the kind of the call: whether the caller waits
#: at once is no part of history, so a replay may call with rfc what was called with rfi.
RECORDED_KIND: Final = {"rfc": "rfi", "lfc": "lfi"}


def describe(record: PromiseRecord) -> str:
    """Name the call that made a promise: ``rfi bar version 2``."""
    headers = record.param.headers
    kind, name = headers.get(HEADER_KIND, "?"), headers.get(HEADER_FUNCTION, "")
    return _described(kind, name, headers.get(HEADER_VERSION))


def check(record: PromiseRecord, spec: CallSpec) -> None:
    """Raise `NonDeterminismError` unless `record` was made by a call like `spec`."""
    headers = record.param.headers
    kind = RECORDED_KIND.get(spec.kind, spec.kind)
    version = str(spec.version) if spec.version else None
    if (
        headers.get(HEADER_KIND) == kind
        and headers.get(HEADER_FUNCTION, "") == spec.name
        and (version is None or headers.get(HEADER_VERSION) == version)
    ):
        return
    raise NonDeterminismError(
        spec.id,
        describe(record),
        _described(kind, spec.name, version),
        headers.get(HEADER_SITE, "?"),
        spec.site,
    )


def left_over(record: PromiseRecord, ended_at: str) -> NonDeterminismError:
    """Return the error of a function that ended without making a call that its history holds.

    Parameters
    ----------
    record
        The promise of that call.
    ended_at
        Place of the function in the code: ``file.py:12``.
    """
    site = record.param.headers.get(HEADER_SITE, "?")
    return NonDeterminismError(record.id, describe(record), "nothing: it ended", site, ended_at)


def defined_at(fn: Callable[..., Any]) -> str:
    """Return the place where a function is defined (``/app/file.py:12``); ``?`` if unknown."""
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "?"


def _described(kind: str, name: str, version: str | None) -> str:
    return f"{kind} {name}".strip() + (f" version {version}" if version else "")
