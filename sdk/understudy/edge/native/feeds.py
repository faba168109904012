"""Feeds: the states of the promises of a call graph, for all streams that follow it.

Theory of operation
===================

One feed reads a graph for all its followers. It watches the promises that are pending, so it hears
of each settlement when it happens, and asks for nothing meanwhile. Watching does not tell of new
promises. A function makes them when it begins, and when something that it waited for has settled.
So the graph is read again after a settlement, and otherwise after pauses that double, up to
`PAUSE_MAX_S`, as long as nothing new is found.

A feed keeps what an event says of each promise, without arguments and values, and a follower the
ids of those that it has to tell. So a client that reads slowly is told the latest states only.

What is not perfect: a promise that is made in the middle of a long pause is told at its end. And of
a graph with more than `WATCHED_MAX` pending promises, some settlements are seen in the next read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from typing import Any, Final, NamedTuple

import trio

from understudy.edge.asker import ASKER
from understudy.edge.brokers import Brokers
from understudy.edge.native import events
from understudy.edge.native.graphs import read_graph, read_promise
from understudy.edge.native.progress import follow_progress
from understudy.edge.watches import Watch
from understudy.errors import UnderstudyError, innermost
from understudy.views.call_graph import Node, build
from understudy.views.records import failure
from understudy_store.progress import ProgressRecord
from understudy_store.records import DETACHED, PENDING, PROMISE_WORDS, PromiseRecord

#: the first pause until a graph is read again, and the longest one
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 30.0
#: a pause after a settlement, and how many times as long as the read it is at least
SOON_S: Final = 0.2
PAUSE_FACTOR: Final = 4
#: pending promises of one graph that are watched
WATCHED_MAX: Final = 1_000
#: roles of promises that have a task
_CALLS: Final = frozenset({"call", DETACHED})
#: promises that are watched with one request
WATCHED_AT_ONCE: Final = 64

_LOG: Final = logging.getLogger("understudy.edge")


class State(NamedTuple):
    """The state of a promise as an event tells it, and when it came to it."""

    data: dict[str, Any]
    changed_at: int


class Follower:
    """A stream that follows a graph.

    Attributes
    ----------
    news
        Set while there is something to take, or nothing more will come.
    """

    def __init__(self, feed: Feed, *, hears_progress: bool = False) -> None:
        self._feed = feed
        self._ids = set(feed.states)
        self.hears_progress = hears_progress
        self._progress: dict[str, ProgressRecord] = {}
        self.news = trio.Event()
        self.notify()

    def add(self, id_: str) -> None:
        """Note that a promise has come to another state."""
        self._ids.add(id_)

    def add_progress(self, progress: ProgressRecord) -> None:
        """Note how far a function is, and wake the stream."""
        self._progress[progress.id] = progress
        self.notify()

    def notify(self) -> None:
        """Wake the stream if there is something for it."""
        if self._ids or self._progress or self._feed.is_over:
            self.news.set()

    @property
    def is_over(self) -> bool:
        """True once everything has been taken, and nothing more will come."""
        return self._feed.is_over and not self._ids

    @property
    def root(self) -> PromiseRecord | None:
        """The root of the graph, if it has settled."""
        return self._feed.root

    def take_progress(self) -> list[ProgressRecord]:
        """Return how far functions are that have said so; to be called after `take`."""
        progress, self._progress = self._progress, {}
        return list(progress.values())

    def take(self) -> list[State]:
        """Return the states that the stream has to tell, in the order of their changes."""
        states = sorted(
            (self._feed.states[id_] for id_ in self._ids), key=lambda state: state.changed_at
        )
        self._ids.clear()
        if not self._feed.is_over:
            self.news = trio.Event()
        return states


class Feed:
    """The states of a graph's promises.

    Attributes
    ----------
    states
        By id of the promise.
    root
        The root, once it has settled.
    is_over
        Whether nothing more will come: the root has settled, or the brokers do not answer.
    """

    def __init__(self, brokers: Brokers, id_: str) -> None:
        self.states: dict[str, State] = {}
        self.root: PromiseRecord | None = None
        self.is_over = False
        self.followers: set[Follower] = set()
        self._brokers = brokers
        self._id = id_
        self._watched: dict[str, ExitStack] = {}
        self._settled = trio.Event()
        self._scope = trio.CancelScope()

    def stop(self) -> None:
        """End the feed, because nobody follows it."""
        self._scope.cancel()

    async def run(self) -> None:
        """Read and watch the graph until its root has settled."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(follow_progress, self._brokers, self._running, self._hear)
                    await self._follow()
                    nursery.cancel_scope.cancel()
        except Exception as error:
            cause = innermost(error)
            if not isinstance(cause, UnderstudyError):
                _LOG.error("the feed of %s failed", self._id, exc_info=error)
        finally:
            for stack in self._watched.values():
                stack.close()
            self._watched.clear()
            self.is_over = True
            self._notify()

    async def _follow(self) -> None:
        pause_s = PAUSE_S
        while True:
            began_s = trio.current_time()
            self._settled = trio.Event()
            root = await read_promise(self._brokers, self._id)
            records = await read_graph(self._brokers, root)
            has_news = self._take(records, root)
            if root.settled:
                self.root = root
                return
            self._watch(records)
            took_s = trio.current_time() - began_s
            pause_s = PAUSE_S if has_news else min(2 * pause_s, PAUSE_MAX_S)
            least_s = max(SOON_S, PAUSE_FACTOR * took_s)
            with trio.move_on_after(max(pause_s, least_s)):
                await self._settled.wait()
            if self._settled.is_set():
                pause_s = PAUSE_S
                await trio.sleep(least_s)

    def _running(self) -> list[str]:
        """Return the calls that may run now, if a follower hears how far they are."""
        if not any(each.hears_progress for each in self.followers):
            return []
        pending = PROMISE_WORDS[PENDING]
        return [
            id_
            for id_, (data, _) in self.states.items()
            if data["state"] == pending and data["role"] in _CALLS
        ]

    def _hear(self, progress: ProgressRecord) -> None:
        if progress.id in self.states:
            for follower in self.followers:
                if follower.hears_progress:
                    follower.add_progress(progress)

    def _take(self, records: Mapping[str, PromiseRecord], root: PromiseRecord) -> bool:
        """Take what was read; return whether there is anything new."""
        tree = build(records.values(), root.id)
        assert tree is not None
        has_news = False
        for node in tree.walk():
            for child in node.children:
                has_news = self._take_one(child, node.id) or has_news
        has_news = self._take_one(tree, None) or has_news
        self._notify()
        return has_news

    def _take_one(self, node: Node, parent: str | None) -> bool:
        known = self.states.get(node.id)
        if known is not None and known.data["state"] == PROMISE_WORDS[node.record.state]:
            return False
        if known is not None and node.record.state == PENDING:
            return False  # it has settled since it was read
        self._put(node.record, {"parent": parent, "role": node.role, "function": node.name})
        return True

    def _put(self, record: PromiseRecord, place: Mapping[str, Any]) -> None:
        error = failure(record)
        data = {
            "id": record.id,
            "parent": place["parent"],
            "role": place["role"],
            "function": place["function"],
            "state": PROMISE_WORDS[record.state],
            "created_at": record.created_at,
            "settled_at": record.settled_at,
        }
        if error is not None:
            data["error"] = {"type": error["type"], "message": error["message"]}
        self.states[record.id] = State(data, events.changed_at(record))
        for follower in self.followers:
            follower.add(record.id)

    def _notify(self) -> None:
        for follower in self.followers:
            follower.notify()

    # Watches -------------------------------------------------------------------------------------

    def _watch(self, records: Mapping[str, PromiseRecord]) -> None:
        """Watch the pending promises that are not watched yet."""
        fresh = []
        for id_ in self.states:
            record = records.get(id_)
            if record is None or record.settled or id_ in self._watched:
                continue
            if len(self._watched) >= WATCHED_MAX:
                break
            stack = self._watched[id_] = ExitStack()
            watch = stack.enter_context(self._brokers.watches.waiting(id_))
            watch.followers.append(self._on_settled)
            if watch.waiting == 1:
                fresh.append(id_)
        for start in range(0, len(fresh), WATCHED_AT_ONCE):
            self._brokers.watches.ask(*fresh[start : start + WATCHED_AT_ONCE])

    def _on_settled(self, watch: Watch) -> None:
        record = watch.record
        if record is None or self.is_over:
            return
        stack = self._watched.pop(record.id, None)
        known = self.states.get(record.id)
        if stack is None or known is None:
            return
        stack.close()
        if known.data["state"] == PROMISE_WORDS[PENDING]:
            self._put(record, known.data)
            self._notify()
        self._settled.set()


class Feeds:
    """The feeds of an edge, one for each graph that is followed, and for each who asks."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._feeds: dict[tuple[str, str | None], Feed] = {}

    @contextmanager
    def following(self, id_: str, *, hears_progress: bool = False) -> Iterator[Follower]:
        """Follow a graph within the block. The first who follows it starts the feed.

        Parameters
        ----------
        hears_progress
            Whether the follower takes progress as well.
        """
        key = (id_, ASKER.get())
        feed = self._feeds.get(key)
        if feed is None or feed.is_over:
            feed = self._feeds[key] = Feed(self._brokers, id_)
            # It asks for whom the first one asks.
            trio.lowlevel.spawn_system_task(feed.run, context=copy_context())
        follower = Follower(feed, hears_progress=hears_progress)
        feed.followers.add(follower)
        try:
            yield follower
        finally:
            feed.followers.discard(follower)
            if not feed.followers:
                feed.stop()
                if self._feeds.get(key) is feed:
                    del self._feeds[key]
