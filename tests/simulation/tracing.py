"""Texts of a trace."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from understudy_broker.protocol.frames import number_of


def shown(thing: Any) -> str:
    if isinstance(thing, msgspec.Struct):
        return f"{zlib.crc32(msgspec.msgpack.encode(thing)):08x}"
    return str(thing)


def frame_in_short(frame: bytes) -> str:
    """Describe a frame in short: its checksum and its messages."""
    number = number_of(frame)
    body = frame[1:] if number is None else frame[5:]
    said = [_said(message) for message in msgspec.msgpack.decode(body)]
    return f"{number} {zlib.crc32(frame):08x} {'; '.join(said)}"


def _said(message: list[Any]) -> str:
    tag, rest = message[0], message[1:]
    if tag == "request":
        return f"{rest[0]}? {rest[1][0]} {rest[1][1]}"
    if tag == "response":
        about = rest[1][2][0] if rest[1][2] else ""
        return f"{rest[0]}: {rest[1][0]} {about}".rstrip()
    if tag in ("invoke", "resume"):
        return f"{tag} {rest[0][0]} {rest[1]}"
    if tag == "settled":
        return f"settled {' '.join(record[0] for record in rest[0])}"
    return f"{tag} {rest[0] if rest else ''}".rstrip()
