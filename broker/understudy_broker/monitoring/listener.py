"""A listener for HTTP that shows a program's metrics and its health, on a thread of its own.

It answers even when the loops that it tells of are blocked, as long as Python runs at all: that is
what it is for. It knows nothing of HTTP beyond the first line of a request for a path, and closes
each connection after its answer, as the programs that ask every few seconds expect.

A stranger can do little with it: there are `CONNECTIONS_MAX` connections, each lives for
`CONNECTION_S` seconds, and its request has `HEAD_BYTES_MAX` bytes at most.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple
from weakref import WeakSet

import trio

from understudy_broker.errors import BrokerError
from understudy_broker.monitoring.address import Place

CONNECTIONS_MAX: Final = 32
CONNECTION_S: Final = 10.0
HEAD_BYTES_MAX: Final = 8 * 1024
#: how long a program that lacks descriptors waits until it accepts again
_NO_ROOM_S: Final = 0.5
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: how long the end of the thread is waited for
_STOP_S: Final = 2.0
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}

_LOG: Final = logging.getLogger("understudy.monitoring")


class MonitoringListenError(BrokerError):
    """A program cannot show its metrics where it is told to."""


class Answer(NamedTuple):
    """An answer to a request."""

    status: int
    content_type: str
    body: bytes


def text_answer(status: int, text: str) -> Answer:
    """Return an answer of plain text, with a line feed at its end."""
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class Listener:
    """A thread that answers requests, from its making until `stop`.

    Parameters
    ----------
    sock
        As `bind` returns it; the thread closes it.
    pages
        What answers a request, by its path. Each is called on the thread of the listener, one at a
        time; while it works, other connections wait.

    Attributes
    ----------
    place
        Where it listens, with the port that the system has chosen.
    """

    def __init__(self, sock: socket.socket, pages: dict[str, Callable[[], Answer]]) -> None:
        self._pages = pages
        self._socket = sock
        host, port = self._socket.getsockname()[:2]
        self.place = Place(host, port)
        self._started = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=self._run, name="understudy-metrics", daemon=True)
        self._thread.start()
        self._started.wait()
        _open.add(self)

    def stop(self) -> None:
        """Close the listener and its connections. A second call does nothing."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(_STOP_S)

    def close_copy(self) -> None:
        """Close the socket in a forked child, or the port would be taken while that lives."""
        self._socket.close()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except Exception:
            _LOG.exception("metrics and health are no longer shown")
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))
        self._started.set()
        with self._scope:
            async with listener, trio.open_nursery() as nursery:
                limiter = trio.CapacityLimiter(CONNECTIONS_MAX)
                while True:
                    try:
                        stream = await listener.accept()
                    except OSError as error:
                        if error.errno not in _NO_ROOM:
                            raise
                        await trio.sleep(_NO_ROOM_S)
                        continue
                    if limiter.available_tokens:
                        nursery.start_soon(self._attend, stream, limiter)
                    else:
                        await trio.aclose_forcefully(stream)

    async def _attend(self, stream: trio.SocketStream, limiter: trio.CapacityLimiter) -> None:
        try:
            async with limiter:
                with trio.move_on_after(CONNECTION_S):
                    head = await _receive_head(stream)
                    if head:
                        await stream.send_all(self._response(head))
                        await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # The client is gone.
        finally:
            await trio.aclose_forcefully(stream)

    def _response(self, head: bytes) -> bytes:
        line = head.partition(b"\r\n")[0].split(b" ")
        is_request = len(line) == 3 and line[2].startswith(b"HTTP/1.")
        if not is_request:
            answer = text_answer(400, "this is no request of HTTP/1")
        elif line[0] not in (b"GET", b"HEAD"):
            answer = text_answer(405, "ask with GET")
        else:
            answer = self._answer(line[1].partition(b"?")[0].decode("ascii", "replace"))
        reason = _REASONS.get(answer.status, "Service Unavailable")
        lines = (
            f"HTTP/1.1 {answer.status} {reason}\r\n"
            f"content-type: {answer.content_type}\r\n"
            f"content-length: {len(answer.body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        return lines.encode() + (b"" if is_request and line[0] == b"HEAD" else answer.body)

    def _answer(self, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            known = ", ".join(sorted(self._pages))
            return text_answer(404, f"there is nothing here; there are {known}")
        try:
            return page()
        except Exception:
            # It tells of a program that goes on: a fault here must not end that, nor be silent.
            _LOG.exception("%s could not be answered", path)
            return text_answer(500, "an error occurred; the log says more")


async def _receive_head(stream: trio.SocketStream) -> bytes:
    """Receive up to the end of a request's headers; nothing if it does not come, or is too long."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = await stream.receive_some(HEAD_BYTES_MAX)
        head += more
        if not more or len(head) > HEAD_BYTES_MAX:
            return b""
    return head


def bind(place: Place) -> socket.socket:
    """Return a socket that listens at a place, for a `Listener`.

    Raises
    ------
    MonitoringListenError
        The address is taken, or is not this machine's.
    """
    try:
        found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise MonitoringListenError(f"cannot show metrics at {place}: {error.strerror}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(CONNECTIONS_MAX)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise MonitoringListenError(f"cannot show metrics at {place}: {error.strerror}") from None
    return sock


#: the listeners of this process
_open: Final[WeakSet[Listener]] = WeakSet()


def _close_copies() -> None:
    for listener in list(_open):
        listener.close_copy()
    _open.clear()


os.register_at_fork(after_in_child=_close_copies)
