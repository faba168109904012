"""The process's connection to its broker: one background thread with a trio loop.

The thread owns the link and the node. User threads (a web server's, the main one) hand it work and
wait on futures; users' functions run on the node's own threads, never here.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

import trio
import zmq

from understudy._version import __version__
from understudy.client.duplicate_calls import DuplicateCalls
from understudy.client.node_environment import NodeEnvironment
from understudy.client.requests import PendingRequests, fail_future
from understudy.errors import BrokerUnavailableError, NameInUseError, StoppedError
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.shell import NodeService
from understudy_broker.clock import PeerClock
from understudy_broker.errors import LinkError
from understudy_broker.errors import NameInUseError as NameTakenError
from understudy_broker.link.link import Link, open_link
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Hello,
    PeerKind,
    Refused,
    Response,
    Settled,
    ToPeer,
    Welcome,
)
from understudy_broker.transport.loop_lock import LoopLock
from understudy_store.commands import PromiseCreate, TaskCreate
from understudy_store.records import PromiseRecord, TaskRecord

T = TypeVar("T")

_LOG: Final = logging.getLogger("understudy")

#: how long a first connection may take before it is said that no broker answers
PATIENCE_S: Final = 1.0
#: promises that are asked for together after a connection was lost; each may be large by then
WATCHED_AGAIN: Final = 64


class Connection:
    """The link, the node and the watches of one process.

    Parameters
    ----------
    connect_timeout_s
        How long to wait for a broker before `BrokerUnavailableError`.
    """

    def __init__(
        self,
        url: str,
        env: NodeEnvironment,
        *,
        name: str,
        boot: str,
        config: NodeConfig,
        connect_timeout_s: float,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.url = url
        self.env = env
        self.name = name
        self.boot = boot
        self.config = config
        self.connect_timeout_s = connect_timeout_s
        self.os_pid = os.getpid()
        #: whether this process is a node and nothing else
        self.dedicated = False
        self._context = context
        #: deadlines are the broker's to keep, so they are counted by its clock
        self._clock = env.now_ms = PeerClock()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._welcomed = threading.Event()
        self._failure: BaseException | None = None
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._signalled = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._loop_lock = LoopLock()
        # owned by the loop's thread
        self._link: Link | None = None
        self._node: NodeService | None = None
        self._stop = trio.Event()
        self._disconnected = trio.Event()
        self._asking = PendingRequests(self._request, DuplicateCalls(env.values.codec, _LOG))
        self._welcome: Welcome | None = None
        self._serving = False
        self._to_serve = False
        #: what the last hello said: node or client
        self._greeted_as: PeerKind = "client"
        self._ended = False
        #: called when the thread ends, on it
        self.on_ended: Callable[[], None] | None = None

    # From any thread -----------------------------------------------------------------------------

    @property
    def pid(self) -> str:
        """Under which this process holds leases."""
        return f"{self.name}#{self.boot}"

    def ensure_started(self) -> None:
        """Start the thread, once."""
        with self._lock:
            if self._thread is None:
                started = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(started,), name="understudy", daemon=True
                )
                self._thread.start()
                started.wait()

    def wait_connected(self, timeout_s: float | None = None) -> None:
        """Return when the broker has answered.

        Raises
        ------
        BrokerUnavailableError
            After `timeout_s` (by default the connection's own); it says how to start one.
        NameInUseError
            Another living node has this id.
        """
        self.ensure_started()
        limit_s = self.connect_timeout_s if timeout_s is None else timeout_s
        if not self._welcomed.wait(min(PATIENCE_S, limit_s)):
            if limit_s > PATIENCE_S:
                self._welcomed.wait(limit_s - PATIENCE_S)
            if not self._welcomed.is_set():
                raise BrokerUnavailableError(self.url, self._why_not())
        self.check()

    def _why_not(self) -> str:
        link = self._link
        error = (link.last_error if link is not None else None) or ""
        # the error that this goes into says as much
        return "" if error.startswith("no broker answers") else error

    def check(self) -> None:
        """Raise what ended the connection for good, if anything did."""
        if self._failure is not None:
            raise self._failure

    def command(self, command: AnyCommand) -> Future[Response]:
        """Send a command; the future has the response, or raises what it was refused with."""
        future: Future[Response] = Future()
        self._post(self._asking.command, command, future)
        return future

    def watch(self, id: str) -> Future[PromiseRecord]:
        """A future for the settled promise."""
        future: Future[PromiseRecord] = Future()
        self._post(self._asking.watch, id, future)
        return future

    def invoke(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]:
        """Create a promise and watch it: futures for its being stored, and for its result."""
        stored: Future[None] = Future()
        result: Future[PromiseRecord] = Future()
        self._post(self._asking.invoke, create, stored, result)
        return stored, result

    def perform(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]:
        """As `invoke`, but acquired for this process in the same step."""
        stored: Future[None] = Future()
        result: Future[PromiseRecord] = Future()
        self._post(self._perform, create, stored, result)
        return stored, result

    def serve(self) -> None:
        """Ask for work of the group."""
        # asked for before there is a connection, so that its first hello is a node's
        self._to_serve = True
        self._post(self._start_serving)

    def stop(self, timeout_s: float) -> None:
        """Finish or hand back what is held, say goodbye, end the thread."""
        with self._lock:
            thread = self._thread
        if thread is None or self._token is None:
            return
        try:
            self._token.run_sync_soon(self._stop.set)
        except trio.RunFinishedError:
            return
        if thread is not threading.current_thread():
            thread.join(timeout_s)

    def _post(self, function: Callable[..., None], *args: Any) -> None:
        self.ensure_started()
        self.check()
        self._posted.append((function, args))
        if not self._signalled:
            self._signalled = True
            self._have_it_taken()
        if self._ended:
            # nobody takes it any more, and the futures in it must not be waited for
            self._fail_pending()
            raise StoppedError(
                "this runtime has been stopped: make a new one, or call start() again"
            ) from self._failure

    def _have_it_taken(self) -> None:
        """By this thread, if the loop sleeps and nothing is under way: of a burst of calls the
        first does not wait for company, and the others travel together."""
        if not self._asking.busy and self._loop_lock.acquire():
            try:
                self._take_posted()
            finally:
                self._loop_lock.release()
            return
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._take_posted)

    # On the loop's thread ------------------------------------------------------------------------

    def _run(self, started: threading.Event) -> None:
        try:
            trio.run(self._main, started, instruments=[self._loop_lock])
        except BaseException as error:
            self._fail(_understood(error, self))
        finally:
            self._ended = True
            started.set()
            self._fail_pending()
            if self.on_ended is not None:
                self.on_ended()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._welcomed.set()

    def _fail_pending(self) -> None:
        """Nobody may wait for ever on a thread that has ended."""
        error = self._failure or StoppedError("this runtime has been stopped")
        self._asking.fail_all(error)
        while self._posted:
            for argument in self._posted.popleft()[1]:
                if isinstance(argument, Future):
                    fail_future(argument, error)

    async def _main(self, started: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with (
            open_link(
                self.url,
                self._hello,
                self._on_messages,
                on_connected=self._on_connected,
                on_disconnected=self._on_disconnected,
                context=self._context,
                is_busy=self._is_busy,
            ) as link,
            trio.open_nursery() as nursery,
        ):
            self._link = link
            self._node = NodeService(
                self.env,
                link,
                self._clock,
                self.config,
                log=_LOG.warning,
                log_failure=self._log_failure,
                loop_lock=self._loop_lock,
            )
            if self._to_serve:
                self._start_serving()
            nursery.start_soon(self._node.run)
            nursery.start_soon(self._keep_informed)
            started.set()
            await self._stop.wait()
            with trio.CancelScope(shield=True):
                await self._leave(self._node)
            nursery.cancel_scope.cancel()

    async def _leave(self, node: NodeService) -> None:
        if self._serving:
            async with trio.open_nursery() as nursery:
                if self.dedicated:
                    nursery.start_soon(self._say_what_runs, node)
                await node.drain()
                nursery.cancel_scope.cancel()
        # the releases go out with the link's own goodbye
        await trio.lowlevel.checkpoint()

    async def _say_what_runs(self, node: NodeService) -> None:
        """Why a node does not stop at once."""
        await trio.sleep(PATIENCE_S)
        _LOG.info(
            "stopping when what runs has ended (calls: %d), in at most %g s; then it is handed "
            "back. A second signal ends this at once",
            node.core.holding,
            self.config.drain_ms / 1000,
        )

    async def _keep_informed(self) -> None:
        """Say that there is no broker, and let nobody wait for its answer beyond the timeout."""
        with suppress(LinkError):
            await self._watch_link()

    async def _watch_link(self) -> None:
        assert self._link is not None
        while True:
            with trio.move_on_after(PATIENCE_S):
                await self._link.wait_connected()
            if not self._link.connected:
                self._say_that_none_answers()
                with trio.move_on_after(max(0.0, self.connect_timeout_s - PATIENCE_S)):
                    await self._link.wait_connected()
            if not self._link.connected:
                self._asking.fail_unanswered(BrokerUnavailableError(self.url, self._why_not()))
                with trio.move_on_after(self.connect_timeout_s):
                    await self._link.wait_connected()
            while self._link.connected:
                self._disconnected = trio.Event()
                await self._disconnected.wait()

    def _say_that_none_answers(self) -> None:
        if self.dedicated:
            _LOG.warning(
                "no broker answers at %s (still trying). Start one with: understudy broker; or "
                "give its address with --url, UNDERSTUDY_URL or Runtime(url=...)",
                self.url,
            )
        else:
            _LOG.warning("%s", BrokerUnavailableError(self.url, "still trying"))

    def _log_failure(self, text: str, error: BaseException) -> None:
        """With the traceback from the function's own first line on; ours above it help nobody.

        Loud only in a process that is a node and nothing else: elsewhere the caller is likely to
        be this same process, and gets the exception.
        """
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(
            "understudy_actors."
        ):
            frames = frames.tb_next
        level = logging.ERROR if self.dedicated else logging.INFO
        _LOG.log(level, "%s", text, exc_info=(type(error), error, frames))

    def _take_posted(self) -> None:
        assert self._link is not None
        self._signalled = False
        self._link.cork()
        try:
            self._perform_posted()
        finally:
            self._link.uncork()

    def _perform_posted(self) -> None:
        while self._posted:
            function, args = self._posted.popleft()
            for argument in args:
                if isinstance(argument, Future):
                    self._asking.began(argument)
            try:
                function(*args)
            except LinkError as error:
                for argument in args:
                    if isinstance(argument, Future):
                        fail_future(argument, error)

    def _hello(self) -> Hello:
        node = self._node
        self._greeted_as = "node" if self._serving else "client"
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind=self._greeted_as,
            group=self.env.group,
            name=self.name,
            boot=self.boot,
            os_pid=self.os_pid,
            host=platform.node(),
            sdk=f"python {__version__}",
            credit=node.core.new_session() if node is not None else 0,
            functions=tuple(self.env.functions.names()),
            claims=node.core.claims() if node is not None else (),
        )

    def _is_busy(self) -> bool:
        """Whether silence of the broker would cost anybody here anything."""
        node = self._node
        return bool(self._asking.watches) or (node is not None and bool(node.core.activations))

    def _on_connected(self, welcome: Welcome) -> None:
        reconnected = self._welcome is not None
        self._welcome = welcome
        if welcome.now and self._link is not None:
            self._clock.synchronize(welcome.now, self._link.round_trip_ms)
        self.env.values.codec.payload_bytes_max = welcome.payload_bytes_max
        assert self._node is not None
        self._node.core.connected(welcome.lost, reconnected)
        if self._serving and self._greeted_as == "client":
            # it became a node while its hello was on the way
            assert self._link is not None
            self._link.rejoin()
        elif self._serving:
            self._node.core.grant()
        if reconnected and self._asking.watches:
            ids = tuple(self._asking.watches)
            for start in range(0, len(ids), WATCHED_AGAIN):
                self._asking.send_watch(ids[start : start + WATCHED_AGAIN])
        if not self._welcomed.is_set():
            self._welcomed.set()

    def _on_disconnected(self, why: str) -> None:
        _LOG.debug("disconnected: %s", why)
        self._disconnected.set()
        if self._node is not None:
            self._node.core.disconnected()

    def _on_messages(self, messages: list[ToPeer]) -> None:
        assert self._node is not None
        if self._asking.watches:
            for message in messages:
                if isinstance(message, Settled):
                    self._asking.resolve(message.promises)
        self._node.receive(messages)

    def _request(self, command: AnyCommand, on_reply: Callable[[Response | Refused], None]) -> None:
        assert self._link is not None
        self._link.request(command, on_reply)

    def _perform(
        self, create: PromiseCreate, stored: Future[None], result: Future[PromiseRecord]
    ) -> None:
        self._start_serving()
        ttl = self._welcome.lease_ttl_ms if self._welcome is not None else 10_000
        command = TaskCreate(self.pid, ttl, create.id, create.timeout_at, create.param, create.tags)
        self._asking.perform(command, stored, result, self._perform_here)

    def _perform_here(self, promise: PromiseRecord, task: TaskRecord) -> None:
        assert self._node is not None
        self._node.perform(promise, task.version, task.failures)

    def _start_serving(self) -> None:
        if self._serving:
            return
        self._serving = True
        assert self._node is not None
        assert self._link is not None
        self._node.core.serve()
        if self._link.connected:
            self._link.rejoin()


def _understood(error: BaseException, connection: Connection) -> BaseException:
    """The SDK's error for what ended the loop."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, NameTakenError):
        return NameInUseError(connection.name, connection.env.group)
    return error
