"""Call graphs, read from the brokers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import trio

from understudy.edge.brokers import Brokers
from understudy.edge.native.functions import report_of
from understudy.edge.native.problems import Problem, of_reply
from understudy.views.call_graph import build
from understudy.views.call_graph_data import as_data, surroundings
from understudy_store.commands import PromiseGet, PromiseSearch, Reply, TaskGet
from understudy_store.records import TAG_TARGET, PromiseRecord, origin_of

#: promises of a graph that are read; one that has more is read page by page by its client
PROMISES_MAX: Final = 10_000
#: records of one page
PAGE: Final = 500
#: tasks that are asked for at a time
_TASKS_AT_ONCE: Final = 64


async def read_promise(brokers: Brokers, id_: str) -> PromiseRecord:
    """Return a promise; raises `Problem`, with 404 if it does not exist."""
    reply = await brokers.ask(PromiseGet(id_))
    if reply.promise is None:
        raise of_reply(reply)
    return reply.promise


async def read_graph(brokers: Brokers, root: PromiseRecord) -> dict[str, PromiseRecord]:
    """Return the promises of the graph below `root`, and others of the same graph, by id.

    Raises
    ------
    Problem
        413 there are more than `PROMISES_MAX`.
    """
    records: dict[str, PromiseRecord] = {root.id: root}
    # A detached call has an origin of its own, but its id is below its caller's.
    for search in (
        partial(PromiseSearch, prefix=f"{root.id}.", limit=PAGE),
        partial(PromiseSearch, origin=origin_of(root), limit=PAGE),
    ):
        cursor: str | None = None
        while True:
            reply = await brokers.ask(search(cursor=cursor))
            if not reply.ok:
                raise of_reply(reply)
            records.update((record.id, record) for record in reply.promises or ())
            if len(records) > PROMISES_MAX:
                raise Problem(
                    413,
                    f"the call graph has more than {PROMISES_MAX:,} promises: read them in pages, "
                    "from /promises with the parameter origin",
                )
            cursor = reply.cursor
            if cursor is None:
                break
    return records


async def read_tasks(brokers: Brokers, ids: Iterable[str]) -> list[Reply]:
    """Return the tasks of those promises that have one, with their progress."""
    found: list[Reply] = []
    room = trio.CapacityLimiter(_TASKS_AT_ONCE)

    async def read(id_: str) -> None:
        async with room:
            reply = await brokers.ask(TaskGet(id_))
        if reply.task is not None:
            found.append(reply)

    async with trio.open_nursery() as nursery:
        for id_ in ids:
            nursery.start_soon(read, id_)
    return found


async def graph_data(brokers: Brokers, root: PromiseRecord) -> dict[str, Any]:
    """Return the call graph below a promise as JSON data; raises as `read_graph`."""
    records = await read_graph(brokers, root)
    tree = build(records.values(), root.id)
    assert tree is not None
    calls = [node.id for node in tree.walk() if TAG_TARGET in node.record.tags]
    tasks = await read_tasks(brokers, calls)
    report = await report_of(brokers)
    return as_data(tree, surroundings(brokers.clock(), records, tasks, report))
