"""The messages of the bare pipeline: those of a call, without the fields that only rules need."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all messages."""


class Value(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A param or a value."""

    headers: dict[str, str]
    data: bytes | None = None


class Hello(Message, tag="hello", frozen=True):
    """The greeting of a peer; `serves` if it performs calls."""

    name: str
    serves: bool


class Create(Message, tag="promise.create", frozen=True):
    """Create a promise, and hand it to a node."""

    id: str
    timeout_at: int
    param: Value
    tags: dict[str, str]


class Step(Message, tag="step", frozen=True):
    """Store a local step with its result: create and settle in one."""

    id: str
    timeout_at: int
    param: Value
    value: Value
    tags: dict[str, str]


class Fulfill(Message, tag="task.fulfill", frozen=True):
    """The result of a call."""

    id: str
    version: int
    state: str
    value: Value


class Welcome(Message, tag="welcome", frozen=True):
    """The reply to `Hello`; `peers` is the number of peers that serve."""

    peers: int


class Stored(Message, tag="stored", frozen=True):
    """The number of a peer's messages that have reached the disk."""

    count: int


class Invoke(Message, tag="invoke", frozen=True):
    """A call to perform: a promise with its task's version."""

    id: str
    param: Value
    tags: dict[str, str]
    timeout_at: int
    created_at: int
    version: int


class Settled(Message, tag="settled", frozen=True):
    """The result of a promise that the peer has created."""

    id: str
    state: str
    value: Value
    settled_at: int


ToBroker = Hello | Create | Step | Fulfill
ToPeer = Welcome | Stored | Invoke | Settled

encode = msgspec.msgpack.Encoder().encode
decode_to_broker = msgspec.msgpack.Decoder(list[ToBroker]).decode
decode_to_peer = msgspec.msgpack.Decoder(list[ToPeer]).decode
