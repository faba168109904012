"""Does a call that a function makes match what its history holds?"""

from __future__ import annotations

from typing import Final

from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_SITE,
    HEADER_VERSION,
    PromiseRecord,
)

#: kinds as recorded: whether the caller waits at once is not part of history
RECORDED_KIND: Final = {
    "rfi": "rfi",
    "rfc": "rfi",
    "lfi": "lfi",
    "lfc": "lfi",
    "detached": "detached",
    "sleep": "sleep",
    "promise": "promise",
    "race": "race",
}


def describe(record: PromiseRecord) -> str:
    """``rfi bar``: what a recorded promise was made by."""
    headers = record.param.headers
    kind, name = headers.get(HEADER_KIND, "?"), headers.get(HEADER_FUNCTION, "")
    version = headers.get(HEADER_VERSION)
    return f"{kind} {name}".strip() + (f" version {version}" if version else "")


def check(record: PromiseRecord, spec: CallSpec) -> None:
    """Raise `NonDeterminismError` unless `record` was made by a call like `spec`."""
    headers = record.param.headers
    kind = RECORDED_KIND[spec.kind]
    version = str(spec.version) if spec.version else None
    if (
        headers.get(HEADER_KIND) == kind
        and headers.get(HEADER_FUNCTION, "") == spec.name
        and (version is None or headers.get(HEADER_VERSION) == version)
    ):
        return
    asked = f"{kind} {spec.name}".strip() + (f" version {version}" if version else "")
    raise NonDeterminismError(
        spec.id, describe(record), asked, headers.get(HEADER_SITE, "?"), spec.site
    )


def left_over(record: PromiseRecord, ended_at: str) -> NonDeterminismError:
    """The function ended, but its history holds a call that it never made."""
    site = record.param.headers.get(HEADER_SITE, "?")
    return NonDeterminismError(record.id, describe(record), "nothing: it ended", site, ended_at)
