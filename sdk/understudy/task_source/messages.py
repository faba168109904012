"""The messages of a task source: offers of tasks, as connectors put them. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from understudy.errors import UnderstudyError

#: bytes of a message: an id has at most 512 characters, and an edge has an address
MESSAGE_BYTES_MAX: Final = 16_384


class NoTaskError(UnderstudyError):
    """A message offers no task. The text has nothing of its content."""


class Offer(msgspec.Struct, frozen=True):
    """The offer of a task."""

    id: str
    version: int


class _Data(msgspec.Struct):
    task: Offer | None = None


class _Message(msgspec.Struct):
    kind: str
    data: _Data


_decode = msgspec.json.Decoder(_Message).decode


def parse_offer(body: bytes) -> Offer:
    """Return the offer that a message is.

    Raises
    ------
    NoTaskError

    Examples
    --------
    >>> parse_offer(b'{"kind": "execute", "head": {}, "data": {"task": {"id": "a", "version": 0}}}')
    Offer(id='a', version=0)
    """
    if len(body) > MESSAGE_BYTES_MAX:
        raise NoTaskError(f"it has {len(body):,} bytes; at most {MESSAGE_BYTES_MAX:,} are allowed")
    try:
        message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NoTaskError("it is no message of a connector") from None
    task = message.data.task
    if message.kind != "execute" or task is None:
        raise NoTaskError("it offers no task")
    if not task.id or task.version < 0:
        raise NoTaskError("it names no task")
    return task
