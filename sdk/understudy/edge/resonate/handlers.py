"""The protocol over HTTP: the shell around plans and streams.

Requests are handled without the framework's routes, because each is one small message, and there
are thousands of them a second.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias
from urllib.parse import unquote

import msgspec
import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.resonate.envelope import Answer, Refusal, echo, parse, render
from understudy.edge.resonate.messages import execute_event, unblock_event
from understudy.edge.resonate.operations import Plan, Terms, plan_of
from understudy.edge.resonate.streams import Listener, Message, Streams
from understudy_store.addresses import InvalidAddressError, check_name
from understudy_store.commands import Reply, StoreCommand

_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
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
    draining
        Set once streams are to end.
    streams_max
        Streams that may be open at a time.
    """

    def __init__(
        self,
        rest: ASGIApp,
        perform: Perform,
        streams: Streams,
        draining: trio.Event,
        body_bytes_max: int,
        streams_max: int,
    ) -> None:
        self._rest = rest
        self._perform = perform
        self._streams = streams
        self._draining = draining
        self._body_bytes_max = body_bytes_max
        self._streams_max = streams_max

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
                await _send_json(send, 410, _GONE)
                return
        await self._rest(scope, receive, send)

    # Requests ------------------------------------------------------------------------------------

    async def _post(self, receive: Receive, send: Send) -> None:
        body = await _read_body(receive, self._body_bytes_max)
        if body is None:
            answer = Answer(413, f"a request has at most {self._body_bytes_max} bytes")
            await _send_json(send, 413, render("unknown", "0", answer))
            return
        try:
            kind, corr_id, answer = await self._perform(body)
        except (NoBrokerError, BusyError) as error:
            # Their SDKs ask again if a connection breaks, and never if there is an answer.
            _LOG.warning("a request is not answered: %s", error)
            await _break_off(send)
            return
        await _send_json(send, answer.status, render(kind, corr_id, answer))

    # Streams -------------------------------------------------------------------------------------

    async def _poll(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or scope["path"].encode()
        parts = [unquote(part) for part in raw.decode("ascii", "replace").split("/")[2:]]
        try:
            group, name = parts
            check_name(group, "group")
            check_name(name, "id")
        except (ValueError, InvalidAddressError) as error:
            await _send_json(send, 400, msgspec.json.encode({"error": str(error)}))
            return
        if self._streams.count >= self._streams_max or self._draining.is_set():
            await _send_json(send, 503, b'{"error":"too many streams"}')
            return
        await _Stream(self._streams, group, name, _server_url(scope)).run(
            receive, send, self._draining
        )


class _Stream:
    """One event stream, from its head to its end."""

    def __init__(self, streams: Streams, group: str, name: str, server_url: str) -> None:
        self._streams = streams
        self._news = trio.Event()
        self._listener = Listener(group, name, lambda: self._news.set())
        self._server_url = server_url

    async def run(self, receive: Receive, send: Send, draining: trio.Event) -> None:
        """Send messages until the client has gone, or the edge is to end."""
        await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        self._streams.open(self._listener)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                nursery.start_soon(_until_set, draining, nursery.cancel_scope)
                await self._send_messages(send)
        finally:
            self._streams.close(self._listener)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_messages(self, send: Send) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            messages = self._listener.take()
            body = b"".join(map(self._event, messages))
            await send({"type": "http.response.body", "body": body, "more_body": True})
            for message in messages:
                if message.acknowledge is not None:
                    message.acknowledge()

    def _event(self, message: Message) -> bytes:
        if message.promise is not None:
            return unblock_event(message.promise)
        return execute_event(message.id, message.version, self._server_url)


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _until_set(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _server_url(scope: Scope) -> str:
    """Return the address under which the client has reached this edge."""
    for name, text in scope["headers"]:
        if name == b"host":
            return f"{scope.get('scheme', 'http')}://{text.decode('latin-1')}"
    host, port = scope.get("server") or ("127.0.0.1", 0)
    return f"http://{host}:{port}"


async def _read_body(receive: Receive, bytes_max: int) -> bytes | None:
    """Return the body of a request; None if it is too large."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= bytes_max:
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= bytes_max:
            parts.append(part)
    return b"".join(parts) if size <= bytes_max else None


async def _send_json(send: Send, status: int, body: bytes) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _break_off(send: Send) -> None:
    """End the connection in the middle of an answer."""
    headers = [_JSON, (b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
