"""Guests: a caller and a node that behave while others attack, and the time of each call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from understudy_broker.link.connection import OnMessages
from understudy_broker.link.link import Link, open_link
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Credit,
    GroupsGet,
    Hello,
    Invoke,
    PeerKind,
    PromiseWatch,
    Response,
    Resume,
    Settled,
    ToPeer,
)
from understudy_store.commands import PromiseCreate, TaskFulfill
from understudy_store.records import TAG_TARGET, PromiseRecord, Value

CALLER, NODE = "guest-caller", "guest-node"
GROUP = "guests"
#: Seconds between the end of a call and the next.
PAUSE_S: Final = 0.005
#: Seconds after which a call counts as not served.
CALL_MAX_S: Final = 20.0


class Guests:
    """Make calls one after the other, from `CALLER` to `NODE`; note their times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._credit = 8
        self._settled: dict[str, PromiseRecord] = {}
        self._changed = trio.Event()
        self._leaving = False
        self.latencies_ms: list[float] = []
        #: Descriptions of everything that went wrong.
        self.faults: list[str] = []

    async def run(self, stop: trio.Event, task_status: trio.TaskStatus[Link]) -> None:
        """Call until `stop`; yield the caller's link, which others may use too."""
        async with self._link("node", NODE, self._serve) as self._node:
            await self._node.wait_connected()
            async with self._link("client", CALLER, self._hear) as caller:
                await caller.wait_connected()
                task_status.started(caller)
                while not stop.is_set():
                    await self._call(caller, len(self.latencies_ms))
                    await trio.sleep(PAUSE_S)
                self._leaving = True

    def _link(
        self, kind: PeerKind, name: str, on_messages: OnMessages
    ) -> AbstractAsyncContextManager[Link]:
        def hello() -> Hello:
            credit = self._credit if kind == "node" else 0
            who = (PROTOCOL_VERSION, kind, GROUP, name, "1", os.getpid(), "h", "fuzz")
            return Hello(*who, credit=credit)

        return open_link(self._url, hello, on_messages, on_disconnected=self._lost(name))

    def _lost(self, name: str) -> Callable[[str], None]:
        def lost(why: str) -> None:
            if not self._leaving:
                self.faults.append(f"{name} lost its connection: {why}")

        return lost

    def _serve(self, messages: list[ToPeer]) -> None:
        """Serve as the node: double each argument at once."""
        for message in messages:
            if isinstance(message, Invoke | Resume):
                promise, data = message.promise, message.promise.param.data or b""
                value = Value({}, data * 2)
                done = TaskFulfill(promise.id, message.version, "resolved", value)
                self._credit += 1
                self._node.request(done, lambda _answer: None)
                self._node.send(Credit(self._credit))

    def _hear(self, messages: list[ToPeer]) -> None:
        for message in messages:
            if isinstance(message, Settled):
                self._settled |= {each.id: each for each in message.promises}
        self._changed.set()
        self._changed = trio.Event()

    async def _call(self, caller: Link, number: int) -> None:
        id_, data = f"guest.{number}", b"%d" % number
        timeout_at = int(time.time() * 1000) + 600_000
        began = time.monotonic()
        with trio.move_on_after(CALL_MAX_S) as scope:
            tags = {TAG_TARGET: f"poll://any@{GROUP}"}
            made = await caller.call(PromiseCreate(id_, timeout_at, Value({}, data), tags))
            watched = await caller.call(PromiseWatch((id_,)))
            if not (isinstance(made, Response) and isinstance(watched, Response)):
                self.faults.append(f"{id_} was refused: {made} {watched}")
                return
            for each in watched.reply.promises or ():
                self._settled[each.id] = each
            while id_ not in self._settled:
                await self._changed.wait()
        self.latencies_ms.append((time.monotonic() - began) * 1000)
        if scope.cancelled_caught:
            self.faults.append(f"{id_} was not served within {CALL_MAX_S} s")
        elif (done := self._settled.pop(id_)).value.data != data * 2:
            self.faults.append(f"{id_} has the wrong result {done}")


async def counters(link: Link) -> dict[str, int]:
    """Read the broker's counters."""
    answer = await link.call(GroupsGet())
    assert isinstance(answer, Response), answer
    assert answer.report is not None
    return answer.report.counters
