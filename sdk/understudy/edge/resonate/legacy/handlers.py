"""The older REST over HTTP, and its event streams; see `legacy`."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
import trio
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.event_streams import EventStreams
from understudy.edge.resonate.handlers import Store
from understudy.edge.resonate.http import break_off, path_of, read_body, send_json
from understudy.edge.resonate.legacy import table
from understudy.edge.resonate.legacy.calls import Answer, error
from understudy.edge.resonate.legacy.clients import Clients
from understudy.edge.resonate.legacy.tasks import message_of, notify_of
from understudy.edge.resonate.messages import event
from understudy.edge.resonate.streams import Message
from understudy_store.commands import TaskGet

#: how long a client may take to open its stream, after it has asked for its first task
_MEETING_S: Final = 1.0
_LOG: Final = logging.getLogger("understudy.edge")


class LegacyApp:
    """The ASGI application of the older REST, in front of another one that has all other paths."""

    def __init__(self, rest: ASGIApp, store: Store, clients: Clients, body_bytes_max: int) -> None:
        self._rest = rest
        self._store = store
        self._clients = clients
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(table.PATHS):
            await self._rest(scope, receive, send)
            return
        is_last = False
        try:
            body = await read_body(receive, self._body_bytes_max)
            answer = await self._answer(scope, body)
        except ClientDisconnect:
            return
        except Refusal as refusal:
            answer = error(refusal.status, refusal.message)
            is_last = True
        except (NoBrokerError, BusyError) as problem:
            # Their SDKs ask again if a connection breaks.
            _LOG.warning("a request is not answered: %s", problem)
            await break_off(send)
            return
        if answer.body is None:
            await send({"type": "http.response.start", "status": answer.status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send_json(send, answer.status, msgspec.json.encode(answer.body), is_last=is_last)

    async def _answer(self, scope: Scope, body: bytes) -> Answer:
        if scope["path"] == "/promises/task":
            await self._meet(table.process_of(body))
        headers = {
            name.decode("latin-1").lower(): text.decode("latin-1")
            for name, text in scope["headers"]
        }
        query = scope["query_string"].decode("ascii", "replace")
        method, path = scope["method"], path_of(scope)
        try:
            plan = table.plan_of(method, path, query, headers, body, self._clients)
            commands = next(plan)
            while True:
                commands = plan.send(await self._store.ask_all(commands))
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        except Refusal as refusal:
            return error(refusal.status, refusal.message)

    async def _meet(self, name: str | None) -> None:
        """Wait a little for the stream of a client that begins with a call of its own."""
        with trio.move_on_after(_MEETING_S):
            while name is not None and self._clients.address_of(name) is None:
                await trio.sleep(_MEETING_S / 20)


class LegacyPollApp:
    """The ASGI application of the older event streams, which have a port of their own."""

    def __init__(self, events: EventStreams, store: Store, clients: Clients) -> None:
        self._events = events
        self._clients = clients
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = path_of(scope)
        if scope["method"] != "GET" or path.count("/") not in (2, 3):
            await send_json(send, 404, b'{"error":"ask for /GROUP/ID"}')
            return
        path = path.removeprefix("/poll") if path.count("/") == 3 else path
        await self._events.open(path.removeprefix("/"), self._make_event, receive, send)

    async def _make_event(self, message: Message) -> bytes:
        if message.promise is not None:
            return event(notify_of(message.promise))
        try:
            (reply,) = await self._store.ask_all((TaskGet(message.id),))
        except (NoBrokerError, BusyError):
            return b""  # it will be offered again
        task = reply.task
        if task is None or task.state != "pending" or task.version != message.version:
            return b""
        return event(message_of(task, self._clients))
