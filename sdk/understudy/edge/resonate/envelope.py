"""Envelopes: requests and responses as bytes. Pure.

The order of refusals is that of the protocol: the envelope, an empty kind, data that is no object,
the version. Whatever can be read of a request that is refused is echoed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

VERSION: Final = "2026-04-01"
#: kind and correlation id of an answer to bytes that have none
UNKNOWN: Final = ("unknown", "0")

_encode: Final = msgspec.json.Encoder().encode


class Refusal(Exception):
    """A request that is refused, with its status and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class Answer(NamedTuple):
    """Status and data of a response; from 400 on the data is a message."""

    status: int
    data: Any


class _Head(msgspec.Struct):
    corr_id: str = msgspec.field(name="corrId")
    version: str
    debug_time: int | None = msgspec.field(default=None, name="resonate:debug_time")


class _Envelope(msgspec.Struct):
    kind: str
    head: _Head
    data: msgspec.Raw = msgspec.Raw(b"")


class Envelope(NamedTuple):
    """A request that is one.

    Attributes
    ----------
    data
        The JSON of an object.
    debug_time
        The time that the request wants it to be, in debug mode.
    """

    kind: str
    corr_id: str
    data: msgspec.Raw
    debug_time: int | None


_decode: Final = msgspec.json.Decoder(_Envelope).decode


def parse(body: bytes) -> Envelope:
    """Read a request.

    Raises
    ------
    Refusal
        It is none; `echo` says to what the answer is.
    """
    try:
        read = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"Invalid request: {error}") from None
    if not read.kind:
        raise Refusal(400, "Invalid request: kind is empty")
    if bytes(read.data).lstrip()[:1] != b"{":
        raise Refusal(400, "Invalid request: data must be an object")
    head = read.head
    if head.version != VERSION:
        raise Refusal(400, f"Unsupported version {head.version!r}: this server speaks {VERSION}")
    return Envelope(read.kind, head.corr_id, read.data, head.debug_time)


def echo(body: bytes) -> tuple[str, str]:
    """Return kind and correlation id of a request that `parse` refuses, as far as it has them."""
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNKNOWN
    kind, corr_id = UNKNOWN
    if isinstance(read, dict):
        given = read.get("kind")
        kind = given if isinstance(given, str) else kind
        head = read.get("head")
        given = head.get("corrId") if isinstance(head, dict) else None
        corr_id = given if isinstance(given, str) else corr_id
    return kind, corr_id


def render(kind: str, corr_id: str, answer: Answer) -> bytes:
    """Return a response."""
    head = {"corrId": corr_id, "status": answer.status, "version": VERSION}
    return _encode({"kind": kind, "head": head, "data": answer.data})
