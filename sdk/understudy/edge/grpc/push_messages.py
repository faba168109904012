"""The messages that an edge pushes over gRPC. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from grpc import StatusCode

from understudy import signatures
from understudy.edge.grpc.answers import call_of
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.push.allow_list import PORTS
from understudy.edge.push.posts import message_id
from understudy_broker.protocol.messages import Forward

SCHEMES: Final = ("grpc", "grpcs")
#: statuses with which a receiver may say how long to leave it alone
BUSY: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED})
#: the name of that in the metadata, as in gRPC's own retries
PUSHBACK: Final = "grpc-retry-pushback-ms"
_DIGITS_MAX: Final = 12

Metadata = tuple[tuple[str, str], ...]


class Place(msgspec.Struct, frozen=True):
    """The place to connect to."""

    scheme: str
    host: str
    port: int


def place_of(address: str) -> Place:
    """Return where an address leads to; a path says nothing here.

    Examples
    --------
    >>> place_of("grpc://10.0.0.5:50051")
    Place(scheme='grpc', host='10.0.0.5', port=50051)
    >>> place_of("grpcs://pay.example").port
    443
    """
    parts = urlsplit(address)
    port = PORTS[parts.scheme] if parts.port is None else parts.port
    return Place(parts.scheme, parts.hostname or "", port)


def push_of(forward: Forward, server_url: str) -> bytes:
    """Return the message for a delivery, in the bytes that are signed."""
    if forward.promise is not None:
        push = v1.Push(unblock=v1.Push.Unblock(promise=call_of(forward.promise)))
    else:
        execute = v1.Push.Execute(id=forward.id, version=forward.version, server_url=server_url)
        push = v1.Push(execute=execute)
    return push.SerializeToString()


def signature_of(forward: Forward, push: bytes, keys: Sequence[bytes], now_s: float) -> Metadata:
    """Return the metadata that signs a message, with each of the keys."""
    return tuple(signatures.sign(keys, message_id(forward), int(now_s), push).items())


def rest_of(code: StatusCode, metadata: Sequence[tuple[str, str | bytes]]) -> float | None:
    """Return for how many seconds a receiver wants to be left alone; None: it does not say.

    Examples
    --------
    >>> rest_of(StatusCode.UNAVAILABLE, [("grpc-retry-pushback-ms", "1500")])
    1.5
    """
    text = next((text for name, text in metadata if name == PUSHBACK), None)
    if code not in BUSY or not isinstance(text, str):
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
    return int(text) / 1_000 if is_number else None
