"""The process's connection to its broker: one background thread with a trio loop.

How it works
------------
The loop owns the link, the node and the pending requests. Users' threads (a web server's, the main
one) submit work to it and wait for futures; users' functions run on the threads of the node's
executor, never here. The parts:

- `Connection` (this module) has the thread and its life: start, stop, failure.
- `SubmissionQueue` brings work from users' threads to the loop.
- `PendingRequests` knows which futures wait for which reply or promise.
- `Peer` says hello and receives messages: this process as a client, and as a node once it serves.
- `Availability` knows whether a broker answers, and tells users and waiting threads if none does.

Which thread may touch what
---------------------------
The link, the node, `PendingRequests` and `Peer` are touched under the loop's `LoopLock` only. The
loop holds it while it runs. While the loop sleeps, a worker of the node may take it instead
(`understudy_actors.executor.worker_pool`): when it has finished its last run and handles the
result, and when it polls the socket and a message arrives.

So "on the loop" below means: on the loop's thread, or on a thread that holds the `LoopLock`. Trio's
own objects are not covered by the lock; they are touched on the loop's thread alone, through
`LoopThread`. What threads share without the lock is safe by itself: futures, a `threading.Event`,
the deque of submissions, and plain attributes that are set once (`ready`, `failure`, `_ended`).

Why nothing is lost
-------------------
- A submission is appended before `_signaled` is read, and `_signaled` is cleared before the queue
  is emptied. So a submission is either found by the run that is about to happen, or causes one.
- The thread sets `_ended` before it fails what is pending, and `_submit` reads `_ended` after it
  has appended. So a submission that comes as the thread ends is failed by one of the two, and
  nobody waits forever.
- A request that is sent stays in the link until it is answered; the link repeats it on the next
  connection. Watches do not survive a connection: `Peer` renews them after each reconnect.

What is not perfect
-------------------
Each call of a user's thread wakes the loop, which costs 20 to 50 µs. Doing the work on the calling
thread instead, under the `LoopLock`, was tried and saved less than 5 % of a call's time, because a
call has several more such hops and waits for the sync of its commit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeAlias

import trio

from understudy.client.availability import Availability
from understudy.client.bulk import Bulk, BulkCall
from understudy.client.duplicate_calls import DuplicateCalls
from understudy.client.log import ConnectionLog
from understudy.client.node_environment import NodeEnvironment
from understudy.client.peer import Peer
from understudy.client.requests import PendingRequests
from understudy.client.sealed_records import SealedRecords
from understudy.client.sealed_router import SealedRouter
from understudy.client.strangers import Found, address_of, find, flaw
from understudy.client.submissions import SubmissionQueue
from understudy.client.way import open_way
from understudy.errors import ConfigurationError, NameInUseError, StoppedError
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.shell import NodeService
from understudy_broker.address import split_addresses
from understudy_broker.errors import LinkError
from understudy_broker.errors import NameInUseError as NameTakenError
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.link.link import Link
from understudy_broker.link.router import Router, open_router
from understudy_broker.monitoring.address import Place
from understudy_broker.monitoring.listener import Listener, MonitoringListenError, bind
from understudy_broker.protocol.messages import AnyCommand, Response
from understudy_broker.transport.loop_lock import LoopLock, LoopThread
from understudy_store.commands import PromiseCreate, ScheduleTrigger
from understudy_store.records import PromiseRecord

#: Seconds that a stop may take before a dedicated node says what it waits for.
_SILENT_STOP_S: Final = 1.0
#: takes a command and its futures, on the loop
_Request: TypeAlias = Callable[..., None]


class Connection:
    """The link, the node and the pending requests of one process. Any thread may call it.

    Parameters
    ----------
    url
        The broker's address.
    env
        The functions, values and group of this process.
    name, boot
        This process's id among peers, and a random text that tells it from earlier ones of its id.
    config
        The settings of the node.
    connect_timeout_s
        Seconds to wait for a broker before `BrokerUnavailableError`.
    keys
        Those of this process; None: the broker asks for none.
    metrics
        Where a node shows its metrics and its health; None: nowhere.

    Attributes
    ----------
    serves
        Set once this process was made a node.
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
        keys: PeerKeys | None = None,
        metrics: Place | None = None,
    ) -> None:
        self._keys = keys
        self._metrics = metrics
        self._listener: Listener | None = None
        self.url = url
        self.env = env
        self.name = env.node = name
        self.boot = boot
        self.config = config
        self.os_pid = os.getpid()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._started = False
        self._ended = False
        self._on_ended: Callable[[], None] | None = None
        self._loop: LoopThread | None = None
        #: Returns whether the loops turn: those of functions, and this connection's own. It is to
        #: be called on a thread that may wait two seconds for that.
        self.turns: Callable[[], bool] = lambda: _turn(self._node, self._loop)
        self._node: NodeService | None = None
        self._loop_lock = LoopLock()
        self._stop_requested = trio.Event()
        self.serves = threading.Event()
        self._log = ConnectionLog()
        self._requests = PendingRequests(DuplicateCalls(env.values.codec, self._log.warn))
        self._availability = Availability(url, connect_timeout_s, self._requests, self._log)
        sealer = env.values.codec.sealer
        self._sealed = None if sealer is None else SealedRecords(sealer)
        self._peer = Peer(
            env,
            self._requests,
            self._availability,
            self._log,
            # If an error ends the thread, a task that it holds may be the reason.
            self._stop_requested.is_set,
            name=name,
            boot=boot,
            os_pid=self.os_pid,
            sealed=self._sealed,
        )
        self._submissions = SubmissionQueue(self._requests)
        env.registry.on_register = self._on_register

    # Lifetime ------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """True once the broker has answered, unless the connection has failed since."""
        return self._availability.ready

    def ensure_started(self) -> None:
        """Start the thread unless it was started; return when it takes work."""
        with self._lock:
            if self._thread is None:
                started = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(started,), name="understudy", daemon=True
                )
                self._thread.start()
                started.wait()
                self._started = True

    def wait_connected(self, timeout_s: float | None = None) -> None:
        """Return when the broker has answered.

        Raises
        ------
        BrokerUnavailableError
            No broker has answered in `timeout_s` seconds, by default the connection's own timeout.
        NameInUseError
            Another living node has this id.
        """
        self.ensure_started()
        self._availability.wait(timeout_s)

    def check(self) -> None:
        """Raise the error that has ended the connection for good, if there is one."""
        self._availability.check()

    def stop(self, timeout_s: float) -> None:
        """Finish or hand back all tasks, say goodbye, and end the thread; wait `timeout_s` for it.

        May be called on the thread itself, by `serve_dedicated`'s callback; it waits for nothing
        then.
        """
        with self._lock:
            thread = self._thread
        if thread is None or self._loop is None:
            return
        self._loop.run_soon(self._stop_requested.set)
        if thread is not threading.current_thread():
            thread.join(timeout_s)
        if self._listener is not None:
            self._listener.stop()

    # Requests ------------------------------------------------------------------------------------

    def command(self, command: AnyCommand) -> Future[Response]:
        """Send a command; the future gets the response, or the error if the broker refuses it."""
        future: Future[Response] = Future()
        request: _Request = self._requests.command
        if (isinstance(command, PromiseCreate) and command.timeout_at < 0) or (
            isinstance(command, ScheduleTrigger) and command.date < 0
        ):
            request = self._peer.dated(request)
        self._submit(request, (command, future), (future,))
        return future

    def watch(self, id: str) -> Future[PromiseRecord]:
        """Return a future that gets the promise `id` once it has settled."""
        future: Future[PromiseRecord] = Future()
        self._submit(self._requests.watch, (id, future), (future,))
        return future

    def invoke(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]:
        """Create a promise and watch it.

        Returns
        -------
        tuple[Future[None], Future[PromiseRecord]]
            One is done when the promise is stored, the other when it has settled.
        """
        stored: Future[None] = Future()
        result: Future[PromiseRecord] = Future()
        request: _Request = self._requests.invoke
        if create.timeout_at < 0:
            request = self._peer.dated(request)
        self._submit(request, (create, stored, result), (stored, result))
        return stored, result

    def invoke_many(
        self, creates: Sequence[PromiseCreate]
    ) -> list[tuple[Future[None], Future[PromiseRecord]]]:
        """Create promises and watch them, a window at a time; for each as `invoke`."""
        calls = [BulkCall(create, Future(), Future()) for create in creates]
        request: _Request = self._requests.invoke
        if any(create.timeout_at < 0 for create in creates):
            request = self._peer.dated(request)
        bulk = Bulk(
            calls,
            request,
            lambda send: self._submissions.submit(send, (), ()),
        )
        futures = [future for call in calls for future in (call.stored, call.result)]
        self._submit(bulk.send, (), tuple(futures))
        return [(call.stored, call.result) for call in calls]

    def perform(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]:
        """Create a promise whose task this process acquires at once; else as `invoke`."""
        stored: Future[None] = Future()
        result: Future[PromiseRecord] = Future()
        request: _Request = self._peer.perform
        if create.timeout_at < 0:
            request = self._peer.dated(request)
        self._submit(request, (create, stored, result), (stored, result))
        return stored, result

    @property
    def has_room(self) -> bool:
        """True if fewer functions run here than may run at the same time."""
        node = self._node
        return node is None or node.core.running < self.config.concurrency

    @property
    def room(self) -> int:
        """The number of further tasks that would keep this process busy; 0 without a broker."""
        node = self._node
        return 0 if node is None or not self._peer.connected else node.core.credit.room

    def acquire(self, id: str, version: int) -> tuple[Future[bool], Future[None]]:
        """Acquire a task of which somebody has told this process, and perform it.

        The process need not be a node for that: it gets no other tasks.

        Returns
        -------
        acquired
            True once the task is this process's; False if it does not wait any more.
        ended
            Done once the task is this process's no longer: it is performed, suspended, or given
            back. Only if it was acquired.
        """
        acquired: Future[bool] = Future()
        ended: Future[None] = Future()
        self._submit(self._peer.acquire, (id, version, acquired, ended), (acquired,))
        return acquired, ended

    def serve(self, *, joins: bool = True) -> None:
        """Become a node: ask for tasks of the group.

        A process that does not join the group gets tasks by `acquire` only.

        Raises
        ------
        ConfigurationError
            Its metrics cannot be shown where they are to be.
        """
        sock = None
        if self._metrics is not None and self._listener is None:
            try:
                sock = bind(self._metrics)
            except MonitoringListenError as error:
                raise ConfigurationError(str(error)) from None
        if joins:
            # Noted before the thread starts, so that the first hello is a node's already.
            self._peer.wants_to_serve = True
            self._submit(self._peer.serve, (), ())
        else:
            self.ensure_started()
        if sock is not None and self._node is not None and self._loop is not None:
            # Imported here, because few processes show metrics.
            from understudy.client.node_monitor import show_node

            self._listener = show_node(sock, self._node, self._loop, lambda: self._peer.connected)
            self._log.note(f"metrics at http://{self._listener.place}/metrics")
        self.serves.set()

    def serve_dedicated(
        self, on_ended: Callable[[], None], on_ready: Callable[[], None], *, joins: bool = True
    ) -> None:
        """Become a node in a process that does nothing else; it `joins` the group, or does not.

        Then failures of functions are logged as errors, because no caller in this process gets
        them. `on_ready` is called on the thread whenever the broker has welcomed the node, before
        it gets a task; `on_ended` when the connection has ended.
        """
        self._log.dedicated = True
        self._on_ended = on_ended
        self._peer.on_ready = on_ready
        self.serve(joins=joins)

    def _on_register(self) -> None:
        """Have the broker told of a function that was registered after the hello."""
        if self._started and not self._ended and self.os_pid == os.getpid():
            self._submissions.submit(self._peer.announce, (), ())

    def _submit(
        self, function: Callable[..., None], args: tuple[Any, ...], futures: tuple[Future[Any], ...]
    ) -> None:
        if not self._started:
            self.ensure_started()
        if self._availability.failure is not None:
            self.check()
        self._submissions.submit(function, args, futures)
        if self._ended:
            # Nobody takes submissions any more, so nobody may wait for their futures.
            self._fail_pending()
            raise StoppedError(
                "this runtime has been stopped: make a new one, or call start() again"
            ) from self._availability.failure

    # On the thread -------------------------------------------------------------------------------

    def _run(self, started: threading.Event) -> None:
        try:
            trio.run(self._main, started, instruments=[self._loop_lock])
        except BaseException as error:
            self._availability.fail(_public_error(error, self.name, self.env.group))
        finally:
            self._ended = True
            started.set()
            self._fail_pending()
            if self._on_ended is not None:
                self._on_ended()

    def _fail_pending(self) -> None:
        """Fail all futures, because the thread has ended."""
        error = self._availability.failure or StoppedError("this runtime has been stopped")
        self._requests.fail_all(error)
        self._submissions.fail_all(error)
        self._peer.tenures.fail_all(error)

    async def _main(self, started: threading.Event) -> None:
        self._loop = LoopThread()
        async with (
            trio.open_nursery() as nursery,
            open_way(self.url, self._keys) as way,
            open_router(self.url, self._peer, way=way) as router,
        ):
            self._availability.open(nursery)
            node = self._open(router, self._loop)
            nursery.start_soon(node.run)
            nursery.start_soon(self._look_for_strangers, router.links[0])
            started.set()
            await self._stop_requested.wait()
            with trio.CancelScope(shield=True):
                await self._leave(node)
            nursery.cancel_scope.cancel()

    async def _look_for_strangers(self, first: Link) -> None:
        """Warn if the addresses that this process was given lead to two deployments."""
        addresses = split_addresses(self.url)
        if len(addresses) == 1:
            return
        with suppress(LinkError):
            welcome = await first.wait_connected()
            known = {} if welcome.slots is None else dict(welcome.slots.brokers)
            found = await find(
                [each for each in addresses if each not in known.values()], self._keys
            )
            at = known.get(welcome.broker, address_of(welcome, found) or self.url)
            wrong = flaw(self.url, [Found(at, welcome), *found])
            if wrong is not None:
                self._log.two_deployments(f"{wrong}. This process works with the first alone")

    def _open(self, router: Router, loop: LoopThread) -> NodeService:
        """Give the parts the router, and make the node."""
        sealed = self._sealed
        broker = router if sealed is None else SealedRouter(router, sealed)
        node = NodeService(
            self.env,
            broker,
            self._peer.clock,
            self.config,
            log=self._log.warn,
            log_failure=self._log.failure,
            loop_lock=self._loop_lock,
        )
        self._requests.send = broker.request
        self._submissions.open(router, loop)
        self._peer.open(router, node)
        self._node = node
        return node

    async def _leave(self, node: NodeService) -> None:
        if self._peer.serving or node.core.holding:
            async with trio.open_nursery() as nursery:
                if self._log.dedicated:
                    nursery.start_soon(self._explain_delay, node)
                await node.drain()
                nursery.cancel_scope.cancel()
        # The releases travel in the same frame as the link's goodbye.
        await trio.lowlevel.checkpoint()

    async def _explain_delay(self, node: NodeService) -> None:
        """Say why the node does not stop at once."""
        await trio.sleep(_SILENT_STOP_S)
        self._log.stopping(node.core.holding, self.config.drain_ms / 1000)


def _public_error(error: BaseException, name: str, group: str) -> BaseException:
    """Return the public error for the one that has ended the loop."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, NameTakenError):
        return NameInUseError(name, group)
    return error


def _turn(node: NodeService | None, loop: LoopThread | None) -> bool:
    from understudy.client.node_monitor import NodeMonitor  # programs that only call do without

    if node is None or loop is None:
        return True
    return NodeMonitor(node, loop, lambda: True).live().status == 200
