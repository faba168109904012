"""The protocol over HTTP: the shell around plans and streams.

Requests are handled without the framework's routes, because each is one small message, and there
are thousands of them a second.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.resonate.envelope import UNKNOWN, Answer, Refusal, echo, parse, render
from understudy.edge.resonate.event_streams import EventStreams
from understudy.edge.resonate.http import break_off, path_of, read_body, send_json, server_url
from understudy.edge.resonate.messages import execute_event, unblock_event
from understudy.edge.resonate.operations import Plan, Terms, plan_of
from understudy.edge.resonate.streams import Message
from understudy_store.commands import Reply, StoreCommand

#: of the older protocol; its other paths are those of the native API as well
_OLD_PATHS: Final = ("/tasks",)
_GONE: Final = b'{"error":"this path is of an older protocol; an edge serves that with --legacy"}'
_LOG: Final = logging.getLogger("understudy.edge")

#: returns kind and correlation id of a request, and its answer
Perform: TypeAlias = Callable[[bytes], Awaitable[tuple[str, str, Answer]]]


class Store(Protocol):
    """Performs commands: the brokers, or a machine of the edge's own."""

    async def ask_all(self, commands: Sequence[StoreCommand]) -> list[Reply]:
        """Have commands performed together, in their order, and return their replies.

        Raises
        ------
        NoBrokerError, BusyError
        """


async def run_plan(plan: Plan, store: Store) -> Answer:
    """Return the answer of a plan whose commands a store performs; raises as `Store.ask_all`."""
    try:
        commands = next(plan)
        while True:
            commands = plan.send(await store.ask_all(commands))
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    except Refusal as refusal:
        return Answer(refusal.status, refusal.message)


class Performer:
    """Performs requests at a store.

    Parameters
    ----------
    strict
        As in `Terms`.
    """

    def __init__(self, store: Store, *, strict: bool) -> None:
        self._store = store
        self._strict = strict

    async def __call__(self, body: bytes) -> tuple[str, str, Answer]:
        """Return kind and correlation id of a request, and its answer; raises as `Store`."""
        try:
            envelope = parse(body)
        except Refusal as refusal:
            return *echo(body), Answer(refusal.status, refusal.message)
        kind, corr_id = envelope.kind, envelope.corr_id
        if kind.startswith("debug."):
            return kind, corr_id, Answer(403, "Debug operations are disabled")
        try:
            plan = plan_of(kind, envelope.data, Terms(self._strict, corr_id))
        except Refusal as refusal:
            return kind, corr_id, Answer(refusal.status, refusal.message)
        return kind, corr_id, await run_plan(plan, self._store)


class ResonateApp:
    """The ASGI application of the protocol, in front of another one that has all other paths.

    Parameters
    ----------
    perform
        Performs a request.
    events
        Opens streams.
    """

    def __init__(
        self,
        rest: ASGIApp,
        perform: Perform,
        events: EventStreams,
        body_bytes_max: int,
    ) -> None:
        self._rest = rest
        self._perform = perform
        self._events = events
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if path == "/" and method == "POST":
                await self._post(receive, send)
                return
            if path.startswith("/poll/") and method == "GET":
                await self._poll(scope, receive, send)
                return
            if path.startswith(_OLD_PATHS):
                await send_json(send, 410, _GONE)
                return
        await self._rest(scope, receive, send)

    # Requests ------------------------------------------------------------------------------------

    async def _post(self, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive, self._body_bytes_max)
        except ClientDisconnect:
            return
        except Refusal as refusal:
            answer = Answer(refusal.status, refusal.message)
            await send_json(send, answer.status, render(*UNKNOWN, answer), is_last=True)
            return
        try:
            kind, corr_id, answer = await self._perform(body)
        except (NoBrokerError, BusyError) as error:
            # Their SDKs ask again if a connection breaks, and never if there is an answer.
            _LOG.warning("a request is not answered: %s", error)
            await break_off(send)
            return
        await send_json(send, answer.status, render(kind, corr_id, answer))

    async def _poll(self, scope: Scope, receive: Receive, send: Send) -> None:
        url = server_url(scope)

        async def make_event(message: Message) -> bytes:
            if message.promise is not None:
                return unblock_event(message.promise)
            return execute_event(message.id, message.version, url)

        await self._events.open(path_of(scope).removeprefix("/poll/"), make_event, receive, send)
