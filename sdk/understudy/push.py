"""Functions that are performed where they are pushed to: a web service without nodes of its own.

A task whose target is ``https://pay.example/understudy`` is pushed to that address by an edge
(``understudy edge --push pay.example``). The middleware there, `PushASGI` or `PushWSGI`, verifies
who has sent it, answers, and has a `Runtime` acquire and perform the task. If the function waits
for something long, it is suspended, and a later push has it resumed, here or in another process at
that address.

Nothing is lost if a process ends in the middle: its lease ends, and the task is pushed again. The
process must be able to work after it has answered; services that stop it then, as some do, need the
setting that prevents it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec

from understudy.errors import ConfigurationError
from understudy.runtime import Runtime
from understudy.signatures import KEY_VARIABLE, SignatureError, parse_keys, verify

__all__ = ["PushASGI", "PushWSGI"]

#: where pushes are taken, unless it is said otherwise
PATH: Final = "/understudy"
#: Bytes of a push. A settlement has arguments and result, each of at most 4 MiB before base64.
BODY_BYTES_MAX: Final = 16 * 1024 * 1024

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
StartResponse: TypeAlias = Callable[..., Any]
WSGIApp: TypeAlias = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
#: status and text
_Answer: TypeAlias = tuple[int, str]

_LOG: Final = logging.getLogger("understudy")


class _Task(msgspec.Struct):
    id: str
    version: int


class _Data(msgspec.Struct):
    task: _Task | None = None


class _Message(msgspec.Struct):
    kind: str
    data: _Data


_decode = msgspec.json.Decoder(_Message).decode


class PushReceiver:
    """Takes pushes for a runtime, whatever the web framework.

    Attributes
    ----------
    path
        Where it takes them.
    """

    def __init__(self, runtime: Runtime, key: str | None, path: str) -> None:
        if not path.startswith("/"):
            raise ConfigurationError(f"path {path!r} does not begin with /")
        where = "the argument key" if key is not None else f"the variable {KEY_VARIABLE}"
        self._keys = parse_keys(os.environ.get(KEY_VARIABLE, "") if key is None else key, where)
        self._runtime = runtime
        self._preparing = threading.Lock()
        self.path = path

    def take(self, method: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        """Take a push; return the answer. The task is performed after that, on other threads."""
        if method != "POST":
            return 405, "pushes are sent with POST"
        if len(body) > BODY_BYTES_MAX:
            return 413, f"at most {BODY_BYTES_MAX} bytes are taken"
        try:
            verify(self._keys, headers, body, time.time())
        except SignatureError as error:
            return 401, str(error)
        try:
            message = _decode(body)
        except msgspec.DecodeError as error:
            return 400, f"this is no push: {error}"
        task = message.data.task
        if message.kind == "execute" and task is not None:
            session = self._runtime.session
            if session.started and not session.connection.has_room:
                # What waits here for a thread would be given back, and pushed again at once.
                return 503, "as many functions run here as may"
            # To begin a connection may take a while, and the loop of the service must not wait.
            threading.Thread(
                target=self._perform, args=(task.id, task.version), name="understudy-push",
                daemon=True,
            ).start()  # fmt: skip
        return 202, ""

    def _perform(self, id_: str, version: int) -> None:
        """Acquire a task; the connection performs it if it waits still."""
        try:
            session = self._runtime.session
            with self._preparing:
                session.prepare()
            acquired = session.connection.acquire(id_, version)
        except Exception:
            _LOG.exception("task %s was pushed here, and cannot be acquired", id_)
            return

        def note(ended: Future[bool]) -> None:
            error = ended.exception()
            if error is not None:
                _LOG.error("task %s was pushed here, and cannot be acquired: %s", id_, error)

        acquired.add_done_callback(note)


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
        path: str = PATH,
    ) -> None:
        self._app = app
        self._receiver = PushReceiver(runtime, key, path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_push = scope["type"] == "http" and scope["path"] == self._receiver.path
        if not is_push and self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _answer(send, *(await self._take(scope, receive) if is_push else _NOT_FOUND))
        else:
            raise ValueError(f"nothing here takes {scope['type']!r}")

    async def _take(self, scope: Scope, receive: Receive) -> _Answer:
        body = bytearray()
        while len(body) <= BODY_BYTES_MAX:
            message = await receive()
            if message["type"] != "http.request":
                return 400, "the request was cut off"
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        return self._receiver.take(scope["method"], headers, bytes(body))


class PushWSGI:
    """Take pushes in a WSGI application (Flask, Django), as `PushASGI` does in others.

    Parameters
    ----------
    runtime : Runtime
        The runtime with the functions.
    app : WSGI application, optional
        What is at all other paths. By default nothing is.
    key : str, optional
        The key, as for `PushASGI`.
    path : str, optional
        Where pushes are taken; by default ``/understudy``.

    Raises
    ------
    ConfigurationError
        There is no key, or it is none.

    Examples
    --------
    >>> from understudy import Runtime
    >>> from understudy.push import PushWSGI
    >>> runtime = Runtime(url="http://10.0.0.5:8001")
    >>> app = PushWSGI(runtime, key="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    """

    def __init__(
        self,
        runtime: Runtime,
        app: WSGIApp | None = None,
        *,
        key: str | None = None,
        path: str = PATH,
    ) -> None:
        self._app = app
        self._receiver = PushReceiver(runtime, key, path)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if environ.get("PATH_INFO", "") == self._receiver.path:
            status, text = self._take(environ)
        elif self._app is not None:
            return self._app(environ, start_response)
        else:
            status, text = _NOT_FOUND
        body = text.encode()
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(body))),
        ]
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]

    def _take(self, environ: dict[str, Any]) -> _Answer:
        length = environ.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            return 413, f"at most {BODY_BYTES_MAX} bytes are taken"
        body = environ["wsgi.input"].read(int(length))
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): text
            for name, text in environ.items()
            if name.startswith("HTTP_")
        }
        return self._receiver.take(environ["REQUEST_METHOD"], headers, body)


_NOT_FOUND: Final[_Answer] = (404, "there is nothing here")


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    """Begin and end with the server; there is nothing to do."""
    while True:
        event = (await receive())["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{event}.complete"})
        if event == "shutdown":
            return
