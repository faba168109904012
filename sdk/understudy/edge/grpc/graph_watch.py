"""Call graphs that are watched: read in rounds from the brokers, on the trio loop.

After each round the stream rests: for a moment while the graph changes, longer while it does not,
and at least ten times as long as it was read, so that large graphs and busy brokers are read more
rarely. The settlement of the root ends a rest at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio
from grpc import StatusCode
from msgspec.structs import replace

from understudy.edge.brokers import Brokers
from understudy.edge.grpc.endings import Endings
from understudy.edge.grpc.graph_events import GraphEvents
from understudy.edge.grpc.statuses import Refusal
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.graphs import PROMISES_MAX, read_promise
from understudy.edge.native.problems import of_reply
from understudy.edge.watches import Watch
from understudy_store.commands import PromiseSearch, Reply
from understudy_store.records import PromiseRecord, origin_of, payload_bytes

#: Promises of the first page, and of the largest. A client that does not read has the edge hold one
#: page, so pages become larger while they have less than `PAGE_BYTES`, and smaller otherwise.
PAGE_MIN: Final = 8
PAGE_MAX: Final = 256
PAGE_BYTES: Final = 1024 * 1024
#: the rest after a round that has brought news; it doubles with each round that has not
REST_MIN_S: Final = 0.1
REST_MAX_S: Final = 2.0
#: how many times as long as it was read a graph is left alone, up to a limit
REST_FACTOR: Final = 10
REST_LIMIT_S: Final = 30.0
#: after so long without news, the client is told the position
QUIET_S: Final = 15.0

#: Sends events to the client, and returns once they are written.
Send: TypeAlias = Callable[[list[v1.WatchEvent]], Awaitable[None]]


async def watch_graph(
    brokers: Brokers, endings: Endings, id_: str, position: int | None, send: Send
) -> None:
    """Tell the states of a promise and of everything below it, until it has settled.

    Raises
    ------
    Problem, Refusal, NoBrokerError, BusyError
        The promise does not exist, its graph cannot be read, or the edge ends.
    """
    root = await read_promise(brokers, id_)
    reader = _Reader(brokers, GraphEvents(root, position), send)
    rest_s, told_at = REST_MIN_S, float("-inf")
    with brokers.watches.waiting(id_) as watch:
        if watch.waiting == 1 and not root.settled:
            brokers.watches.ask(id_)
        while True:
            has_news = await reader.round(root)
            if root.settled:
                await send([reader.events.end(root)])
                return
            position_told = reader.events.end_round()
            if has_news or trio.current_time() - told_at >= QUIET_S:
                await send([position_told])
                told_at = trio.current_time()
            rest_s = REST_MIN_S if has_news else min(2 * rest_s, REST_MAX_S)
            busy_s = min(REST_FACTOR * reader.took_s, REST_LIMIT_S)
            root = await _rest(brokers, endings, watch, id_, max(rest_s, busy_s))


async def _rest(
    brokers: Brokers, endings: Endings, watch: Watch, id_: str, seconds: float
) -> PromiseRecord:
    """Wait for some time, or for a settlement; return the promise then."""
    with endings.within(seconds):
        await watch.done.wait()
    if endings.come:
        raise Refusal(
            StatusCode.UNAVAILABLE,
            "this edge ends: resume at another one, with the position of the last event",
        )
    if watch.refusal is not None:
        raise of_reply(watch.refusal)
    return watch.record or await read_promise(brokers, id_)


class _Reader:
    """Reads a graph, round by round.

    Attributes
    ----------
    took_s
        How long the brokers took for the last round.
    """

    def __init__(self, brokers: Brokers, events: GraphEvents, send: Send) -> None:
        self.events = events
        self.took_s = 0.0
        self._brokers = brokers
        self._send = send
        self._rounds = 0
        self._limit = PAGE_MIN

    async def round(self, root: PromiseRecord) -> bool:
        """Read the graph, and tell what has changed; return whether anything has.

        The root comes first in the first round, and last in those after it: what is below a promise
        settles before it.
        """
        self.took_s = 0.0
        self.events.begin(self._brokers.clock())
        has_news = False
        is_first = self._rounds == 0
        self._rounds += 1
        if is_first:
            has_news |= await self._tell(self.events.take((root,)))
        count = 0
        # A detached call has an origin of its own, but its id is below its caller's.
        for prefix, origin in ((f"{root.id}.", None), ("", origin_of(root))):
            search = PromiseSearch(None, {}, prefix, origin)
            cursor: str | None = ""
            while cursor is not None:
                reply = await self._page(search, cursor)
                page = reply.promises or []
                count += len(page)
                _check_size(max(count // 2, self.events.size))
                others = (record for record in page if record.id != root.id)
                has_news |= await self._tell(self.events.take(others))
                cursor = reply.cursor
        for id_ in self.events.found():
            record = await read_promise(self._brokers, id_)
            has_news |= await self._tell(self.events.take_found(record))
        if not is_first:
            has_news |= await self._tell(self.events.take((root,)))
        return has_news or is_first

    async def _tell(self, news: list[v1.WatchEvent]) -> bool:
        if news:
            await self._send(news)
        return bool(news)

    async def _page(self, search: PromiseSearch, cursor: str) -> Reply:
        asked_at = trio.current_time()
        search = replace(search, limit=self._limit, cursor=cursor or None)
        reply = await self._brokers.ask(search)
        self.took_s += trio.current_time() - asked_at
        if not reply.ok:
            raise of_reply(reply)
        if sum(map(payload_bytes, reply.promises or ())) < PAGE_BYTES // 2:
            self._limit = min(self._limit * 2, PAGE_MAX)
        else:
            self._limit = max(self._limit // 2, 1)
        return reply


def _check_size(promises: int) -> None:
    if promises > PROMISES_MAX:
        raise Refusal(
            StatusCode.RESOURCE_EXHAUSTED,
            f"the call graph has more than {PROMISES_MAX:,} promises: read them in pages, by List "
            "with its origin",
        )
