"""The floor's broker: read all there is, one synced commit, send all that follows from it."""

from __future__ import annotations

import sys
import time
from itertools import cycle
from pathlib import Path

import zmq

from benchmarks.floor.disk import Cells, Disk, begun, ended, stepped
from benchmarks.floor.messages import (
    Create,
    Fulfill,
    Hello,
    Invoke,
    Message,
    Settled,
    Step,
    Stored,
    Welcome,
    decode_to_broker,
    encode,
)

#: frames that are read before a commit
FRAMES_MAX = 256
NOBLOCK = int(zmq.NOBLOCK)


class Broker:
    """All state: who is there, and who made which promise."""

    def __init__(self, socket: zmq.Socket[bytes], disk: Disk) -> None:
        self.socket = socket
        self.disk = disk
        self.nodes: list[bytes] = []
        self.turn = cycle(self.nodes)
        self.makers: dict[str, bytes] = {}
        self.outgoing: dict[bytes, list[Message]] = {}
        self.begun: list[Cells] = []
        self.ended: list[Cells] = []

    def serve(self) -> None:
        """Until the process is ended."""
        while True:
            self.socket.poll()
            now = time.time_ns() // 1_000_000
            for peer, frame in self._read():
                self._take(peer, frame, now)
            if self.begun or self.ended:
                self.disk.commit(self.begun, self.ended, now)
                self.begun.clear()
                self.ended.clear()
            for peer, messages in self.outgoing.items():
                self.socket.send_multipart((peer, encode(messages)), NOBLOCK)
            self.outgoing.clear()

    def _read(self) -> list[list[bytes]]:
        frames: list[list[bytes]] = []
        try:
            while len(frames) < FRAMES_MAX:
                frames.append(self.socket.recv_multipart(NOBLOCK))
        except zmq.Again:
            pass
        return frames

    def _take(self, peer: bytes, frame: bytes, now: int) -> None:
        stored = 0
        outgoing, makers = self.outgoing, self.makers
        for message in decode_to_broker(frame):
            kind = type(message)
            if kind is Create:
                assert isinstance(message, Create)
                node = next(self.turn)
                makers[message.id] = peer
                self.begun.append(begun(message, node.hex(), now))
                outgoing.setdefault(node, []).append(
                    Invoke(message.id, message.param, message.tags, message.timeout_at, now, 1)
                )
                stored += 1
            elif kind is Fulfill:
                assert isinstance(message, Fulfill)
                self.ended.append(ended(message, now))
                maker = makers.pop(message.id, None)
                if maker is not None:
                    outgoing.setdefault(maker, []).append(
                        Settled(message.id, message.state, message.value, now)
                    )
                stored += 1
            elif kind is Step:
                assert isinstance(message, Step)
                self.begun.append(stepped(message, now))
                stored += 1
            else:
                assert isinstance(message, Hello)
                if message.serves:
                    self.nodes.append(peer)
                    self.turn = cycle(self.nodes)
                outgoing.setdefault(peer, []).append(Welcome(len(self.nodes)))
        if stored:
            outgoing.setdefault(peer, []).append(Stored(stored))


def main(address: str, path: str) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.set_hwm(0)
        socket.bind(address)
        Broker(socket, Disk(Path(path))).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
