"""A feed of a call graph: what it asks the brokers, and what followers are told."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import trio
import trio.testing

from understudy.edge.brokers import Brokers
from understudy.edge.native.feeds import PAUSE_MAX_S, Feeds
from understudy.edge.watches import Watches
from understudy_broker.protocol.messages import PromiseWatch, Response
from understudy_store.commands import PromiseGet, PromiseSearch, Reply, TaskGet
from understudy_store.progress import ProgressRecord
from understudy_store.records import EMPTY, TAG_ORIGIN, TAG_TARGET, PromiseRecord


class Graph:
    """A graph at brokers that answer at once, and count what they are asked."""

    def __init__(self) -> None:
        self.records: dict[str, PromiseRecord] = {}
        self.asked: Counter[str] = Counter()
        self.watches = Watches(self._send)
        self.clock = lambda: 0
        self.takes_progress = True
        self.progress: tuple[ProgressRecord, ...] = ()

    def put(self, id_: str, at: int, settled_at: int | None = None) -> PromiseRecord:
        state: Any = "pending" if settled_at is None else "resolved"
        tags = {TAG_TARGET: "g"} if id_ == "root" else {TAG_ORIGIN: "root"}
        record = PromiseRecord(id_, state, EMPTY, EMPTY, tags, 10**13, at, settled_at)
        self.records[id_] = record
        return record

    def settle(self, id_: str, at: int) -> None:
        """Settle a promise, and tell those who watch it."""
        self.watches.resolve([self.put(id_, self.records[id_].created_at, at)])

    async def ask(self, command: Any) -> Reply:
        self.asked[type(command).__name__] += 1
        await trio.lowlevel.checkpoint()
        if isinstance(command, PromiseGet):
            return Reply(200, promise=self.records[command.id])
        assert isinstance(command, PromiseSearch)
        return Reply(200, promises=list(self.records.values()) if command.origin else [])

    async def ask_all(self, commands: list[TaskGet]) -> list[Reply]:
        self.asked["TaskGet"] += len(commands)
        return [Reply(200, progress=self.progress) for _ in commands]

    def _send(self, command: Any, on_reply: Any, asker: str | None) -> None:
        self.asked[type(command).__name__] += 1
        if isinstance(command, PromiseWatch):
            on_reply(Response(0, Reply(200, promises=[])))


def told(follower: Any) -> list[tuple[str, str]]:
    return [(state.data["id"], state.data["state"]) for state in follower.take()]


async def test_followers_share_what_is_asked(autojump_clock: trio.testing.MockClock) -> None:
    graph = Graph()
    graph.put("root", 1)
    graph.put("root.1", 2)
    feeds = Feeds(cast(Brokers, graph))
    with feeds.following("root") as first, feeds.following("root") as second:
        await first.news.wait()
        assert told(first) == [("root", "pending"), ("root.1", "pending")]
        for _ in range(98):
            feeds.following("root").__enter__()
        await trio.sleep(600)
        # 1, 2, 4, 8 and 16 s, and then every 30.
        assert graph.asked["PromiseGet"] <= 7 + 600 / PAUSE_MAX_S
        assert graph.asked["PromiseWatch"] == 1
        # A slow reader is told once, and the latest state only.
        graph.settle("root.1", 9)
        await trio.sleep(1)
        assert told(second) == [("root", "pending"), ("root.1", "resolved")]
        assert told(first) == [("root.1", "resolved")]


async def test_new_promises_are_found_after_a_settlement(
    autojump_clock: trio.testing.MockClock,
) -> None:
    graph = Graph()
    graph.put("root", 1)
    graph.put("root.1", 2)
    feeds = Feeds(cast(Brokers, graph))
    with feeds.following("root") as follower:
        await follower.news.wait()
        follower.take()
        await trio.sleep(300)
        graph.put("root.2", 8)
        graph.settle("root.1", 9)
        began = trio.current_time()
        while not any(id_ == "root.2" for id_, _ in told(follower)):
            await follower.news.wait()
        assert trio.current_time() - began < 1
        graph.settle("root.2", 10)
        graph.settle("root", 11)
        while not follower.is_over:
            await follower.news.wait()
            follower.take()
        assert follower.root is not None
        assert follower.root.settled_at == 11
    with trio.testing.assert_checkpoints():
        await trio.sleep(PAUSE_MAX_S)
    assert not graph.watches


async def test_a_feed_that_nobody_follows_ends(autojump_clock: trio.testing.MockClock) -> None:
    graph = Graph()
    graph.put("root", 1)
    feeds = Feeds(cast(Brokers, graph))
    with feeds.following("root") as follower:
        await follower.news.wait()
    await trio.sleep(1)
    asked = graph.asked.total()
    await trio.sleep(1000)
    assert graph.asked.total() == asked
    assert not graph.watches


async def test_progress_is_told_to_those_who_hear_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    graph = Graph()
    graph.put("root", 1)
    graph.put("root.1", 2)
    feeds = Feeds(cast(Brokers, graph))
    with feeds.following("root") as deaf:
        await trio.sleep(100)
        assert not graph.asked["TaskGet"], "nobody hears it"
        with feeds.following("root", hears_progress=True) as follower:
            told(follower)
            half, step, foreign = (
                ProgressRecord(id_, 0.5, "", 7) for id_ in ("root", "root.1", "x")
            )
            graph.progress = (half, step, foreign)
            await follower.news.wait()
            assert not told(follower)
            assert follower.take_progress() == [half, step]
            assert not follower.take_progress()
            told(deaf)
            await trio.sleep(100)
            assert not deaf.news.is_set()
            assert not follower.news.is_set()
        asked = graph.asked["TaskGet"]
        assert 10 < asked < 30
        await trio.sleep(100)
        assert graph.asked["TaskGet"] == asked
