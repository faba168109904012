"""Frames: messages as bytes.

A frame is one ZeroMQ part: byte 0 is the protocol version, the rest a msgpack list of messages,
each an array that begins with its tag. The version stands outside the msgpack, so that a peer of
another version can be told so, whatever the rest means to it. If the high bit of byte 0 is set,
four bytes follow it, which number the frame within its connection (see `FrameSequence`).

Decoding gives messages or raises `FrameError`, whatever the bytes: it raises nothing else, and
nothing is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, TypeVar

import msgspec

from understudy_broker.protocol.messages import PROTOCOL_VERSION, Message, ToBroker, ToPeer
from understudy_store.limits import MIB

_VERSION = bytes([PROTOCOL_VERSION])
_T = TypeVar("_T")
_M = TypeVar("_M", bound=Message)

_encoder = msgspec.msgpack.Encoder()
_to_broker = msgspec.msgpack.Decoder(list[ToBroker])
_to_peer = msgspec.msgpack.Decoder(list[ToPeer])
_to_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_to_one = msgspec.msgpack.Decoder[ToBroker](ToBroker)
#: tag and correlation number of a request
_to_head = msgspec.msgpack.Decoder(tuple[Literal["request"], int, msgspec.Raw])

#: Encoding raises these for values that no frame can hold: lone surrogates, huge integers, others.
_UNFIT = (ValueError, TypeError, OverflowError, RecursionError)
#: the version, and a msgpack list whose length is filled in later
_HEAD = _VERSION + b"\xdc\0\0"
_HEAD_BYTES = len(_HEAD)
#: the version, and a msgpack list of one
_HEAD_OF_ONE = _VERSION + b"\x91"
_HEAD_OF_ONE_BYTES = len(_HEAD_OF_ONE)

#: in byte 0: a number follows
_NUMBERED = 0x80
_NUMBER_BYTES = 4
_NUMBER_MASK = 0xFFFF_FFFF
#: byte 0 of a numbered frame, and room for the number
_NUMBERED_HEAD = bytes([PROTOCOL_VERSION | _NUMBERED, 0, 0, 0, 0])
_NUMBERED_HEAD_BYTES = len(_NUMBERED_HEAD)


class FrameLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one frame."""

    #: bytes of a frame that a broker takes
    frame_bytes_max: int = 16 * MIB
    #: messages in one frame
    messages_max: int = 16_384
    #: bytes after which a broker begins another frame for the same peer
    frame_bytes_soft: int = 1 * MIB
    #: bytes of a frame that a peer takes from its broker: the preload of a task is one message
    peer_frame_bytes_max: int = 512 * MIB


DEFAULT_LIMITS = FrameLimits()


class FrameError(ValueError):
    """A frame that cannot be taken.

    Attributes
    ----------
    status
        As in `Refused`: 400, 413 or 426.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def encode(messages: Sequence[Message]) -> bytes:
    """Make one frame of `messages`, whatever its size."""
    frame = bytearray(_VERSION)
    _encoder.encode_into(messages, frame, 1)
    return bytes(frame)


def numbered(frame: bytes, number: int) -> bytes:
    """Return the same frame with its number in the connection."""
    number_bytes = (number & _NUMBER_MASK).to_bytes(_NUMBER_BYTES, "big")
    return b"".join((bytes((frame[0] | _NUMBERED,)), number_bytes, memoryview(frame)[1:]))


def number_of(data: bytes | memoryview) -> int | None:
    """Return the number of a frame; None if it has none."""
    if len(data) <= _NUMBER_BYTES or not data[0] & _NUMBERED:
        return None
    return int.from_bytes(data[1 : 1 + _NUMBER_BYTES], "big")


class FrameSequence:
    """Numbers of the frames of one connection, counted from 1 in each direction.

    Peers pipeline: a request relies on those before it. So a frame that comes a second time is
    dropped; and if a frame is missing, or comes too late, the connection is given up for a new one,
    in which everything unanswered is asked again.

    Attributes
    ----------
    sent, received
        The number of the last frame in each direction.
    """

    __slots__ = ("received", "sent")

    def __init__(self, received: int = 0) -> None:
        self.sent = 0
        self.received = received

    def stamp(self, frame: bytes) -> bytes:
        """Number a frame that is to be sent next."""
        self.sent += 1
        return numbered(frame, self.sent)

    def check(self, data: bytes | memoryview) -> Literal["next", "again", "gap"]:
        """Say where a received frame belongs; one without a number is always the next."""
        # as `number_of`, in place: this happens once for each frame
        if len(data) <= _NUMBER_BYTES or not data[0] & _NUMBERED:
            return "next"
        number = int.from_bytes(data[1:_NUMBERED_HEAD_BYTES], "big")
        ahead = (number - self.received) & _NUMBER_MASK
        if ahead == 1:
            self.received = number
            return "next"
        return "again" if ahead == 0 or ahead > _NUMBER_MASK // 2 else "gap"


def decode_to_broker(data: bytes | memoryview, limits: FrameLimits) -> list[ToBroker]:
    """Decode a frame that a peer sent to a broker.

    Raises
    ------
    FrameError
        413 for more bytes or messages than `limits` allow, 426 for another protocol version, 400
        for everything else that is not a frame.
    """
    return _decode(data, _to_broker, limits.frame_bytes_max, limits.messages_max)


def decode_to_peer(data: bytes | memoryview, limits: FrameLimits = DEFAULT_LIMITS) -> list[ToPeer]:
    """Decode a frame that a broker sent to a peer; raises `FrameError` as `decode_to_broker`."""
    return _decode(data, _to_peer, limits.peer_frame_bytes_max, limits.messages_max)


def version_of(data: bytes | memoryview) -> int:
    """Return the protocol version that a frame of at least one byte says it is of."""
    return data[0] & ~_NUMBERED


def _decode(
    data: bytes | memoryview,
    decoder: msgspec.msgpack.Decoder[list[_T]],
    bytes_max: int,
    messages_max: int,
) -> list[_T]:
    size = len(data)
    if size > bytes_max:
        raise FrameError(413, f"a frame of {size} bytes; at most {bytes_max} are taken")
    if size < 2:
        raise FrameError(400, f"a frame of {size} bytes holds no messages")
    view = memoryview(data)
    version = view[0] & ~_NUMBERED
    if version != PROTOCOL_VERSION:
        raise FrameError(
            426, f"protocol version {version}; this side speaks version {PROTOCOL_VERSION}"
        )
    view = view[_NUMBERED_HEAD_BYTES if view[0] & _NUMBERED else 1 :]
    # The count is read before anything is made of it: a small frame can announce many messages.
    head = view[0] if len(view) else 0
    count = head & 0x0F if 0x90 <= head <= 0x9F else _long_list_length(view)
    if count > messages_max:
        raise FrameError(413, f"a frame of {count} messages; at most {messages_max} are taken")
    try:
        return decoder.decode(view)
    except (ValueError, RecursionError, OverflowError) as error:
        raise FrameError(400, f"malformed frame: {error}") from None


def _long_list_length(view: memoryview) -> int:
    """Return the length of a msgpack list that has more than 15 items."""
    head = view[0] if len(view) else 0
    if head == 0xDC:
        return int.from_bytes(view[1:3], "big")
    if head == 0xDD:
        return int.from_bytes(view[1:5], "big")
    raise FrameError(400, "malformed frame: the version is not followed by a list of messages")


def salvage(data: bytes | memoryview) -> tuple[list[ToBroker], list[tuple[int, str]]]:
    """Decode what can be decoded of a malformed frame, so that a bad request harms only itself.

    Returns
    -------
    The messages that can be decoded, and for each request that cannot: its `corr` and the text that
    says what is wrong.
    """
    good: list[ToBroker] = []
    bad: list[tuple[int, str]] = []
    if not len(data):
        return good, bad
    view = memoryview(data)
    try:
        parts = _to_raws.decode(view[_NUMBERED_HEAD_BYTES if view[0] & _NUMBERED else 1 :])
    except (ValueError, RecursionError, OverflowError):
        return good, bad
    for part in parts:
        try:
            good.append(_to_one.decode(part))
        except (ValueError, RecursionError, OverflowError) as error:
            with suppress(ValueError, RecursionError, OverflowError):
                bad.append((_to_head.decode(part)[1], f"malformed request: {error}"))
    return good, bad


class _FrameCutter:
    """Messages in a buffer, cut into frames as it grows."""

    def __init__(self, messages_max: int) -> None:
        self.frames: list[bytes] = []
        self.buffer = bytearray(_HEAD)
        self.count = 0
        self._messages_max = min(messages_max, 0xFFFF)

    def cut(self, end: int) -> None:
        """Make a frame of the buffer's content up to `end`."""
        if self.count == 1:
            self.frames.append(_HEAD_OF_ONE + memoryview(self.buffer)[_HEAD_BYTES:end])
        elif self.count:
            self.buffer[2:4] = self.count.to_bytes(2, "big")
            self.frames.append(bytes(memoryview(self.buffer)[:end]))
        del self.buffer[_HEAD_BYTES:end]
        self.count = 0

    def add(self, soft: int) -> None:
        """Count one more message, which stands at the end of the buffer."""
        self.count += 1
        if self.count >= self._messages_max or len(self.buffer) > soft:
            self.cut(len(self.buffer))


def split(
    messages: Sequence[_M],
    *,
    soft: int,
    hard: int,
    messages_max: int,
    sequence: FrameSequence | None = None,
) -> tuple[list[bytes], list[tuple[_M, str | None]]]:
    """Make as few frames as possible of `messages`, in their order.

    In the common case all fit into one frame, which is encoded in one call. Otherwise each is
    encoded on its own, so that the work grows with the bytes and no faster.

    Parameters
    ----------
    soft
        Bytes of a frame with more than one message.
    hard
        Bytes of a frame with a single message.
    sequence
        Numbers the frames, in their order; None: they have no numbers.

    Returns
    -------
    The frames, and the messages that are in none of them: with None those that are larger than
    `hard` alone, the others with the text that says why they cannot be encoded.
    """
    if 0 < len(messages) <= messages_max:
        frame = bytearray(_VERSION if sequence is None else _NUMBERED_HEAD)
        head_bytes = len(frame)
        try:
            _encoder.encode_into(messages, frame, head_bytes)
        except _UNFIT:
            pass
        else:
            if len(frame) - head_bytes + 1 <= (soft if len(messages) > 1 else hard):
                if sequence is not None:
                    sequence.sent += 1
                    number = sequence.sent & _NUMBER_MASK
                    frame[1:head_bytes] = number.to_bytes(_NUMBER_BYTES, "big")
                return [bytes(frame)], []
    cutter = _FrameCutter(messages_max)
    left_out: list[tuple[_M, str | None]] = []
    for message in messages:
        before = len(cutter.buffer)
        try:
            _encoder.encode_into(message, cutter.buffer, before)
        except _UNFIT as error:
            del cutter.buffer[before:]
            left_out.append((message, str(error)))
            continue
        if len(cutter.buffer) - before + _HEAD_OF_ONE_BYTES > hard:
            del cutter.buffer[before:]
            left_out.append((message, None))
            continue
        if len(cutter.buffer) > soft:
            cutter.cut(before)
        cutter.add(soft)
    cutter.cut(len(cutter.buffer))
    if sequence is None:
        return cutter.frames, left_out
    return [sequence.stamp(frame) for frame in cutter.frames], left_out
