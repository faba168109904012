"""ZAP, the protocol by which ZeroMQ asks whether a connection is permitted (RFC 27). Pure.

A question is a list of parts, and so is the answer. The user id of an answer travels with each
frame of the connection, so the transport learns from a frame whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from understudy_broker.keys.public_keys import KEY_CHARS, text_of
from understudy_broker.keys.rights import Holder

_VERSION: Final = b"1.0"
_KEY_BYTES: Final = 32
#: version, request id, domain, address, routing id, mechanism; the key follows
_HEAD: Final = 6


class Refusal(NamedTuple):
    """A connection that was refused, for the log.

    Attributes
    ----------
    key
        Its public key; None: it did not come to that.
    """

    why: str
    address: str = ""
    key: str | None = None


def answer(
    question: Sequence[bytes], find: Callable[[str], Holder | str], domain: str
) -> tuple[list[bytes], Refusal | None]:
    """Return the answer to a question, and the refusal that it is, if it is one.

    Parameters
    ----------
    question
        The parts after the envelope.
    find
        Returns the holder of a public key, or in words why it is refused.
    """
    request_id = question[1] if len(question) > 1 else b""
    if len(question) != _HEAD + 1 or question[0] != _VERSION or question[5] != b"CURVE":
        return _refused(request_id), Refusal("it has no key")
    address = question[3].decode("utf-8", "replace")
    if question[2] != domain.encode() or len(question[6]) != _KEY_BYTES:
        return _refused(request_id), Refusal("it asked for something else", address)
    key = text_of(question[6])
    holder = find(key)
    if isinstance(holder, str):
        return _refused(request_id), Refusal(holder, address, key)
    return [_VERSION, request_id, b"200", b"", user_id(holder).encode(), b""], None


def user_id(holder: Holder) -> str:
    """Return the text that travels with the frames of a connection."""
    return f"{holder.key}{holder.identity}"


def key_of(user: str) -> str:
    """Return the public key in a user id."""
    return user[:KEY_CHARS]


def _refused(request_id: bytes) -> list[bytes]:
    # 400, so that the peer is told. With 300 it would wait, and with anything else ZeroMQ fails.
    return [_VERSION, request_id, b"400", b"refused", b"", b""]
