"""The sockets of an edge: Hypercorn's protocol code on trio, within bounds.

Hypercorn bounds the bytes of a request's head, and how long a connection may be idle. It does not
bound the number of connections, nor how long it waits for a client to read. So the connections are
accepted here, and given to it one by one:

- At the bound, a new connection is answered with 503 and closed. None waits unseen.
- A client that takes nothing of an answer for `write_timeout_s` is cut off, and so is one for whose
  answer there is no room beside those that wait for others (`budgets`).
- Whatever goes wrong with a connection ends that connection, and nothing else.
- At the end, no connection is accepted any more; requests under way may finish within
  `drain_s`, and streams are told that they end (`Draining`).
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket as stdlib_socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import msgspec
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol import ProtocolWrapper
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from starlette.types import ASGIApp

from understudy.edge import heads
from understudy.edge.budgets import ANSWERS_BYTES_MAX, Budget
from understudy.errors import innermost

_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"content-type: application/problem+json\r\n"
    b"retry-after: 1\r\n"
    b"connection: close\r\n"
    b"content-length: %d\r\n\r\n%s"
)
_FULL_BODY: Final = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,'
    b'"detail":"this edge has as many connections as it may: try again, or at another edge"}'
)
#: answers that others follow
_INFORMATION: Final = b"HTTP/1.1 1"
#: how long to wait after the system has refused a connection for lack of descriptors
_NO_DESCRIPTORS_S: Final = 0.1
#: how often the log says so
_TELL_S: Final = 60.0
#: how long a client may take for the handshake of TLS
_HANDSHAKE_S: Final = 10.0
#: how long the end of a connection may take
_CLOSE_S: Final = 1.0
#: bytes of an answer that a client must take in `write_timeout_s`
_PART_BYTES: Final = 64 * 1024
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_LOG: Final = logging.getLogger("understudy.edge")


#: a connection in clear, or with TLS
AnyStream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Limits(msgspec.Struct, frozen=True):
    """The bounds of an edge's server.

    Attributes
    ----------
    connections_max
        Open connections, idle ones and streams included.
    head_bytes_max
        Bytes of a request's line and headers.
    idle_s
        How long a connection may be idle between two requests, and how long a head may take.
    write_timeout_s
        How long a client may take nothing of an answer that waits for it.
    drain_s
        How long requests may go on once the server is to end.
    """

    connections_max: int = 12_000
    head_bytes_max: int = 16 * 1024
    idle_s: float = 75.0
    write_timeout_s: float = 20.0
    drain_s: float = 5.0


class _Stream:
    """A connection whose writes end in time; otherwise as Hypercorn's own.

    Attributes
    ----------
    on_end
        Called when the client will send nothing more.
    """

    def __init__(self, stream: AnyStream, write_timeout_s: float, waiting: Budget) -> None:
        self._waiting = waiting
        self._stream = stream
        self._write_timeout_s = write_timeout_s
        self.on_end: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        if isinstance(stream, trio.SSLStream):
            # By these, Hypercorn knows that it is one.
            self.do_handshake = stream.do_handshake
            # Not its bound method, which there is only after the handshake.
            self.selected_alpn_protocol = lambda: stream.selected_alpn_protocol()
            self.transport_stream = stream.transport_stream
        else:
            self.socket = stream.socket
            self.send_eof = stream.send_eof

    async def aclose(self) -> None:
        """Close the connection; with TLS, say so to the client, if it reads."""
        with trio.move_on_after(_CLOSE_S):
            await self._stream.aclose()

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Receive; b"" if the client will send nothing more."""
        data: bytes | bytearray = b""
        try:
            data = await self._stream.receive_some(max_bytes)
        finally:
            if not data:
                await self.on_end()
        return data

    def send_now(self, data: bytes) -> int:
        """Send what the system has room for at once; return how many bytes that were."""
        if isinstance(self._stream, trio.SSLStream):
            return 0
        with suppress(OSError):  # no room, or no connection any more: trio finds out which
            return os.write(self._stream.socket.fileno(), data)
        return 0

    async def send_all(self, data: bytes) -> None:
        """Send, or break the connection if nobody reads."""
        if not self._waiting.take(len(data)):
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("too many bytes wait for clients to read them")
        try:
            await self._send_parts(memoryview(data))
        finally:
            self._waiting.give(len(data))

    async def _send_parts(self, data: memoryview) -> None:
        # In parts, so that the time begins anew whenever the client has taken one.
        for at in range(0, len(data), _PART_BYTES):
            with trio.move_on_after(self._write_timeout_s) as scope:
                await self._stream.send_all(data[at : at + _PART_BYTES])
            if scope.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                raise trio.BrokenResourceError("the client does not read what it is sent")


class _IdleTask:
    """Closes a connection that is idle for long. It is one task, from the first such time on.

    Hypercorn begins and ends a task with each request, which takes a fifth of the time of a short
    one.

    Parameters
    ----------
    idle_s
        How long a connection may be idle.
    ending
        Set when the server ends: connections that are idle then are closed.
    close
        Closes the connection.
    """

    def __init__(
        self, idle_s: float, ending: trio.Event, close: Callable[[], Awaitable[None]]
    ) -> None:
        self._idle_s = idle_s
        self._ending = ending
        self._close = close
        self._scope: trio.CancelScope | None = None
        self._is_idle = False
        self._has_ended = False

    async def restart(self, task_group: TaskGroup, _action: object) -> None:
        """Count the time from now on."""
        self._is_idle = True
        deadline = trio.current_time() + self._idle_s
        if self._scope is not None:
            self._scope.deadline = deadline
        elif not self._has_ended:
            self._scope = trio.CancelScope(deadline=deadline)
            task_group.spawn(self._run, self._scope)

    async def stop(self) -> None:
        """Count no time: a request has come."""
        self._is_idle = False
        if self._scope is not None:
            self._scope.deadline = math.inf

    async def end(self) -> None:
        """End, because the client will send nothing more."""
        self._has_ended, self._is_idle = True, False
        if self._scope is not None:
            self._scope.cancel()

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._ending.wait()
        self._scope = None
        if self._is_idle:
            await self._close()


class _Connection(TCPServer):
    """A connection as Hypercorn has it, with fewer and cheaper writes.

    Hypercorn writes the head of an answer by itself, each write within scopes of its own. Here a
    head waits for what follows it, which comes at once, and bytes for which the system has room are
    written without further ado.
    """

    _head = b""

    @property
    def protocol(self) -> ProtocolWrapper:
        """The part that speaks HTTP over this connection."""
        return self._protocol

    @protocol.setter
    def protocol(self, wrapper: ProtocolWrapper) -> None:
        heads.guard(wrapper)
        self._protocol = wrapper

    def attend(self, idle_s: float, ending: trio.Event) -> _IdleTask:
        """Close this connection when it is idle for `idle_s`, or when `ending` is set."""
        task = _IdleTask(idle_s, ending, self._end_idle)
        replacement: Any = task  # of its type, in other words
        self.idle_task = replacement
        return task

    async def _end_idle(self) -> None:
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        """Send what the protocol has to say."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        data = self._head + event.data
        is_head = _is_head(event.data)
        self._head = data if is_head else b""
        if is_head or not data:
            return
        stream: Any = self.stream  # a `_Stream`, for which Hypercorn has no type
        sent = 0 if self.send_lock.locked() else stream.send_now(data)
        if sent < len(data):
            await super().protocol_send(RawData(data[sent:]))


def _is_head(data: bytes) -> bool:
    """Return whether these are the line and the headers of an answer whose body comes at once.

    That of a stream may come much later.
    """
    is_whole = data.startswith(b"HTTP/1.") and data.endswith(b"\r\n\r\n")
    return is_whole and not data.startswith(_INFORMATION) and b"\r\ncontent-length:" in data


def bind(host: str, port: int) -> stdlib_socket.socket:
    """Return a listening socket; with port 0 the system chooses one.

    Raises
    ------
    OSError
    """
    family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
    sock = stdlib_socket.socket(family, stdlib_socket.SOCK_STREAM)
    try:
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


async def serve(
    app: ASGIApp,
    sock: stdlib_socket.socket,
    limits: Limits,
    stop: Callable[[], Awaitable[object]],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve an application until `stop` returns, and then until its requests have ended.

    Parameters
    ----------
    app
        An ASGI application without lifespan events.
    sock
        A listening socket, which is closed at the end.
    tls
        With which connections are encrypted; None: they are in clear.
    """
    config = Config()
    config.h11_max_incomplete_size = limits.head_bytes_max
    config.keep_alive_timeout = limits.idle_s
    config.ssl_handshake_timeout = _HANDSHAKE_S
    config.keep_alive_max_requests = 1_000_000_000
    config.include_server_header = False
    config.errorlog = _LOG
    config.accesslog = None
    context = WorkerContext(None)
    ending = trio.Event()
    framework: Any = app  # the same, in other words
    wrapper = ASGIWrapper(framework)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    connections = trio.CapacityLimiter(limits.connections_max)
    waiting = Budget(ANSWERS_BYTES_MAX)

    async def attend(stream: trio.SocketStream) -> None:
        token = object()
        try:
            connections.acquire_on_behalf_of_nowait(token)
        except trio.WouldBlock:
            # Not in words with TLS: a handshake is the most expensive part of a connection.
            await (_refuse(stream) if tls is None else trio.aclose_forcefully(stream))
            return
        try:
            secured = stream if tls is None else _secured(stream, tls)
            bounded: Any = _Stream(secured, limits.write_timeout_s, waiting)
            server = _Connection(wrapper, config, context, {}, bounded)
            # Otherwise it keeps a connection that was closed for as long as an idle one.
            bounded.on_end = server.attend(limits.idle_s, ending).end
            await _until_end(server)
        finally:
            connections.release_on_behalf_of(token)
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(_accept, listener, attend, handlers)
            await stop()
            accepting.cancel_scope.cancel()
        await listener.aclose()
        await context.terminated.set()
        ending.set()  # connections that are idle end now
        handlers.cancel_scope.deadline = trio.current_time() + limits.drain_s


def _secured(stream: trio.SocketStream, tls: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    return trio.SSLStream(stream, tls, server_side=True, https_compatible=True)


async def _until_end(server: _Connection) -> None:
    """Let a connection run; whatever goes wrong in it is its own end only."""
    try:
        await server
    except BaseExceptionGroup as group:
        wrong, others = group.split(Exception)
        if wrong is not None:
            _note_broken(innermost(wrong))
        if others is not None:
            raise others from None
    except Exception as error:
        _note_broken(error)


def _note_broken(error: BaseException) -> None:
    if not isinstance(error, heads.RefusedHeadError):
        _LOG.info("a connection was ended: %s: %r", type(error).__name__, str(error))


async def _accept(
    listener: trio.SocketListener,
    attend: Callable[[trio.SocketStream], Awaitable[None]],
    handlers: trio.Nursery,
) -> None:
    told_at = -math.inf
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            if trio.current_time() - told_at >= _TELL_S:
                told_at = trio.current_time()
                _LOG.warning("no connection can be accepted: %s", error.strerror)
            await trio.sleep(_NO_DESCRIPTORS_S)
        else:
            handlers.start_soon(attend, stream)


async def _refuse(stream: trio.SocketStream) -> None:
    with trio.move_on_after(1.0), suppress(trio.BrokenResourceError):
        await stream.send_all(_FULL % (len(_FULL_BODY), _FULL_BODY))
    await trio.aclose_forcefully(stream)
