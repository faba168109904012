"""A request that no broker answers is broken off: the SDKs of the protocol then ask again.

They repeat a request whose connection breaks, and none that is answered.
"""

from __future__ import annotations

import pytest
import trio

from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.resonate.envelope import Answer
from understudy.edge.resonate.event_streams import EventStreams
from understudy.edge.resonate.handlers import ResonateApp
from understudy.edge.resonate.streams import Streams
from understudy.edge.server import Limits, bind, serve


@pytest.mark.parametrize("kind", [NoBrokerError, BusyError])
async def test_it_is_broken_off(kind: type[Exception]) -> None:
    async def perform(_body: bytes) -> tuple[str, str, Answer]:
        raise kind("not now")

    async def rest(*_: object) -> None:
        raise AssertionError("nothing else was asked for")

    def ignore(*_: object) -> None:
        pass

    stop = trio.Event()
    events = EventStreams(Streams(ignore, ignore), stop, 1)
    app = ResonateApp(rest, perform, events, 1_000)
    sock = bind("127.0.0.1", 0)
    host, port = sock.getsockname()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, app, sock, Limits(drain_s=1), stop.wait)
            stream = await trio.open_tcp_stream(host, port)
            async with stream:
                await stream.send_all(
                    b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"
                )
                answer = b"".join([bytes(part) async for part in stream])
            # Whatever comes of the head, there is no answer.
            assert answer.partition(b"\r\n\r\n")[2] == b""
            stop.set()
