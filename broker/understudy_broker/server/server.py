"""The broker's shell: one trio task that owns the ROUTER socket and drives the core.

The store commits, at once or on a thread of its own; the loop goes on taking in and applying
meanwhile. When a commit fails the broker fails stop: nothing that was not sent is sent, and `serve`
raises.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, TypeAlias

import trio
import zmq

from understudy_broker.address import DEFAULT_ADDRESS
from understudy_broker.clock import Clock
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.outbox import Batch, Frame
from understudy_broker.errors import CommitFailedError, ListenError
from understudy_broker.transport.monitor import ConnectionMonitor, descriptor_of
from understudy_broker.transport.polling import SHORT_WAIT_S
from understudy_broker.transport.send_queues import InFlightBytes, SendQueues, Sent
from understudy_broker.transport.socket import Pause, TrioSocket
from understudy_store.engines.base import Read
from understudy_store.errors import StoreFailedError
from understudy_store.limits import KIB, MIB
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import Row
from understudy_store.store import CommitResult, LookupResult, Store

#: level, text, fields
Log: TypeAlias = Callable[[str, str, dict[str, Any]], None]

#: frames in one peer's pipe; what does not fit waits in `SendQueues`, where bytes are counted
PIPE_FRAMES_MAX: Final = 256
#: the same in bytes, of frames that are large; those go without a copy, so that it is known when
#: they have left
PIPE_BYTES_MAX: Final = 8 * MIB
LARGE_BYTES_MIN: Final = 128 * KIB
#: how often to try again a peer whose pipe was full; its reading wakes the loop as well
RETRY_FULL_S: Final = 0.02
#: for the batch in flight when the broker stops, and for Bye to reach the peers
STOP_S: Final = 10.0
LINGER_MS: Final = 250

_logger = logging.getLogger("understudy.broker")


def log_to_logging(level: str, text: str, fields: dict[str, Any]) -> None:
    """The log of a broker that nobody gave one: the standard library's."""
    details = " ".join(f"{key}={value}" for key, value in fields.items())
    _logger.log(getattr(logging, level.upper()), "%s %s", text, details)


def bind_router(context: zmq.Context[Any], listen: str, frame_bytes_max: int) -> zmq.Socket[bytes]:
    """A bound ROUTER with all its options set.

    Raises
    ------
    ListenError
        The address is taken, not this machine's, or no address.
    """
    router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    router.set(zmq.LINGER, LINGER_MS)
    router.set(zmq.ROUTER_MANDATORY, 1)
    router.set(zmq.ROUTER_HANDOVER, 0)
    router.set(zmq.SNDHWM, PIPE_FRAMES_MAX)
    router.set(zmq.RCVHWM, PIPE_FRAMES_MAX)
    # Larger than what is taken: a frame past the bound is refused in words, not by hanging up.
    router.set(zmq.MAXMSGSIZE, 2 * frame_bytes_max)
    router.set(zmq.TCP_KEEPALIVE, 1)
    router.set(zmq.TCP_KEEPALIVE_IDLE, 30)
    router.set(zmq.TCP_KEEPALIVE_INTVL, 10)
    router.set(zmq.TCP_KEEPALIVE_CNT, 3)
    router.set(zmq.BACKLOG, 1024)
    try:
        router.bind(listen)
    except zmq.ZMQError as error:
        router.close(0)
        raise ListenError(_why_not(listen, error)) from None
    return router


def _why_not(listen: str, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"the address {listen} is in use: another broker, or another program, listens there. "
            "Stop it, or choose another address"
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"cannot listen at {listen}: this machine has no such address"
    if error.errno == errno.EACCES:
        return f"cannot listen at {listen}: permission denied"
    return f"cannot listen at {listen}: {error.strerror}. An address looks like {DEFAULT_ADDRESS}"


class _Shell:
    """The state of one `serve`."""

    def __init__(
        self, store: Store, config: BrokerConfig, router: zmq.Socket[bytes], log: Log
    ) -> None:
        snapshot = store.snapshot
        self.clock = Clock(snapshot.now)
        machine = Machine(MachineConfig(limits=config.limits))
        self.core = BrokerCore(machine, Dispatcher(config.credit_max), config)
        self.core.start(snapshot, self.clock())
        self.store = store
        self.router = TrioSocket(router, config.busy_poll_us / 1e6)
        self.monitor = ConnectionMonitor(router)
        self.log = log
        self.outgoing = SendQueues(self._send_frame, config.outgoing_bytes_max)
        self.pipes = InFlightBytes(PIPE_BYTES_MAX)
        self.stopping = False
        self._token = trio.lowlevel.current_trio_token()
        self._committing: Batch | None = None
        #: answers of the store that have come from its threads
        self._result: CommitResult | None = None
        self._found: LookupResult | None = None
        self._committed_at = 0.0
        #: both ways between connections and peers; descriptors are used again after a close
        self._peers: dict[int, list[bytes]] = {}
        self._descriptors: dict[bytes, int] = {}
        #: descriptors that no connection has any more
        self._closed: set[int] = set()
        self.endpoint = router.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._has_descriptors = not self.endpoint.startswith("inproc")

    async def run(self) -> None:
        """Until `stopping`: everything that is taken in is answered, or refused."""
        await self.router.drive(self._turn_and_pause)

    def _turn_and_pause(self) -> Pause | None:
        if self.stopping:
            return None
        due_at = self._turn()
        timeout_s = 3600.0 if due_at is None else max(0, due_at - self.clock()) / 1000
        if self.outgoing or self.core.has_deferred:
            timeout_s = min(timeout_s, RETRY_FULL_S)
        if self._committing is not None:
            return Pause(timeout_s, 0) if self.core.full else Pause(timeout_s)
        # Work that was handed out just now: the next message is on its way.
        return Pause(timeout_s, brief=perf_counter() - self._committed_at < SHORT_WAIT_S)

    def _turn(self) -> int | None:
        """Take in, let the core make a step, and send; returns when the next step is due."""
        self._take_results()
        now = self.clock()
        if self.core.full and self._committing is not None:
            self._lose_connections(now)
        else:
            self._take_in(now)
        if self.outgoing:
            for peer in self.outgoing.flush():
                self.core.connection_lost(peer, now)
        return self._step(now)

    def _step(self, now: int) -> int | None:
        step = self.core.step(now, self._find, self.outgoing.has_frames_for)
        self._send(step.frames)
        for event in step.events:
            self.log(event.level, event.text, event.fields)
        if step.batch is not None:
            self._commit(step.batch)
        return step.due_at

    # In ----------------------------------------------------------------------------------------

    def _take_in(self, now: int) -> None:
        received, all_of_it = self.router.receive_routed_nowait()
        # Closed connections first: the descriptor of a new peer may have belonged to another.
        known = self._descriptors
        self._lose_connections(now, look=any(peer not in known for peer, _ in received))
        if all_of_it:
            self.core.mark_polled(now)
        for peer, frame in received:
            # Anything but one part after the routing id is no frame of ours.
            self.core.receive(peer, b"" if frame is None else frame.buffer, now)
            if frame is not None and self._has_descriptors and peer not in self._descriptors:
                self._remember_connection(peer, frame, now)

    def _remember_connection(self, peer: bytes, frame: zmq.Frame, now: int) -> None:
        descriptor = descriptor_of(frame)
        if descriptor is None or peer not in self.core.sessions:
            return
        if descriptor in self._closed:
            # it came and went between two turns: nobody will tell of it again
            self._lost(peer, now, "connection closed")
            return
        # Another peer with the same one has gone, in the same way, and either may be heard first:
        # ZeroMQ gives each peer its turn. What is sent to the one that has gone does not arrive.
        self._peers.setdefault(descriptor, []).append(peer)
        self._descriptors[peer] = descriptor

    def _lose_connections(self, now: int, *, look: bool = False) -> None:
        for event in self.monitor.drain(force=look and self._has_descriptors):
            if event.event == zmq.Event.DISCONNECTED:
                self._closed.add(event.value)
                for peer in self._peers.pop(event.value, ()):
                    self._descriptors.pop(peer, None)
                    self._lost(peer, now, "connection closed")
            elif event.event == zmq.Event.ACCEPTED:
                self._closed.discard(event.value)

    def _lost(self, peer: bytes, now: int, reason: str) -> None:
        self.outgoing.drop(peer)
        self.pipes.drop(peer)
        self.core.connection_lost(peer, now, reason)

    # Out ---------------------------------------------------------------------------------------

    def _send_frame(self, peer: bytes, frame: bytes) -> Sent:
        try:
            if len(frame) < LARGE_BYTES_MIN:
                return "sent" if self.router.send_nowait([peer, frame]) else "full"
            if self.pipes.full(peer):
                return "full"
            tracker = self.router.send_tracked_nowait([peer, frame])
            if tracker is None:
                return "full"
            self.pipes.put(peer, tracker, len(frame))
            return "sent"
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return "gone"
            raise

    def _send(self, frames: list[Frame]) -> None:
        for peer, frame in frames:
            put = self.outgoing.put(peer, frame)
            if put == "slow":
                self.core.metrics.peers_too_slow += 1
                self._lost(peer, self.clock(), "does not read what it is sent")
            elif put == "gone":
                self._lost(peer, self.clock(), "connection closed")

    # The store ---------------------------------------------------------------------------------

    def _find(self, ids: set[str]) -> list[Row] | None:
        result = self.store.lookup(ids, self._on_found)
        if isinstance(result, StoreFailedError):
            raise result
        return result

    def _commit(self, batch: Batch) -> None:
        self._committing = batch
        reads = [Read(owed.command, owed.now) for owed in batch.reads]
        result = self.store.commit(batch.changes, reads, self._on_committed)
        if result is not None:
            self._finish_commit(result)

    def _on_found(self, result: LookupResult) -> None:
        """On a thread of the store."""
        self._found = result
        self._kick()

    def _on_committed(self, result: CommitResult) -> None:
        """On a thread of the store."""
        self._result = result
        self._kick()

    def _kick(self) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.router.wake, idempotent=True)

    def _take_results(self) -> None:
        """Take what the store answered since the last turn."""
        found, result = self._found, self._result
        if found is not None:
            self._found = None
            if isinstance(found, StoreFailedError):
                raise found
            self.core.found(found)
        if result is not None:
            self._result = None
            self._finish_commit(result)

    def _finish_commit(self, result: CommitResult) -> None:
        batch, self._committing = self._committing, None
        assert batch is not None
        self._committed_at = perf_counter()
        if isinstance(result, StoreFailedError):
            raise CommitFailedError(f"{result}. The broker has stopped") from result
        self._send(self.core.committed(batch, result))

    # Stopping ----------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Finish what was taken in, and tell the peers that this broker leaves."""
        with trio.move_on_after(STOP_S, shield=True):
            while self._committing is not None or self.core.looking_up:
                if self._result is None and self._found is None:
                    await self.router.wait(0.1, events=0)
                self._take_results()
                if self._committing is None:
                    self._step(self.clock())
        self._send(self.core.stop())

    def close(self) -> None:
        self.monitor.close()
        self.router.close(LINGER_MS)


async def serve(
    store: Store,
    config: BrokerConfig,
    listen: str,
    *,
    context: zmq.Context[Any] | None = None,
    stop: trio.Event | None = None,
    log: Log = log_to_logging,
    on_started: Callable[[str], None] | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a broker until `stop` is set or this is cancelled.

    Parameters
    ----------
    store
        Open; the caller closes it afterwards.
    listen
        A ZeroMQ address; with port 0 the system chooses one.
    context
        For ``inproc``: the context that the peers use too.
    on_started, task_status
        Told the address it listens at.

    Raises
    ------
    ListenError
        The address cannot be had.
    CommitFailedError
        The store failed; peers were sent nothing that is not committed.
    """
    own: zmq.Context[Any] | None = None
    if context is None:
        context = own = zmq.Context()
    try:
        router = bind_router(context, listen, config.frames.frame_bytes_max)
        try:
            shell = _Shell(store, config, router, log)
        except BaseException:
            router.close(0)
            raise
        await _serve(shell, stop, on_started, task_status)
    finally:
        if own is not None:
            own.term()


async def _serve(
    shell: _Shell,
    stop: trio.Event | None,
    on_started: Callable[[str], None] | None,
    task_status: trio.TaskStatus[str],
) -> None:
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_wake_for_connections, shell)
            if stop is not None:
                nursery.start_soon(_stop_at, stop, shell)
            if on_started is not None:
                on_started(shell.endpoint)
            task_status.started(shell.endpoint)
            try:
                await shell.run()
            except Exception as error:  # raised below, bare: not inside a group
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        try:
            if failure is None:
                await shell.stop()
        finally:
            shell.close()
    if failure is not None:
        raise failure


async def _wake_for_connections(shell: _Shell) -> None:
    """Let the loop look at the monitor as soon as there is something to see."""
    while True:
        await shell.monitor.wait()
        shell.router.wake()
        # The loop runs and drains the monitor before this looks again.
        await trio.lowlevel.checkpoint()


async def _stop_at(stop: trio.Event, shell: _Shell) -> None:
    await stop.wait()
    shell.stopping = True
    shell.router.wake()
