"""Searches of a real broker: other requests do not wait for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from sqlalchemy import text

from tests.integration.broker.peers import DEADLINE_S, broker
from tests.unit.store.samples import row, settled
from understudy_broker.core.config import BrokerConfig
from understudy_broker.link.link import Link, open_link
from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import PROTOCOL_VERSION, AnyCommand, Hello, Response
from understudy_store.changes import Changes
from understudy_store.commands import PromiseCreate, PromiseSearch, Reply
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.sqlite import searcher
from understudy_store.engines.sqlite.engine import SqliteEngine

#: settled promises, as after a few days of work
HISTORY = 120_000
NOBODYS = PromiseSearch(tags={"nobody": "has it"}, limit=1000)
_ENDLESS = text(
    "with recursive n(x) as (select 1 union all select x + 1 from n) select * from n where x < 0"
)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Searches do not end by themselves; set once one has begun."""
    begun = threading.Event()

    def answer(_queries: Any, _read: Read, ask: Any) -> Reply:
        begun.set()
        list(ask(_ENDLESS))
        raise AssertionError("it ends")

    monkeypatch.setattr(searcher, "answer", answer)
    return begun


def run(store: Path, main: Callable[[Link], Any], **config: Any) -> None:
    """Run `main` with a client of a broker over `store`."""

    async def with_link(endpoint: str) -> None:
        hello = Hello(PROTOCOL_VERSION, "client", "g", "c", "1", 1, "here", "test", 0, (), ())
        with trio.fail_after(4 * DEADLINE_S):
            async with open_link(endpoint, lambda: hello, lambda _: None) as link:
                await main(link)

    with broker(str(store), config=BrokerConfig(**config)) as running:
        trio.run(with_link, running.endpoint)


def history(path: Path) -> None:
    """Make a store with much that is settled."""
    engine = SqliteEngine(path)
    engine.load()
    for begin in range(0, HISTORY, 20_000):
        rows = [settled(row(f"old-{n:06}", kind="a")) for n in range(begin, begin + 20_000)]
        engine.commit(Changes(1, inserted=rows), [], SOLE_EPOCH)
    engine.close()


async def create(link: Link, id_: str) -> None:
    answer = await link.call(PromiseCreate(id_, time.time_ns() // 1_000_000 + 600_000))
    assert isinstance(answer, Response)
    assert answer.reply.status == 201


def ask(link: Link, command: AnyCommand) -> list[Answer]:
    """Ask; the answer will be in the list."""
    answers: list[Answer] = []
    link.request(command, answers.append)
    return answers


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.sleep(0.002)


def test_creates_go_on_during_a_search_of_all_history(tmp_path: Path) -> None:
    """How many fit into one search depends on the machine; before, none did."""
    history(tmp_path / "x.db")

    async def main(link: Link) -> None:
        searches = [ask(link, NOBODYS) for _ in range(4)]
        counts = []
        for place, search in enumerate(searches):
            count = 0
            while not search:
                await create(link, f"new-{place}-{count}")
                count += 1
            counts.append(count)
            [answer] = search
            assert isinstance(answer, Response)
            assert (answer.reply.promises, answer.reply.cursor) == ([], None)
        assert max(counts) > 5, counts

    run(tmp_path / "x.db", main, search_ms=60_000)


def test_everything_goes_on_during_a_search_without_end(
    tmp_path: Path, endless: threading.Event
) -> None:
    async def main(link: Link) -> None:
        search = ask(link, NOBODYS)
        await until(endless.is_set)
        for number in range(50):
            await create(link, f"p{number}")
        assert not search

    run(tmp_path / "x.db", main, search_ms=3_600_000)  # and the broker stops


def test_a_search_that_takes_too_long_is_refused_in_words(
    tmp_path: Path, endless: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(link: Link) -> None:
        await create(link, "p")
        answer = await link.call(NOBODYS)
        assert isinstance(answer, Response)
        assert answer.reply.status == 413
        assert "has read for 0.1 s" in (answer.reply.error or "")
        assert "setting search_s" in (answer.reply.error or "")
        monkeypatch.undo()
        answer = await link.call(PromiseSearch())
        assert isinstance(answer, Response)
        assert [promise.id for promise in answer.reply.promises or ()] == ["p"]

    run(tmp_path / "x.db", main, search_ms=100)
    assert endless.is_set()


def test_searches_beyond_the_bound_are_refused(tmp_path: Path, endless: threading.Event) -> None:
    async def main(link: Link) -> None:
        searches = [ask(link, msgspec.structs.replace(NOBODYS, limit=n)) for n in range(1, 6)]
        await until(lambda: searches[-1])
        assert [len(search) for search in searches] == [0, 0, 0, 1, 1]
        for [answer] in searches[3:]:
            assert isinstance(answer, Response)
            assert answer.reply.status == 429
            assert "3 searches of this peer wait" in (answer.reply.error or "")

    run(tmp_path / "x.db", main, search_ms=3_600_000, peer_searches_max=3)


def test_a_search_sees_what_its_peer_has_written_before(tmp_path: Path) -> None:
    async def main(link: Link) -> None:
        for number in range(30):
            link.request(PromiseCreate(f"p{number:02}", 9_999_999_999_999), lambda _: None)
            search = ask(link, PromiseSearch(limit=1000))
            await until(partial(bool, search))
            [answer] = search
            assert isinstance(answer, Response)
            found = [promise.id for promise in answer.reply.promises or ()]
            assert found == [f"p{n:02}" for n in range(number + 1)]

    run(tmp_path / "x.db", main)
