"""Pushes in ASGI applications."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

import trio

from understudy.push import web
from understudy.push.receiver import Answer
from understudy.runtime import Runtime

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_CONTENT_TYPE: Final = web.CONTENT_TYPE.encode()


class PushASGI:
    """Take pushes in an ASGI application (Starlette, FastAPI, Django), under trio or asyncio.

    Parameters
    ----------
    runtime : Runtime
        The runtime with the functions. Where only HTTP leads to the brokers, its ``url`` is that of
        an edge.
    app : ASGI application, optional
        What is at all other paths. By default nothing is.
    key : str, optional
        The key that the edge signs with; several, one in each line, while it is replaced. By
        default the environment variable UNDERSTUDY_PUSH_KEY.
    path : str, optional
        Where pushes are taken; by default ``/understudy``.
    hold : bool, optional
        Answer only once the task is performed, suspended or given back, for platforms that stop the
        process after its answer. By default the answer comes at once.

    Raises
    ------
    ConfigurationError
        There is no key, or it is none.

    Examples
    --------
    >>> from understudy import Runtime
    >>> from understudy.push import PushASGI
    >>> runtime = Runtime(url="http://10.0.0.5:8001")
    >>> @runtime.register
    ... def charge(ctx, amount):
    ...     return f"charged {amount}"
    >>> app = PushASGI(runtime, key="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    """

    def __init__(
        self,
        runtime: Runtime,
        app: ASGIApp | None = None,
        *,
        key: str | None = None,
        path: str = web.PATH,
        hold: bool = False,
    ) -> None:
        self._app = app
        self._receiver = web.WebReceiver(runtime, key, path, hold)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_push = scope["type"] == "http" and scope["path"] == self._receiver.path
        if not is_push and self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _answer(send, await self._take(scope, receive) if is_push else web.NOT_FOUND)
        else:
            raise ValueError(f"nothing here takes {scope['type']!r}")

    async def _take(self, scope: Scope, receive: Receive) -> Answer:
        body = bytearray()
        while len(body) <= web.BODY_BYTES_MAX:
            message = await receive()
            if message["type"] != "http.request":
                return web.CUT_OFF
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        taken = self._receiver.take(scope["method"], headers, bytes(body))
        return await _result(taken) if isinstance(taken, Future) else taken


async def _result(future: Future[Answer]) -> Answer:
    """Wait for a future of another thread, on the loop that there is."""
    if not trio.lowlevel.in_trio_task():
        return await asyncio.wrap_future(future)
    done, token = trio.Event(), trio.lowlevel.current_trio_token()

    def tell(_future: Future[Answer]) -> None:
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            return

    future.add_done_callback(tell)
    await done.wait()
    return future.result()


async def _answer(send: Send, answer: Answer) -> None:
    body = answer.text.encode()
    headers = [(b"content-type", _CONTENT_TYPE), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    """Begin and end with the server; there is nothing to do."""
    while True:
        event = (await receive())["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{event}.complete"})
        if event == "shutdown":
            return
