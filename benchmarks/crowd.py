"""Many nodes in one process: they connect, ask for work that never comes, and give signs of life.

::

    python -m benchmarks.crowd tcp://127.0.0.1:5577 1000
"""

from __future__ import annotations

import resource
import sys
import time

import zmq

from understudy.bench.runner import GROUP
from understudy_broker.protocol.frames import decode_to_peer, encode
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Beat, Hello, Welcome

CREDIT = 8


def main(url: str, count: int) -> None:
    _allow_files(2 * count + 100)
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, count + 100)
        sockets = [_connect(context, url, number) for number in range(count)]
        beat_ms = min(_welcome(socket) for socket in sockets)
        beat = encode([Beat()])
        while True:
            # spread over the interval, as those of separate processes are
            began = time.monotonic()
            for number, socket in enumerate(sockets):
                wait_s = began + beat_ms / 1000 * (number + 1) / count - time.monotonic()
                if wait_s > 0:
                    time.sleep(wait_s)
                _drain(socket)
                socket.send(beat)


def _connect(context: zmq.Context[zmq.Socket[bytes]], url: str, number: int) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(url)
    hello = Hello(
        protocol=PROTOCOL_VERSION,
        kind="node",
        group=GROUP,
        name=f"crowd-{number}",
        boot=f"{number:08x}",
        os_pid=number + 1,
        host="crowd",
        sdk="crowd",
        credit=CREDIT,
    )
    socket.send(encode([hello]))
    return socket


def _welcome(socket: zmq.Socket[bytes]) -> int:
    while True:
        for message in decode_to_peer(socket.recv()):
            if isinstance(message, Welcome):
                # as the link of a node does that has nothing to do
                return message.idle_beat_ms
            raise SystemExit(f"not welcome: {message}")


def _drain(socket: zmq.Socket[bytes]) -> None:
    try:
        while True:
            socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        return


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
