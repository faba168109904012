"""The operations of the service: each asks the brokers, on the trio loop, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import uuid4

import trio
from msgspec.structs import replace

from understudy.edge.brokers import NoBrokerError
from understudy.edge.edge import Edge
from understudy.edge.grpc import requests
from understudy.edge.grpc.answers import call_of, page_of
from understudy.edge.grpc.endings import Endings
from understudy.edge.grpc.graph_events import parse_position
from understudy.edge.grpc.graph_watch import Send, watch_graph
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.calls import NO_HEADERS
from understudy.edge.native.conflicts import check_same_call, check_settled
from understudy.edge.native.feeds import Feeds
from understudy.edge.native.functions import Functions
from understudy.edge.native.graphs import read_promise
from understudy.edge.native.problems import of_reply
from understudy.edge.native.promises import is_call
from understudy.obstacles import task_trouble
from understudy.tracing.headers import forwarded
from understudy_actors.interpreter.child_commands import pending_record
from understudy_store.commands import PromiseCancel, PromiseCreate, Reply, TaskGet
from understudy_store.records import CANCELED, RESOLVED, TAG_TARGET, PromiseRecord

#: pages that one List reads, in search of calls that match
_PAGES_MAX: Final = 10

#: status of a reply that has created a promise
_CREATED: Final = 201


class Operations:
    """The operations. All raise `Problem`, `Refusal`, `NoBrokerError` and `BusyError`.

    Parameters
    ----------
    endings
        The requests that last.
    """

    def __init__(self, edge: Edge, endings: Endings) -> None:
        self._patience_s = edge.settings.patience_s
        self._brokers = edge.brokers
        self._functions = Functions(edge.brokers)
        self._feeds = Feeds(edge.brokers)
        self._endings = endings

    async def start(
        self, request: v1.StartRequest, time_left_s: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> v1.Call:
        """Start a call, and wait for it if it asks for that.

        Parameters
        ----------
        time_left_s
            How long a wait may take at most.
        headers
            The metadata of the request: the call goes on with its trace.
        """
        spec = requests.call_spec(request, uuid4().hex)
        spec.trace = forwarded(headers)
        wait_s = min(requests.wait_s(request), time_left_s)
        awaits_function = requests.awaits_function(request)
        arguments = requests.arguments(request)
        if not awaits_function:
            await self._functions.check(request.group, request.function, spec.version)
        arguments = await self._functions.arguments(
            request.group, request.function, spec.version, arguments
        )
        await self._ready()
        now_ms = self._brokers.clock()
        create = requests.create(spec, arguments, now_ms)
        reply, settled = await self._create(create, wait_s)
        if not reply.ok:
            raise of_reply(reply)
        record = settled or reply.promise
        if record is None:
            record = pending_record(create, now_ms)
        elif reply.status != _CREATED:
            check_same_call(create, record, is_keyed=False)
        return call_of(record)

    async def _create(
        self, create: PromiseCreate, wait_s: float
    ) -> tuple[Reply, PromiseRecord | None]:
        async def wait(reply: Reply, settled: trio.Event) -> None:
            if reply.status != _CREATED and reply.promise is not None:
                check_same_call(create, reply.promise, is_keyed=False)
            with self._endings.within(wait_s):
                await settled.wait()

        return await self._brokers.create(create, wait_s, wait)

    async def _ready(self) -> None:
        """Wait until the brokers' time is known."""
        if self._brokers.ready:
            return
        with trio.move_on_after(self._patience_s) as scope:
            await self._brokers.wait_ready()
        if scope.cancelled_caught:
            raise NoBrokerError("no broker has answered yet, so nothing was performed. Ask again")

    async def get(self, request: v1.GetRequest) -> v1.Call:
        """Read a promise; a pending call with its task."""
        record = await read_promise(self._brokers, requests.id_of(request))
        if record.settled or TAG_TARGET not in record.tags:
            return call_of(record)
        task = (await self._brokers.ask(TaskGet(record.id))).task
        trouble = task_trouble(task)
        if not trouble and task is not None and task.state == "pending":
            trouble = await self._functions.why_queued(record) or ""
        return call_of(record, task, trouble)

    async def wait(self, request: v1.WaitRequest, time_left_s: float) -> v1.Call:
        """Wait for a promise; return it as it is when the time is over."""
        id_ = requests.id_of(request)
        wait_s = min(requests.wait_s(request), time_left_s)
        watches = self._brokers.watches
        with watches.waiting(id_) as watch:
            if watch.waiting == 1:
                watches.ask(id_)
            with self._endings.within(wait_s):
                await watch.done.wait()
        if watch.refusal is not None:
            raise of_reply(watch.refusal)
        return call_of(watch.record or await read_promise(self._brokers, id_))

    async def settle(self, request: v1.SettleRequest) -> v1.Call:
        """Settle a promise."""
        settle = requests.settle(request)
        reply = await self._brokers.ask(settle)
        if reply.promise is None:
            raise of_reply(reply)
        value = settle.value.data if settle.state == RESOLVED else None
        check_settled(reply.promise, settle.state, value)
        return call_of(reply.promise)

    async def cancel(self, request: v1.CancelRequest) -> v1.Call:
        """Cancel a promise and its call graph."""
        reply = await self._brokers.ask(PromiseCancel(requests.id_of(request)))
        if reply.promise is None:
            raise of_reply(reply)
        check_settled(reply.promise, CANCELED)
        return call_of(reply.promise)

    async def list(self, request: v1.ListRequest) -> v1.ListResponse:
        """Read a page of calls."""
        search = requests.search(request)
        found: list[PromiseRecord] = []
        for _ in range(_PAGES_MAX):
            reply = await self._brokers.ask(search)
            if not reply.ok:
                raise of_reply(reply)
            matching = [each for each in reply.promises or () if _matches(each, request)]
            room = search.limit - len(found)
            found += matching[:room]
            cursor = found[-1].id if len(matching) > room else reply.cursor
            if cursor is None or len(found) == search.limit:
                return page_of(found, cursor)
            search = replace(search, cursor=cursor)
        return page_of(found, search.cursor)

    async def watch(self, request: v1.WatchRequest, send: Send) -> None:
        """Tell the states of a call graph."""
        id_, position = requests.id_of(request), parse_position(request.position)
        await watch_graph(self._brokers, self._feeds, self._endings, id_, position, send)


def _matches(record: PromiseRecord, request: v1.ListRequest) -> bool:
    if request.promises and not request.function:
        return True
    return is_call(record, request.function or None)
