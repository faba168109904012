"""The node of the bare pipeline: performs plain functions by name, without threads or replay."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from benchmarks.bare_pipeline.messages import (
    Create,
    Fulfill,
    Hello,
    Invoke,
    Message,
    Settled,
    Value,
    decode_to_peer,
    encode,
)

NOBLOCK = int(zmq.NOBLOCK)
FRAMES_MAX = 256
#: The function that each hop of a chain calls.
HOPS = {"hop_a": "hop_b", "hop_b": "hop_c"}

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.decode


def echo(value: Any) -> Any:
    return value


FUNCTIONS: dict[str, Callable[..., Any]] = {"noop": echo, "echo": echo, "hop_c": lambda: 1}


class Node:
    """Performs calls; `waiting` maps each call that it made to the call that waits for it."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self.waiting: dict[str, str] = {}

    def serve(self) -> None:
        """Serve until the process is ended."""
        self.socket.send(encode([Hello("node", serves=True)]))
        while True:
            self.socket.poll()
            out: list[Message] = []
            for frame in self._read():
                for message in decode_to_peer(frame):
                    if isinstance(message, Invoke):
                        out.append(self._perform(message))
                    elif isinstance(message, Settled):
                        out.append(self._go_on(message))
            if out:
                self.socket.send(encode(out))

    def _read(self) -> list[bytes]:
        frames: list[bytes] = []
        try:
            while len(frames) < FRAMES_MAX:
                frames.append(self.socket.recv(NOBLOCK))
        except zmq.Again:
            pass
        return frames

    def _perform(self, invoke: Invoke) -> Message:
        name = invoke.param.headers["fn"]
        below = HOPS.get(name)
        if below is None:
            result = FUNCTIONS[name](*unpack(invoke.param.data or b"\x90"))
            return Fulfill(invoke.id, invoke.version, "resolved", Value({}, pack(result)))
        child = f"{invoke.id}.1"
        self.waiting[child] = invoke.id
        param = Value({"fn": below, "at": "node.py:1", "kind": "rfi"}, b"\x90")
        origin = invoke.tags.get("understudy:origin", invoke.id)
        return Create(child, invoke.timeout_at, param, tags_of(origin, invoke.id))

    def _go_on(self, settled: Settled) -> Message:
        value = Value({}, pack(unpack(settled.value.data or b"") + 1))
        return Fulfill(self.waiting.pop(settled.id), 1, "resolved", value)


def tags_of(origin: str, branch: str) -> dict[str, str]:
    """Return the tags of a call that a durable function makes."""
    return {
        "understudy:target": "poll://any@bench",
        "understudy:origin": origin,
        "understudy:branch": branch,
    }


def main(address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set_hwm(0)
        socket.connect(address)
        Node(socket).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
