"""Call graphs that are watched, on the trio loop, by the feed that streams over HTTP follow too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from grpc import StatusCode

from understudy.edge.brokers import Brokers
from understudy.edge.grpc.endings import Endings
from understudy.edge.grpc.graph_events import GraphEvents
from understudy.edge.grpc.statuses import Refusal
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.events import changed_at
from understudy.edge.native.feeds import Feeds
from understudy.edge.native.graphs import read_graph, read_promise
from understudy.edge.native.problems import Problem

#: after so long without news, the client is told the position
QUIET_S: Final = 15.0
#: events that are made before the client has read those before them
AT_ONCE: Final = 256

#: Sends events to the client, and returns once they are written.
Send: TypeAlias = Callable[[list[v1.WatchEvent]], Awaitable[None]]


async def watch_graph(
    brokers: Brokers, feeds: Feeds, endings: Endings, id_: str, position: int | None, send: Send
) -> None:
    """Tell the states of a promise and of everything below it, until it has settled.

    Raises
    ------
    Problem, Refusal, NoBrokerError, BusyError
        The promise does not exist, its graph cannot be read, or the edge ends.
    """
    root = await read_promise(brokers, id_)
    events = GraphEvents(position)
    if root.settled and events.is_known(changed_at(root)):
        await send([events.end(root)])
        return
    with feeds.following(id_) as follower:
        while not follower.is_over:
            with endings.within(QUIET_S):
                await follower.news.wait()
            if endings.come:
                raise Refusal(
                    StatusCode.UNAVAILABLE,
                    "this edge ends: resume at another one, with the position of the last event",
                )
            states = follower.take()
            for start in range(0, len(states), AT_ONCE):
                await send(events.changes(states[start : start + AT_ONCE]))
            await send([events.caught_up()])
        if follower.root is None:
            raise await _why_over(brokers, id_)
        await send([events.end(follower.root)])


async def _why_over(brokers: Brokers, id_: str) -> Refusal:
    """Return why a feed has ended before its graph, by reading the graph once more."""
    try:
        await read_graph(brokers, await read_promise(brokers, id_))
    except Problem as problem:
        if problem.status != 413:
            raise
        return Refusal(
            StatusCode.RESOURCE_EXHAUSTED,
            "the call graph has more promises than can be watched: read them in pages, by List "
            "with its origin",
        )
    return Refusal(
        StatusCode.UNAVAILABLE,
        "the brokers did not answer: resume with the position of the last event",
    )
