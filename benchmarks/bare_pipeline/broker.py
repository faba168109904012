"""The broker of the bare pipeline: read all messages, commit once with a sync, send the results.

A large batch commits in a thread while the next one is read. A small one commits at once, because
that takes less time than waking a thread. The product does the same.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import zmq

from benchmarks.bare_pipeline.disk import Cells, Disk, begun, ended, stepped
from benchmarks.bare_pipeline.messages import (
    Create,
    Fulfill,
    Invoke,
    Message,
    Settled,
    Step,
    Stored,
    Welcome,
    decode_to_broker,
    encode,
)

#: Frames that are read before a commit.
FRAMES_MAX = 256
#: Rows of a commit that needs no thread.
SMALL = 64
NOBLOCK = int(zmq.NOBLOCK)


class Batch:
    """Rows to write, and the messages to send once they are on the disk."""

    def __init__(self) -> None:
        self.begun: list[Cells] = []
        self.ended: list[Cells] = []
        self.outgoing: dict[bytes, list[Message]] = {}

    def __len__(self) -> int:
        return len(self.begun) + len(self.ended)


class Writer:
    """Commits batches, one at a time; `woken` becomes readable when one is done."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.busy = False
        self.woken, self._wake = os.pipe()
        self._batches: SimpleQueue[tuple[Batch, int]] = SimpleQueue()
        self._done: Batch | None = None
        Thread(target=self._run, daemon=True).start()

    def submit(self, batch: Batch, now: int) -> None:
        self.busy = True
        self._batches.put((batch, now))

    def take(self) -> Batch | None:
        """Return the batch that has been committed, if there is one."""
        batch, self._done = self._done, None
        if batch is not None:
            os.read(self.woken, 1)
            self.busy = False
        return batch

    def _run(self) -> None:
        while True:
            batch, now = self._batches.get()
            self.disk.commit(batch.begun, batch.ended, now)
            self._done = batch
            os.write(self._wake, b"\0")


class Broker:
    """The broker's state: its nodes, and the maker of each promise."""

    def __init__(self, socket: zmq.Socket[bytes], disk: Disk) -> None:
        self.socket = socket
        self.disk = disk
        self.writer = Writer(disk)
        self.nodes: list[bytes] = []
        self.turn = cycle(self.nodes)
        self.makers: dict[str, bytes] = {}
        self.batch = Batch()

    def serve(self) -> None:
        """Serve until the process is ended."""
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.writer.woken, zmq.POLLIN)
        while True:
            poller.poll()
            now = time.time_ns() // 1_000_000
            done = self.writer.take()
            if done is not None:
                self._send(done)
            for peer, frame in self._read():
                self._take(peer, frame, now)
            if self.batch.outgoing and not self.writer.busy:
                batch, self.batch = self.batch, Batch()
                if len(batch) > SMALL:
                    self.writer.submit(batch, now)
                else:
                    self.disk.commit(batch.begun, batch.ended, now)
                    self._send(batch)

    def _send(self, batch: Batch) -> None:
        for peer, messages in batch.outgoing.items():
            self.socket.send_multipart((peer, encode(messages)), NOBLOCK)

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
        batch, makers = self.batch, self.makers
        outgoing = batch.outgoing
        for message in decode_to_broker(frame):
            if isinstance(message, Create):
                node = next(self.turn)
                makers[message.id] = peer
                batch.begun.append(begun(message, node.hex(), now))
                outgoing.setdefault(node, []).append(
                    Invoke(message.id, message.param, message.tags, message.timeout_at, now, 1)
                )
                stored += 1
            elif isinstance(message, Fulfill):
                batch.ended.append(ended(message, now))
                maker = makers.pop(message.id, None)
                if maker is not None:
                    outgoing.setdefault(maker, []).append(
                        Settled(message.id, message.state, message.value, now)
                    )
                stored += 1
            elif isinstance(message, Step):
                batch.begun.append(stepped(message, now))
                stored += 1
            else:
                if message.serves:
                    self.nodes.append(peer)
                    self.turn = cycle(self.nodes)
                outgoing.setdefault(peer, []).append(Welcome(len(self.nodes)))
        if stored:
            outgoing.setdefault(peer, []).append(Stored(stored))


def main(address: str, path: str) -> None:
    # The two threads pass the interpreter to each other sooner than after the default of 5 ms.
    sys.setswitchinterval(0.0002)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.set_hwm(0)
        socket.bind(address)
        Broker(socket, Disk(Path(path))).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
