"""Brokers over real sockets, and peers that keep everything they were sent."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio

from understudy_broker.errors import (
    LinkError,
)
from understudy_broker.link.link import Link, open_link
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    GroupsGet,
    GroupsReport,
    Hello,
    Invoke,
    PromiseWatch,
    Response,
    Resume,
    Settled,
    ToPeer,
)
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.commands import PromiseCreate, Reply, TaskFulfill
from understudy_store.records import TAG_TARGET, Value

DEADLINE_S = 20.0


@contextmanager
def broker(store: str = "memory", **more: Any) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(store, **more) as running:
        yield running
    assert not running.running
    if running.error is not None:
        raise running.error


@contextmanager
def refused_with(kind: type[LinkError], text: str = "") -> Iterator[None]:
    """The block ends with this error, told once or by all that waited."""
    with pytest.raises(ExceptionGroup) as caught:
        yield
    assert caught.value.split(kind)[1] is None
    assert text in str(caught.value.exceptions[0])


class Peer:
    """A link and all that it was sent."""

    def __init__(self, name: str, group: str = "g", credit: int = 0, boot: str = "1") -> None:
        self.name, self.group, self.credit, self.boot = name, group, credit, boot
        self.claims: tuple[tuple[str, int], ...] = ()
        self.got: list[ToPeer] = []
        self.react: Callable[[ToPeer], None] = lambda _: None
        self._arrived = trio.Event()
        self.link: Link

    def hello(self) -> Hello:
        kind: Any = "node" if self.credit else "client"
        return Hello(
            PROTOCOL_VERSION, kind, self.group, self.name, self.boot, os.getpid(), "here", "test",
            self.credit, (), self.claims,
        )  # fmt: skip

    def on_messages(self, messages: list[ToPeer]) -> None:
        self.got += messages
        for message in messages:
            self.react(message)
        arrived, self._arrived = self._arrived, trio.Event()
        arrived.set()

    async def until(self, happened: Callable[[list[ToPeer]], bool]) -> None:
        with trio.fail_after(DEADLINE_S):
            while not happened(self.got):
                await self._arrived.wait()

    async def got_one(self, kind: type[Any]) -> Any:
        await self.until(lambda got: any(isinstance(m, kind) for m in got))
        return next(m for m in self.got if isinstance(m, kind))

    async def reply(self, command: AnyCommand) -> Reply:
        with trio.fail_after(DEADLINE_S):
            answer = await self.link.call(command)
        assert isinstance(answer, Response), answer
        return answer.reply

    async def report(self) -> GroupsReport:
        with trio.fail_after(DEADLINE_S):
            answer = await self.link.call(GroupsGet())
        assert isinstance(answer, Response)
        assert answer.report is not None
        return answer.report

    async def settled(self, id_: str) -> None:
        """Wait until the promise is settled, or find that it is already."""
        if not (await self.reply(PromiseWatch((id_,)))).promises:
            await self.got_one(Settled)

    async def create(self, id_: str, target: str = "g") -> Reply:
        return await self.reply(create(id_, target))


def create(id_: str, target: str = "g") -> PromiseCreate:
    at = time.time_ns() // 1_000_000 + 60_000
    return PromiseCreate(id_, at, Value({}, b"x"), {TAG_TARGET: target})


@asynccontextmanager
async def joined(url: str, peer: Peer, **more: Any) -> AsyncIterator[Peer]:
    async with open_link(url, peer.hello, peer.on_messages, **more) as peer.link:
        with trio.fail_after(DEADLINE_S):
            await peer.link.wait_connected()
        yield peer


def echo(peer: Peer) -> None:
    """Make a peer fulfil whatever it is invoked with."""

    def react(message: ToPeer) -> None:
        if isinstance(message, Invoke | Resume):
            fulfil = TaskFulfill(message.promise.id, message.version, "resolved", Value({}, b"y"))
            peer.link.request(fulfil, lambda _: None)

    peer.react = react
