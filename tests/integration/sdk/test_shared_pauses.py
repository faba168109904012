"""A broker that was paused, and taken over from, tells nobody what it remembers when it wakes."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio

from tests.integration.sdk.shared_brokers import Brokers, has_shares
from tests.support import eventually
from understudy import Runtime
from understudy.cli.deployment import read_placement
from understudy_broker.link.link import Link, open_link
from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, Response
from understudy_store.commands import PromiseGet
from understudy_store.slots import slot_of

if TYPE_CHECKING:
    from tests.cluster import Cluster

#: times that a broker is paused: it wakes somewhere in its loop, most often where it waits
PAUSES: Final = 2


@pytest.fixture
def brokers(postgres: Cluster, tmp_path: Path) -> Iterator[Brokers]:
    brokers = Brokers(postgres.new_schema(), tmp_path)
    brokers.start("a", "b")
    yield brokers
    brokers.kill()


@asynccontextmanager
async def link_to(url: str) -> AsyncIterator[Link]:
    """A link to one broker alone, which never hears of another one's map."""
    hello = Hello(PROTOCOL_VERSION, "client", "g", "simple", "1", os.getpid(), "h", "t")
    async with open_link(url, lambda: hello, lambda _: None) as link:
        await link.wait_connected()
        yield link


def ids_at(brokers: Brokers, name: str, number: int) -> list[str]:
    owners = read_placement(brokers.url).owners
    ids = (f"p{number}-{n}" for n in range(100))
    return [id_ for id_ in ids if owners[slot_of(id_)] == name][:9]


async def test_it_answers_no_question_from_its_memory(brokers: Brokers) -> None:
    async def until(condition: Callable[[], object]) -> None:
        await trio.to_thread.run_sync(eventually, condition, 20.0)

    await until(lambda: has_shares(brokers, [128, 128]))
    client = Runtime("clients", url=brokers.url, connect_timeout=30)
    for number in range(PAUSES):
        ids = await trio.to_thread.run_sync(ids_at, brokers, "a", number)
        for id_ in ids:
            await trio.to_thread.run_sync(client.promises.create, id_)
        answers: list[Answer] = []
        async with link_to(brokers.urls["a"]) as link:
            paused = brokers.running.pop("a")
            paused.send_signal(signal.SIGSTOP)
            try:
                await until(lambda: has_shares(brokers, [256]))
                for id_ in ids:
                    await trio.to_thread.run_sync(client.promises.resolve, id_, number)
                link.cork()
                for id_ in ids:
                    link.request(PromiseGet(id_), answers.append)
                # The frame waits in the sockets of the broker that is paused.
                link.uncork()
            finally:
                paused.send_signal(signal.SIGCONT)
            assert await trio.to_thread.run_sync(paused.wait) == 1
        told = [each.reply for each in answers if isinstance(each, Response)]
        assert [each for each in told if each.status == 200] == []
        assert "another broker has taken over from this one" in brokers.log("a")
        brokers.start("a")
        await until(lambda: has_shares(brokers, [128, 128]))
    client.stop()
