"""The handlers of calls and promises: each asks the brokers, and answers."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import trio
from starlette.responses import Response

from understudy.edge.edge import Edge
from understudy.edge.native import calls, events, promises
from understudy.edge.native.call_lists import call_search, is_newest_first
from understudy.edge.native.conflicts import check_same_call, check_same_promise, check_settled
from understudy.edge.native.exchange import Exchange, Handler, answer
from understudy.edge.native.feeds import Feeds
from understudy.edge.native.functions import Functions
from understudy.edge.native.graphs import graph_data, read_promise
from understudy.edge.native.parameters import Parameters
from understudy.edge.native.paths import path_of
from understudy.edge.native.problems import Problem, of_reply
from understudy.edge.native.progress import ProgressNews, follow_progress, progress_data
from understudy.edge.native.streams import Stream, Streams
from understudy.edge.native.waits import Waits
from understudy.obstacles import task_trouble
from understudy.values.seals import is_sealed
from understudy.views.calls import attempt_json, call_json, counts_json
from understudy.views.json_data import decoded, sealed_text
from understudy.views.progress import progress_json, progress_of_task
from understudy.views.records import failure, failure_text, has_failed, promise_json, task_json
from understudy_actors.interpreter.child_commands import pending_record
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseSearch,
    PromiseSettle,
    Reply,
    TaskAttempts,
    TaskGet,
)
from understudy_store.records import CANCELED, TAG_TARGET, PromiseRecord

#: pages that one list of calls reads, in search of those that match
_PAGES_MAX: Final = 10
#: the status of a create that found no promise of its id
_CREATED: Final = 201


class CallHandlers:
    """Start, read, list and cancel calls, and wait for them."""

    def __init__(self, edge: Edge, functions: Functions, waits: Waits, streams: Streams) -> None:
        self._edge = edge
        self._brokers = edge.brokers
        self._functions = functions
        self._waits = waits
        self._streams = streams
        self._feeds = Feeds(edge.brokers)

    def table(self) -> dict[str, dict[str, Handler]]:
        """Return path templates with their handlers by method."""
        reads: dict[str, dict[str, Handler]] = {
            "": {"GET": self.read},
            "/result": {"GET": self.result},
            "/tree": {"GET": self.tree},
            "/attempts": {"GET": self.attempts},
            "/events": {"GET": self.events},
            "/tree/events": {"GET": self.tree_events},
            "/cancel": {"POST": self.cancel},
        }
        return {
            "/calls": {"GET": self.list},
            **{f"/calls/{{id}}{rest}": dict(methods) for rest, methods in reads.items()},
            "/calls/{group}/{function}": {"POST": self.start},
        }

    # Start ---------------------------------------------------------------------------------------

    async def start(self, exchange: Exchange) -> Response:
        """Start a call."""
        parameters = exchange.parameters(*calls.PARAMETERS)
        group, function = calls.group_name(exchange.names["group"]), exchange.names["function"]
        key = calls.idempotency_key(exchange.headers(b"idempotency-key"))
        id_, source = calls.call_id(group, function, parameters, key, uuid4().hex)
        wait_s = parameters.wait_s(self._edge.settings.wait_max_s)
        awaits_function = parameters.choice("unknown", ("wait", "refuse")) == "wait"
        arguments = calls.arguments_of(await exchange.json())
        if not awaits_function:
            await self._functions.check(group, function, parameters.version())
        arguments = await self._functions.arguments(
            group, function, parameters.version(), arguments
        )
        await self._brokers.wait_clock()
        now_ms = self._brokers.clock()
        create = calls.create_call(
            group, function, id_, arguments, parameters, now_ms, exchange.all_headers()
        )
        reply, settled = await self._create(exchange, create, wait_s, is_keyed=source == "key")
        record = settled or reply.promise or pending_record(create, now_ms)
        location = {"location": path_of("calls", record.id)}
        return answer(promise_json(record), 200 if record.settled else 202, location)

    async def _create(
        self, exchange: Exchange, create: PromiseCreate, wait_s: float, *, is_keyed: bool
    ) -> tuple[Reply, PromiseRecord | None]:
        """Create a call and wait for it.

        Raises
        ------
        Problem
            The brokers refuse it, or it is another call than the one that has its id.
        HungUpError
            The client has.
        """

        def check(reply: Reply) -> None:
            if not reply.ok:
                raise of_reply(reply)
            if reply.status != _CREATED and reply.promise is not None:
                check_same_call(create, reply.promise, is_keyed=is_keyed)

        async def wait(reply: Reply, settled: trio.Event) -> None:
            check(reply)
            await self._waits.until(settled, wait_s, exchange)

        if wait_s <= 0:
            created = await self._brokers.create(create, 0)
        else:
            with self._waits.counted():
                created = await self._brokers.create(create, wait_s, wait)
        check(created[0])
        return created

    # Read ----------------------------------------------------------------------------------------

    async def read(self, exchange: Exchange) -> Response:
        """Read a promise; a pending call with its task."""
        exchange.parameters()
        record = await read_promise(self._brokers, exchange.names["id"])
        shown = promise_json(record)
        if not record.settled and TAG_TARGET in record.tags:
            reply = await self._brokers.ask(TaskGet(record.id))
            task = reply.task
            if task is not None:
                shown["task"] = task_json(task)
                if (progress := progress_of_task(reply)) is not None:
                    shown["progress"] = progress_json(progress)
                trouble = task_trouble(task)
                if not trouble and task.state == "pending":
                    trouble = await self._functions.why_queued(record) or ""
                if trouble:
                    shown["trouble"] = trouble
        return answer(shown)

    async def result(self, exchange: Exchange) -> Response:
        """Read the value of a promise, and wait for it."""
        parameters = exchange.parameters("wait")
        await exchange.no_body()
        record = await self._settled(
            exchange, exchange.names["id"], parameters.wait_s(self._edge.settings.wait_max_s)
        )
        if not record.settled:
            return answer(
                promise_json(record), 202, {"location": path_of("calls", record.id, "result")}
            )
        if has_failed(record):
            raise failed(record)
        if is_sealed(record.value.data):
            raise Problem(
                422,
                f"the value of {record.id}: {sealed_text(record.value.data)}",
                stored=promise_json(record),
            )
        return answer(decoded(record.value.data))

    async def _settled(self, exchange: Exchange, id_: str, wait_s: float) -> PromiseRecord:
        """Return a promise, settled if it does in time; raises `HungUpError`."""
        if wait_s > 0:
            watches = self._brokers.watches
            with self._waits.counted(), watches.waiting(id_) as watch:
                if watch.waiting == 1:
                    watches.ask(id_)
                await self._waits.until(watch.done, wait_s, exchange)
            if watch.refusal is not None:
                raise of_reply(watch.refusal)
            if watch.record is not None:
                return watch.record
        return await read_promise(self._brokers, id_)

    async def tree(self, exchange: Exchange) -> Response:
        """Read a call graph."""
        exchange.parameters()
        root = await read_promise(self._brokers, exchange.names["id"])
        return answer(await graph_data(self._brokers, root))

    async def list(self, exchange: Exchange) -> Response:
        """List calls."""
        parameters = exchange.parameters(*promises.CALLS_PARAMETERS)
        if is_newest_first(parameters):
            return await self._list_newest(parameters)
        search = promises.search_calls(parameters)
        function = parameters.text("function")
        found: list[PromiseRecord] = []
        for _ in range(_PAGES_MAX):
            page = await self._page(search)
            records = page.promises or []
            matching = [each for each in records if promises.is_call(each, function)]
            room = search.limit - len(found)
            found += matching[:room]
            cursor = page.cursor
            if len(matching) > room:
                cursor = found[-1].id
            if cursor is None or len(found) == search.limit:
                return answer(page_data([promise_json(each) for each in found], cursor))
            search = with_cursor(search, cursor)
        return answer(page_data([promise_json(each) for each in found], search.cursor))

    async def _list_newest(self, parameters: Parameters) -> Response:
        """List root calls, the newest first."""
        await self._brokers.wait_clock()
        now_ms = self._brokers.clock()
        reply = await self._brokers.ask(call_search(parameters, now_ms))
        if not reply.ok:
            raise of_reply(reply)
        data = page_data([call_json(each, now_ms) for each in reply.calls or ()], reply.cursor)
        if reply.counts is not None:
            data["counts"] = counts_json(reply.counts)
        return answer(data)

    async def attempts(self, exchange: Exchange) -> Response:
        """Read what the attempt log has of a call."""
        exchange.parameters()
        record = await read_promise(self._brokers, exchange.names["id"])
        reply = await self._brokers.ask(TaskAttempts(record.id))
        if not reply.ok:
            raise of_reply(reply)
        return answer(page_data([attempt_json(each) for each in reply.attempts or ()], None))

    async def _page(self, search: PromiseSearch) -> Reply:
        reply = await self._brokers.ask(search)
        if not reply.ok:
            raise of_reply(reply)
        return reply

    # Events --------------------------------------------------------------------------------------

    async def events(self, exchange: Exchange) -> Response | None:
        """Tell the states of a promise, until it has settled."""
        exchange.parameters()
        await exchange.no_body()
        last_id = events.last_event_id(exchange.header(b"last-event-id"))
        record = await read_promise(self._brokers, exchange.names["id"])
        if record.settled and events.is_known(events.changed_at(record), last_id):
            return Response(status_code=204)  # so an EventSource does not come back
        watches = self._brokers.watches
        async with self._streams.open(exchange, last_id) as stream:
            await stream.tell(promise_json(record), events.changed_at(record))
            if not record.settled:
                with watches.waiting(record.id) as watch:
                    if watch.waiting == 1:
                        watches.ask(record.id)
                    await self._tell_progress(record, stream, watch.done)
                    if watch.record is None:
                        return None  # a broker refuses the watch; the client comes back
                    record = watch.record
                await stream.tell(promise_json(record), events.changed_at(record))
            await stream.end(record)
        return None

    async def _tell_progress(
        self, record: PromiseRecord, stream: Stream, settled: trio.Event
    ) -> None:
        """Tell how far a call and the steps inside it are, until it has settled."""
        ids = [record.id] if TAG_TARGET in record.tags else []
        news = ProgressNews()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_progress, self._brokers, lambda: ids, news.hear)
            nursery.start_soon(news.end_with, settled)
            while not settled.is_set():
                await stream.until(news.come)
                for each in news.take():
                    await stream.tell_progress(progress_data(each))
            nursery.cancel_scope.cancel()

    async def tree_events(self, exchange: Exchange) -> Response | None:
        """Tell the states of all promises of a call graph, until its root has settled."""
        exchange.parameters()
        await exchange.no_body()
        last_id = events.last_event_id(exchange.header(b"last-event-id"))
        root = await read_promise(self._brokers, exchange.names["id"])
        if root.settled and events.is_known(events.changed_at(root), last_id):
            return Response(status_code=204)
        with self._feeds.following(root.id, hears_progress=True) as follower:
            async with self._streams.open(exchange, last_id) as stream:
                while not follower.is_over:
                    await stream.until(follower.news)
                    for data, changed_at in follower.take():
                        await stream.tell(data, changed_at)
                    for progress in follower.take_progress():
                        await stream.tell_progress(progress_data(progress))
                if follower.root is not None:
                    await stream.end(follower.root)
        return None

    # Cancel --------------------------------------------------------------------------------------

    async def cancel(self, exchange: Exchange) -> Response:
        """Cancel a promise and its call graph."""
        exchange.parameters()
        await exchange.no_body()
        reply = await self._brokers.ask(PromiseCancel(exchange.names["id"]))
        if reply.promise is None:
            raise of_reply(reply)
        check_settled(reply.promise, CANCELED)
        return answer(promise_json(reply.promise))


class PromiseHandlers:
    """Create, settle and list promises. They are read as calls are."""

    def __init__(self, edge: Edge, calls_: CallHandlers) -> None:
        self._brokers = edge.brokers
        self._calls = calls_

    def table(self) -> dict[str, dict[str, Handler]]:
        """Return path templates with their handlers by method."""
        return {
            "/promises": {"GET": self.list},
            "/promises/{id}": {"GET": self._calls.read, "PUT": self.create},
            "/promises/{id}/result": {"GET": self._calls.result},
            "/promises/{id}/events": {"GET": self._calls.events},
            "/promises/{id}/resolve": {"POST": self.resolve},
            "/promises/{id}/reject": {"POST": self.reject},
            "/promises/{id}/cancel": {"POST": self._calls.cancel},
        }

    async def list(self, exchange: Exchange) -> Response:
        """List promises."""
        search = promises.search(exchange.parameters(*promises.SEARCH_PARAMETERS))
        reply = await self._brokers.ask(search)
        if not reply.ok:
            raise of_reply(reply)
        shown = [promise_json(each) for each in reply.promises or ()]
        return answer(page_data(shown, reply.cursor))

    async def create(self, exchange: Exchange) -> Response:
        """Create a promise that is settled from outside."""
        parameters = exchange.parameters(*promises.CREATE_PARAMETERS)
        body = await exchange.json()
        await self._brokers.wait_clock()
        now_ms = self._brokers.clock()
        create = promises.create_promise(exchange.names["id"], body, parameters, now_ms)
        reply = await self._brokers.ask(create)
        if not reply.ok:
            raise of_reply(reply)
        record = reply.promise or pending_record(create, now_ms)
        if reply.status != 201:
            check_same_promise(create, record)
        location = {"location": path_of("promises", record.id)}
        return answer(promise_json(record), 201 if reply.status == 201 else 200, location)

    async def resolve(self, exchange: Exchange) -> Response:
        """Settle a promise with a value."""
        exchange.parameters()
        return await self._settle(promises.resolve(exchange.names["id"], await exchange.json()))

    async def reject(self, exchange: Exchange) -> Response:
        """Settle a promise with a failure."""
        exchange.parameters()
        return await self._settle(promises.reject(exchange.names["id"], await exchange.json()))

    async def _settle(self, settle: PromiseSettle) -> Response:
        reply = await self._brokers.ask(settle)
        record = reply.promise
        if record is None:
            raise of_reply(reply)
        is_value = settle.state == "resolved"
        check_settled(record, settle.state, settle.value.data if is_value else None)
        return answer(promise_json(record))


def failed(record: PromiseRecord) -> Problem:
    """Return the problem of a result that there is none of, because the call failed."""
    return Problem(
        409,
        f"{record.id} failed: {failure_text(record)}",
        title="The call has failed",
        state=promise_json(record)["state"],
        error=failure(record),
    )


def page_data(items: list[Any], cursor: str | None) -> dict[str, Any]:
    """Return a page as JSON data; `cursor` leads to the next one, and is None on the last."""
    return {"items": items, "cursor": cursor}


def with_cursor(search: PromiseSearch, cursor: str) -> PromiseSearch:
    """Return the search of the page after `cursor`."""
    return PromiseSearch(
        search.state, search.tags, search.prefix, search.origin, search.limit, cursor
    )
