"""Pushes in WSGI applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeAlias

from understudy.push import web
from understudy.push.receiver import Answer
from understudy.runtime import Runtime

StartResponse: TypeAlias = Callable[..., Any]
WSGIApp: TypeAlias = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class PushWSGI:
    """Take pushes in a WSGI application (Flask, Django), as `PushASGI` does in others.

    Parameters
    ----------
    runtime : Runtime
        The runtime with the functions.
    app : WSGI application, optional
        What is at all other paths. By default nothing is.
    key, path, hold
        As for `PushASGI`. An answer that is held keeps a thread of the server.

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
        path: str = web.PATH,
        hold: bool = False,
    ) -> None:
        self._app = app
        self._receiver = web.WebReceiver(runtime, key, path, hold)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if environ.get("PATH_INFO", "") == self._receiver.path:
            answer = self._take(environ)
        elif self._app is not None:
            return self._app(environ, start_response)
        else:
            answer = web.NOT_FOUND
        body = answer.text.encode()
        headers = [("content-type", web.CONTENT_TYPE), ("content-length", str(len(body)))]
        start_response(f"{answer.status.value} {answer.status.phrase}", headers)
        return [body]

    def _take(self, environ: dict[str, Any]) -> Answer:
        length = environ.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > web.BODY_BYTES_MAX:
            return web.TOO_LONG
        body = environ["wsgi.input"].read(int(length))
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): text
            for name, text in environ.items()
            if name.startswith("HTTP_")
        }
        taken = self._receiver.take(environ["REQUEST_METHOD"], headers, body)
        return taken.result() if isinstance(taken, Future) else taken
