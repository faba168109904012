"""Requests of the older REST, and their answers: what all calls have in common. Pure."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from understudy.edge.resonate.addresses import stored_address
from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.legacy.records import HEADER_KEY
from understudy_store.commands import Reply, StoreCommand
from understudy_store.records import Value

T = TypeVar("T")

#: beginnings of the ids of tasks
INVOKE: Final = "__invoke:"
RESUME: Final = "__resume:"
TTL_MAX: Final = 365_250 * 86_400_000
TIMEOUT_MAX: Final = 2**63 - 1


class Answer(NamedTuple):
    """Status and body of a response; no body: None."""

    status: int
    body: Any


class Call(NamedTuple):
    """A request: its path without the first part, its query, headers and body."""

    id: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str | None:
        """The idempotency key."""
        return self.headers.get("idempotency-key")

    @property
    def is_strict(self) -> bool:
        """True if the client wants to hear of promises that are not as it thinks."""
        return self.headers.get("strict", "").lower() == "true"


Plan: TypeAlias = Generator[tuple[StoreCommand, ...], list[Reply], Answer]

Timeout: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=TIMEOUT_MAX)]
Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class Data(msgspec.Struct, rename="camel"):
    """Base of all bodies; members that are not declared are ignored."""


def read(kind: type[T], call: Call) -> T:
    try:
        return msgspec.json.decode(call.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"The request is invalid: {error}") from None


def error(status: int, message: str, code: int | None = None) -> Answer:
    """Return the answer to a request that is refused."""
    return Answer(status, {"error": {"code": code or status * 100, "message": message}})


def refused(reply: Reply, absent: str = "promise") -> Answer:
    status = reply.status
    if status == 404:
        return error(404, f"The specified {absent} was not found")
    if status in (413, 422):
        status = 400
    elif status not in (400, 403, 409):
        status = 500
    return error(status, reply.error or "refused")


def address_in(recv: Any) -> str:
    stored = stored_address(recv, strict=False) if isinstance(recv, str) else None
    if stored is None:
        raise Refusal(400, f"The field recv is invalid: {recv!r}")
    return stored


def keyed(value: Value, key: str | None) -> Value:
    return value if key is None else Value({**value.headers, HEADER_KEY: key}, value.data)
