"""Many idle nodes in one process: they connect, ask for work that never comes, and heartbeat.

::

    python -m benchmarks.idle_nodes tcp://127.0.0.1:5577 1000
"""

from __future__ import annotations

import resource
import sys
import time
from heapq import heapify, heapreplace

import zmq

from understudy.bench.runner import GROUP
from understudy_broker.link.heartbeat import DEFAULT_INTERVAL_MS
from understudy_broker.link.session import LinkSession
from understudy_broker.protocol.frames import decode_to_peer
from understudy_broker.protocol.messages import IDLE_BEATS, PROTOCOL_VERSION, Hello

CREDIT = 8
#: The nodes connect evenly spread over this time, because otherwise all would heartbeat at once.
SPREAD_S = IDLE_BEATS * DEFAULT_INTERVAL_MS / 1_000


def main(url: str, count: int) -> None:
    _allow_files(2 * count + 100)
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, count + 100)
        nodes: list[_Node] = []
        began = time.monotonic()
        for number in range(count):
            _sleep_until_ms((began + SPREAD_S * number / count) * 1_000)
            nodes.append(_Node(context, url, number))
        due = [(node.turn(), number) for number, node in enumerate(nodes)]
        heapify(due)
        while True:
            at, number = due[0]
            _sleep_until_ms(at)
            heapreplace(due, (nodes[number].turn(), number))


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _sleep_until_ms(at: float) -> None:
    time.sleep(max(0.0, at - _now_ms()) / 1_000)


class _Node:
    """A node that does what the product's link does, without a thread of its own."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], url: str, number: int) -> None:
        self.session = LinkSession(is_busy=lambda: False)
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(url)
        hello = Hello(
            protocol=PROTOCOL_VERSION,
            kind="node",
            group=GROUP,
            name=f"idle-{number}",
            boot=f"{number:08x}",
            os_pid=number + 1,
            host="idle-nodes",
            sdk="idle-nodes",
            credit=CREDIT,
        )
        self.socket.send(self.session.open(hello, _now_ms()))
        self.receive(self.socket.recv())

    def receive(self, frame: bytes) -> None:
        if self.session.accepts(frame):
            self.session.receive(decode_to_peer(frame), _now_ms())

    def turn(self) -> int:
        """Receive all frames, heartbeat if it is time, and return when to do so again."""
        try:
            while True:
                self.receive(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            pass
        now = _now_ms()
        if self.session.failure is not None or self.session.is_broken(now):
            raise SystemExit(
                f"the broker is lost: {self.session.failure or self.session.last_error}"
            )
        for frame in self.session.take_frames(now):
            self.socket.send(frame)
        return self.session.next_due()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
