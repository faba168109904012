"""The thread of a connector's server: connections that are lost, and puts meanwhile."""

from __future__ import annotations

import asyncio

import pytest
import trio

from understudy.connectors.port import RefusedError, ServerAwayError
from understudy.connectors.server_thread import open_server


class Server:
    """A server that refuses queue "no", and is lost by a put into "end"."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.opened = 0
        self.closed = 0
        self.put_: list[str] = []
        self._lost: asyncio.Future[str] | None = None

    async def open(self) -> None:
        self.opened += 1
        if self.opened <= self.failures:
            raise ServerAwayError(f"no {self.opened}")
        self._lost = asyncio.get_running_loop().create_future()

    async def put(self, queue: str, body: bytes) -> None:
        if queue == "no":
            raise RefusedError("never")
        if queue == "end":
            assert self._lost is not None
            self._lost.set_result("it ends")
            raise ServerAwayError("it ends")
        await asyncio.sleep(0)
        self.put_.append(f"{queue} {body!r}")

    async def lost(self) -> str:
        assert self._lost is not None
        return await self._lost

    async def close(self) -> None:
        self.closed += 1


class Watched:
    """Notes whether there is a connection."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._changed = trio.Event()

    def ready(self) -> None:
        self.say("ready")

    def say(self, text: str) -> None:
        self.said.append(text)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.said) < count:
                await self._changed.wait()


def test_a_server_that_comes_late_and_goes() -> None:
    server = Server(failures=2)

    async def main() -> None:
        watched = Watched()
        async with open_server(server, watched.ready, watched.say) as thread:
            await watched.wait_for(3)
            async with trio.open_nursery() as nursery:
                for n in range(100):
                    nursery.start_soon(thread.put, "q", str(n).encode())
            with pytest.raises(RefusedError, match="never"):
                await thread.put("no", b"")
            with pytest.raises(ServerAwayError, match="it ends"):
                await thread.put("end", b"")
            await watched.wait_for(5)
            await thread.put("q", b"again")
        assert watched.said == ["no 1", "no 2", "ready", "it ends", "ready"]

    trio.run(main)
    assert len(server.put_) == 101
    assert server.opened == server.closed == 4


def test_puts_fail_while_there_is_no_connection() -> None:
    async def main() -> None:
        watched = Watched()
        async with open_server(Server(failures=100), watched.ready, watched.say) as thread:
            await watched.wait_for(1)
            with pytest.raises(ServerAwayError, match="no connection"):
                await thread.put("q", b"")

    trio.run(main)
