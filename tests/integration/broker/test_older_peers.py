"""Peers and brokers of the version before this one work with those of this one.

Messages are arrays on the wire. So a field may be added at the end, with a default: this version
takes a frame that lacks it, and the one before ignores it. Anything else needs another version of
the protocol, of which each side says so (`test_versions`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import zmq

from tests.integration.broker.peers import DEADLINE_S, broker
from tests.integration.broker.sockets import receive_batch
from understudy_broker.protocol import messages
from understudy_broker.protocol.frames import FrameLimits, decode_to_broker, decode_to_peer
from understudy_broker.protocol.messages import Hello, Request, Response, Welcome
from understudy_broker.transport.socket import TrioSocket
from understudy_store import commands, records

HERE = Path(__file__).with_name("older")
STRUCTS: dict[str, list[tuple[str, str]]] = json.loads((HERE / "structs.json").read_text())
FRAMES: dict[str, list[str]] = json.loads((HERE / "frames.json").read_text())
MODULES = (messages, commands, records)


def struct(name: str) -> Any:
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))


def type_text(of: Any, field: str) -> str:
    owner = next(base for base in of.__mro__ if field in getattr(base, "__annotations__", {}))
    return str(owner.__annotations__[field])


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_fields_are_only_added_at_the_end_with_a_default(name: str) -> None:
    of = struct(name)
    older = [(field, kind) for field, kind in STRUCTS[name]]
    now = [(field, type_text(of, field)) for field in of.__struct_fields__]
    assert now[: len(older)] == older
    added = msgspec.structs.fields(of)[len(older) :]
    assert not [field.name for field in added if field.required]


def test_each_frame_of_an_older_program_is_understood() -> None:
    for text in FRAMES["to_broker"]:
        assert decode_to_broker(bytes.fromhex(text), FrameLimits())
    for text in FRAMES["to_peer"]:
        assert decode_to_peer(bytes.fromhex(text))


async def test_an_older_peer_is_welcomed_and_served() -> None:
    frames = [bytes.fromhex(text) for text in FRAMES["to_broker"]]
    said = [(frame, decode_to_broker(frame, FrameLimits())) for frame in frames]
    [hello, *_] = [
        frame for frame, found in said if isinstance(found[0], Hello) and found[0].group == "tests"
    ]
    [create] = [
        frame
        for frame, found in said
        if any(
            isinstance(each, Request) and isinstance(each.command, messages.PromiseCreateWatched)
            for each in found
        )
    ][:1]
    with (
        broker() as running,
        zmq.Context() as context,
        TrioSocket(context.socket(zmq.DEALER)) as socket,
        trio.fail_after(DEADLINE_S),
    ):
        socket.socket.connect(running.endpoint)
        assert socket.send_nowait([hello])
        heard: list[Any] = []
        while not any(isinstance(each, Welcome) for each in heard):
            heard += [m for [f] in await receive_batch(socket) for m in decode_to_peer(f)]
        assert socket.send_nowait([create])
        while not any(isinstance(each, Response) for each in heard):
            heard += [m for [f] in await receive_batch(socket) for m in decode_to_peer(f)]
    [response] = [each for each in heard if isinstance(each, Response)]
    assert response.reply.status in (200, 201)
