"""The broker's server: one trio task that owns the transport and drives the core.

Theory of operation
===================

**One loop.** A turn takes the store's answers and the peers' frames, lets the core make a step, and
sends what the step gave. Then the loop pauses until a frame comes, a connection closes, the store
answers, or the core's next step is due. Nothing else touches the core, so it needs no lock. Other
threads and tasks only leave an answer in a field and wake the loop.

**Commits.** `group_commit.py` commits the batches one after the other, and returns the frames that
may leave once each is durable. If enough waits for the next commit already (`BrokerCore.full`), the
loop reads no more frames until the commit is done; peers then wait, as their sockets fill up.

**Searches.** `searches.py` has the store make them, one after the other, on a thread that neither
commits nor lookups wait for.

**Failing.** If a commit or a lookup fails, it is not known what is on the disk. The server stops at
once and sends nothing more: no peer is told what may not be there. `serve` raises the reason. The
store may also fail by itself, while it brings older commits to its file; it then wakes the loop.

**Stopping in order.** A broker of a shared store first gives its slots to the others. Then a batch
under way is committed, and its messages are sent; peers are told that this broker leaves. Requests
that were not performed are asked again by their peers.

What is not perfect
===================

Frames and commits share one thread, as do the links to other brokers. Under full load it is the
broker's limit; further processors serve the nodes, SQLite's file and ZeroMQ's own thread only.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from functools import partial
from time import perf_counter
from typing import Final

import trio
import zmq
from msgspec.structs import replace

from understudy_broker.audit.audit_file import AuditFile
from understudy_broker.clock import Clock
from understudy_broker.core.audit_trail import AuditTrail
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.events import Event
from understudy_broker.core.outbox import Frame
from understudy_broker.core.pauses import PAUSES
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.monitoring.address import Place
from understudy_broker.monitoring.listener import Listener, MonitoringListenError, bind
from understudy_broker.server.audit import AuditWriter
from understudy_broker.server.group_commit import GroupCommit
from understudy_broker.server.keys import BrokerKeys, RightsWatch, gate_of
from understudy_broker.server.log_limit import LogLimit
from understudy_broker.server.logs import Log, log_to_logging
from understudy_broker.server.monitor import Monitor
from understudy_broker.server.reloads import Hangups, serve_reloads
from understudy_broker.server.searches import Searches
from understudy_broker.server.sharing import LEAVE_S, STALE_S, Sharing
from understudy_broker.server.slot_link import SlotLink
from understudy_broker.transport.loop_lock import LoopThread
from understudy_broker.transport.polling import SHORT_WAIT_S
from understudy_broker.transport.socket import POLLIN, Pause
from understudy_broker.transport.transport import Transport
from understudy_broker.transport.zap import Refusal
from understudy_broker.transport.zeromq_router import RouterTransport
from understudy_store.errors import StoreFailedError
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import Row
from understudy_store.store import LookupResult, Store
from understudy_store.zones import system_zone

#: How soon to send again to a peer whose queue was full. When the peer reads, the loop usually
#: wakes by itself.
RETRY_FULL_S: Final = 0.02
#: The longest pause. It bounds how late schedules follow a wall clock that is set, and what a
#: mistake about `due_at` could cost.
PAUSE_MAX_S: Final = 10.0
#: how often the log says that the broker takes everybody
REPEAT_INSECURE_S: Final = 3600.0
#: how long a stop in order may take to commit what was performed, from the request on
STOP_S: Final = 10.0
#: the same, at least, once this broker has tried to give its slots away
STOP_AT_LEAST_S: Final = 1.0


class Server:
    """A broker on a transport, from its first turn to its stop."""

    def __init__(
        self,
        store: Store,
        config: BrokerConfig,
        transport: Transport,
        log: Log,
        accepted: date | None,
        keys: PeerKeys | None = None,
    ) -> None:
        snapshot = store.snapshot
        wall_ns = time.time_ns if store.share is None else store.share.wall_ns
        self._clock = Clock(snapshot.now, accepted=accepted, wall_ns=wall_ns)
        machine = Machine(
            MachineConfig(limits=config.limits, sharded=config.slots is not None, zones=system_zone)
        )
        self._core = BrokerCore(machine, Dispatcher(config.credit_max), config)
        self._core.sessions.identity_of = transport.identity
        self._core.sessions.address_of = transport.peer_address
        if config.is_insecure:
            self._core.metrics.add_source(lambda: {"insecure": 1})
        self._audit = config.audit
        #: called after each turn, to have what is to be audited be written
        self.on_turn: Callable[[], None] | None = None
        self._core.searches.pauses.restore(store.fact(PAUSES))
        self._core.start(snapshot, self._clock(), self._clock.ahead_ms)
        #: None: no other broker has the store open
        self._sharing: Sharing | None = None
        self._store = store
        self._transport = transport
        self._log = log
        self._log_limit = LogLimit()
        self._stopping = False
        self._token = trio.lowlevel.current_trio_token()
        self._leave_until = math.inf
        #: when a stop in order ends at the latest; infinite, if nothing asks for time before it
        self._stop_until = math.inf
        #: the loop attends to what is asked of a distant store
        self._attends = store.is_remote and transport.waits_for_descriptors
        self._commits = GroupCommit(store, self._core, self._wake, attended=self._attends)
        self._searches = Searches(store, self._core, self._wake, config.archive)
        #: None: this broker owns all slots
        self.slot_link: SlotLink | None = None
        if config.slots is not None:
            self.slot_link = SlotLink(config, log, transport.wake, keys)
        if store.share is not None:
            self._sharing = Sharing(store, store.share, self._core, self._clock, log, self._wake)
            assert self.slot_link is not None
            self.slot_link.on_other_map = self._sharing.on_other_map
            self.slot_link.on_reachable = self._sharing.on_reachable
        #: An answer that came from the store's thread, until the next turn. Only the loop takes it
        #: away, and only then asks the store again, so one thread writes the field at a time.
        self._lookup_result: LookupResult | None = None
        #: The reason why the store failed by itself. Only a thread of the store writes it.
        self._store_failure: StoreFailedError | None = None
        #: open connections, as the core knows
        self._connections = 0
        #: at the end of the last turn, frames waited for peers that did not take them
        self._has_waiting = False

    async def run(self) -> None:
        """Make turns until `request_stop`, or until the store fails."""
        self._store.watch(self._on_store_failed)
        await self._transport.drive(self._turn)

    def knows(self, peer: bytes) -> bool:
        """Return whether a connection is that of a peer that has joined, or the pulse of one."""
        return peer in self._core.sessions or self._core.stalls.has_pulse(peer)

    def warn(self, text: str) -> None:
        """Write a warning to the log."""
        self._log("warning", text, {})

    def request_stop(self) -> None:
        """End `run` after the turn that is under way, or once others have the slots."""
        self._stopping = True
        if self._sharing is not None:
            self._sharing.leave()
            self._leave_until = trio.current_time() + LEAVE_S
            self._stop_until = trio.current_time() + STOP_S
        self._transport.wake()

    @property
    def _may_stop(self) -> bool:
        sharing = self._sharing
        return sharing is None or sharing.has_left or trio.current_time() >= self._leave_until

    def _turn(self) -> Pause | None:
        if self._stopping and self._may_stop:
            if self._sharing is not None:
                self._sharing.tell_what_is_left()
            return None
        self._take_answers()
        if self._sharing is not None:
            self._sharing.turn()
        self._compare_clocks()
        now = self._clock()
        if self._commits.batch is not None and self._core.full:
            self._lose(self._transport.take_lost(), now)
        else:
            self._receive(now)
        if self._has_waiting:
            self._lose(self._transport.flush(), now)
        if relied_on := self._core.stalls.take_relied_on():
            self._lose([peer for peer in relied_on if self._is_silent(peer)], now)
        if self._sharing is not None:
            # After the frames are there: if the process is paused from here on, its answers are
            # late, but they are as of a moment at which they had been asked for.
            self._core.held = not self._sharing.is_fresh
        due_at = self._step(now)
        self._searches.begin()
        if self.slot_link is not None:
            self.slot_link.send(self._core.take_requests(now))
        timeout_s = PAUSE_MAX_S if not (self._core.held or self._stopping) else STALE_S
        if due_at is not None:
            timeout_s = min(timeout_s, max(0, due_at - self._clock()) / 1000)
        if self._sharing is not None:
            timeout_s = min(timeout_s, self._sharing.pause_s())
        if self.on_turn is not None:
            self.on_turn()
        self._has_waiting = self._transport.has_waiting
        if self._has_waiting or self._core.has_deferred:
            timeout_s = min(timeout_s, RETRY_FULL_S)
        return self._pause(timeout_s)

    def _pause(self, timeout_s: float) -> Pause:
        """Return the pause after a turn, which may be brief if no thread is about to wake the loop.

        What the loop attends to comes soon. Shortly after work was handed out, the next frame is on
        its way, too.
        """
        commits, lookup = self._commits, self._store.attended_lookup.descriptor
        descriptors: tuple[int, ...] = () if lookup is None else (lookup,)
        may_poll = lookup is not None or not self._core.looking_up
        if commits.batch is None:
            is_brief = perf_counter() - commits.committed_at < SHORT_WAIT_S
            return Pause(timeout_s, POLLIN, may_poll and is_brief, descriptors)
        commit = self._store.attended_commit.descriptor
        if commit is not None:
            descriptors += (commit,)
        events = 0 if self._core.full else POLLIN
        return Pause(timeout_s, events, may_poll and commit is not None, descriptors)

    def _compare_clocks(self) -> None:
        ahead_ms = self._clock.ahead_ms
        text = self._clock.compare()
        if text is not None:
            self._log("warning", text, {})
            if self._clock.ahead_ms != ahead_ms:
                self._core.follow(self._clock.ahead_ms)

    def _receive(self, now: int) -> None:
        """Give the core the news of its peers, in the order that keeps leases fair.

        Connections that closed while the loop slept come first. Then silence is forgiven if the
        loop slept too long, before any frame is judged by it.
        """
        received = self._transport.receive()
        if self._transport.connections != self._connections:
            self._connections = self._transport.connections
            self._core.note_connections(self._connections, now)
        if received.lost:
            self._lose(received.lost, now)
        core = self._core
        if received.is_complete:
            core.mark_polled(now)
        for peer, frame in received.frames:
            core.receive(peer, frame, now)
        if flooding := core.take_flooding():
            self._lose(self._transport.take_lost(set(flooding)), now)
        if received.ended:
            self._lose(received.ended, now)
        if refusals := self._transport.take_refusals():
            self._write([_refusal_event(refusal) for refusal in refusals])
            if self._audit is not None:
                for refusal in refusals:
                    self._audit.stranger(refusal.why, refusal.address, refusal.key, now)

    def show_metrics(self, place: Place | None, is_required: bool) -> Listener | None:
        """Show metrics and health at a place; return what does so, to be stopped at the end.

        Raises
        ------
        MonitoringListenError
            They cannot be shown there, and must be.
        """
        if place is None:
            return None
        monitor = Monitor(
            self._core,
            self._commits,
            self._store,
            LoopThread(),
            self._clock,
            lambda: self._stopping,
        )
        try:
            listener = Listener(bind(place), monitor.pages)
        except MonitoringListenError as error:
            if is_required:
                raise
            self.warn(f"{error}. The broker runs without; say where with --metrics")
            return None
        self._log("info", f"metrics at http://{listener.place}/metrics", {})
        return listener

    def now(self) -> int:
        """Return the time by the broker's clock, epoch milliseconds."""
        return self._clock()

    def expel_revoked(self) -> None:
        """End the sessions of peers whose keys or places are no longer permitted, at once."""
        now = self._clock()
        self._core.expulsions.apply(self._transport.cut_revoked(), now)
        self._transport.wake()

    def _is_silent(self, peer: bytes) -> bool:
        """Return whether a connection that should bring pings has brought none for a lease."""
        silence_ms = self._transport.silence_ms(peer)
        return silence_ms is not None and silence_ms >= self._core.config.lease_ttl_ms

    def _lose(self, peers: list[bytes], now: int) -> None:
        for peer in peers:
            self._core.connection_lost(peer, now)

    def _step(self, now: int) -> int | None:
        """Let the core make a step, and carry out its results; return when the next one is due."""
        step = self._core.step(now, self._find, self._transport.is_waiting)
        if step.frames:
            self._send(step.frames)
        if step.events or self._log_limit.has_left_out:
            self._write(step.events)
        if step.batch is not None:
            frames = self._commits.commit(step.batch)
            if frames is not None:
                self._send(frames)
        return step.due_at

    def _write(self, events: list[Event]) -> None:
        """Write lines to the log, but not all if very many are alike."""
        now = perf_counter()
        for event in events:
            if self._audit is not None and event.text.startswith("expelled"):
                self._audit.add(self._clock(), "expelled", **event.fields, why=event.text)
            if self._log_limit.takes(event.text, now):
                self._log(event.level, event.text, event.fields)
        for text, count in self._log_limit.summaries(now):
            self._log("warning", "lines like this were left out", {"line": text, "count": count})

    def _send(self, frames: list[Frame]) -> None:
        for peer, frame in frames:
            put = self._transport.send(peer, frame)
            if put == "slow":
                self._core.metrics.peers_too_slow += 1
                self._core.connection_lost(peer, self._clock(), "does not read what it is sent")
            elif put == "gone":
                self._core.connection_lost(peer, self._clock())

    # The store -----------------------------------------------------------------------------------

    def _find(self, ids: set[str]) -> list[Row] | None:
        result = self._store.lookup(ids, self._on_lookup_done, attended=self._attends)
        if isinstance(result, StoreFailedError):
            raise result
        return result

    def _on_lookup_done(self, result: LookupResult) -> None:
        """Leave the answer for the loop; called on a thread of the store."""
        self._lookup_result = result
        self._wake()

    def _on_store_failed(self, failure: StoreFailedError) -> None:
        """Have the loop end; called on a thread of the store, while the loop may be idle."""
        self._store_failure = failure
        self._wake()

    def _wake(self) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._transport.wake, idempotent=True)

    def _take_answers(self) -> None:
        """Take what the store's threads have answered since the last turn."""
        if self._store_failure is not None:
            raise self._store_failure
        if self._attends:
            self._attend()
        found = self._lookup_result
        if found is not None:
            self._lookup_result = None
            if isinstance(found, StoreFailedError):
                raise found
            self._core.found(found)
        if self._commits.result is not None:
            self._send(self._commits.take_result())
        self._searches.take_answer()
        if self.slot_link is not None:
            for command, answer in self.slot_link.take_answers():
                self._core.answered(command, answer, self._clock())

    def _attend(self) -> None:
        """Take what has come to the loop itself."""
        found = self._store.attended_lookup.advance()
        if found is not None:
            self._lookup_result = found
        self._commits.advance()

    # Stopping ------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Commit what was performed, and tell the peers that this broker leaves."""
        now = trio.current_time()
        until = max(min(self._stop_until, now + STOP_S), now + STOP_AT_LEAST_S)
        with trio.move_on_at(until) as scope:
            scope.shield = True
            while self._commits.batch is not None or self._core.looking_up:
                if self._commits.result is None and self._lookup_result is None:
                    await self._transport.wait(0.1)
                self._take_answers()
                if self._commits.batch is None:
                    self._step(self._clock())
        self._send(self._core.stop())


def _refusal_event(refusal: Refusal) -> Event:
    fields: dict[str, object] = {"reason": refusal.why}
    if refusal.address:
        fields["address"] = refusal.address
    if refusal.key is not None:
        fields["key"] = refusal.key
    return Event("warning", "a connection was refused", fields)


async def serve(
    store: Store,
    config: BrokerConfig,
    listen: str,
    *,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ipc_mode: int = 0o600,
    stop: trio.Event | None = None,
    log: Log = log_to_logging,
    accepted_clock: date | None = None,
    keys: BrokerKeys | None = None,
    hangups: Hangups | None = None,
    audit: AuditFile | None = None,
    audit_required: bool = True,
    metrics: Place | None = None,
    metrics_required: bool = True,
    on_started: Callable[[str], None] | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a broker until `stop` is set, or until this is canceled.

    Parameters
    ----------
    store
        Open; the caller closes it afterwards.
    listen
        A ZeroMQ address; with port 0 the system chooses one.
    context
        For ``inproc`` addresses: the context that the peers use too. None: one of its own.
    ipc_mode
        The mode of the socket of an ``ipc`` address.
    log
        Writes the broker's events.
    accepted_clock
        The date that a person has confirmed, see `Clock`. Whether the clock is to be doubted before
        a start is for the caller to ask: `understudy_broker.clock.question`.
    keys
        The keys of the broker and of its peers; None: it takes everybody.
    hangups
        Says when the rights are to be read at once.
    audit
        The file of the audit, which the caller has opened and this closes; None: there is no audit.
    audit_required
        Refuse what has to be audited while the file cannot be written.
    metrics
        Where metrics and health are shown; None: nowhere.
    metrics_required
        Do not start if they cannot be shown there; otherwise only the log says so.
    on_started, task_status
        Told the address at which the broker listens.

    Raises
    ------
    ListenError
        The address is taken, is not this machine's, or is no address.
    MonitoringListenError
        Metrics cannot be shown where they must be.
    CommitFailedError, StoreFailedError
        The store failed; peers were told nothing that is not committed.
    """
    own: zmq.Context[zmq.Socket[bytes]] | None = None
    if context is None:
        context = own = zmq.Context()
    try:
        transport = RouterTransport.listen(
            context,
            listen,
            frame_bytes_max=config.frames.frame_bytes_max,
            outgoing_bytes_max=config.outgoing_bytes_max,
            busy_poll_s=config.busy_poll_us / 1e6,
            gate=gate_of(context, keys),
            ipc_mode=ipc_mode,
        )
        try:
            own_keys = None if keys is None else keys.for_brokers
            trail = None if audit is None else AuditTrail(is_required=audit_required)
            config = replace(config, audit=trail, counts_calls=metrics is not None)
            if keys is not None:
                config = replace(config, grant_of=keys.grant_of)
            server = Server(store, config, transport, log, accepted_clock, own_keys)
            listener = server.show_metrics(metrics, metrics_required)
            beside: list[Callable[[], Awaitable[None]]] = []
            if config.is_insecure:
                beside.append(partial(_warn_insecure, transport.address, log))
            writer: AuditWriter | None = None
            if audit is not None and trail is not None:
                writer = AuditWriter(audit, trail, server.now, log)
                server.on_turn = writer.notify
                beside.append(writer.run)
                _note_start(trail, server.now(), config, transport.address, keys)
            if keys is not None:
                beside += _beside_keys(keys, server, trail, config.name, hangups, log)
            try:
                await _serve(server, transport, context, stop, beside, on_started, task_status)
            finally:
                if listener is not None:
                    listener.stop()
                if writer is not None and trail is not None:
                    trail.add(server.now(), "stopped", broker=config.name)
                    writer.close()
        finally:
            transport.close()
    finally:
        if own is not None:
            own.term()


def insecure_text(listen: str) -> str:
    """Return the warning about an address that everybody can reach, where no keys are asked for."""
    return (
        f"{listen} can be reached by other machines, and without keys there is no authentication: "
        "anyone who can reach it can call, read and cancel everything (--insecure)"
    )


async def _warn_insecure(address: str, log: Log) -> None:
    """Say each hour that everybody may do everything."""
    while True:
        await trio.sleep(REPEAT_INSECURE_S)
        log("warning", insecure_text(address), {})


def _beside_keys(
    keys: BrokerKeys,
    server: Server,
    trail: AuditTrail | None,
    broker: str,
    hangups: Hangups | None,
    log: Log,
) -> list[Callable[[], Awaitable[None]]]:
    """Return the tasks that keep the rights up to date."""

    def note(what: str, details: dict[str, object]) -> None:
        if trail is not None:
            trail.add(server.now(), what, **details)
            if server.on_turn is not None:
                server.on_turn()

    watch = RightsWatch(keys, server.expel_revoked, log, note)
    tasks: list[Callable[[], Awaitable[None]]] = [watch.run]
    tasks += [partial(serve_reloads, keys, watch, broker, log)]
    if hangups is not None:
        tasks.append(partial(hangups.run, watch))
    return tasks


def _note_start(
    trail: AuditTrail, now: int, config: BrokerConfig, address: str, keys: BrokerKeys | None
) -> None:
    rights = None if keys is None else keys.digest
    where = {"broker": config.name, "deployment": config.deployment or None, "listen": address}
    trail.add(now, "started", **where, process=os.getpid(), rights_sha256=rights)


async def _serve(
    server: Server,
    transport: Transport,
    context: zmq.Context[zmq.Socket[bytes]],
    stop: trio.Event | None,
    beside: list[Callable[[], Awaitable[None]]],
    on_started: Callable[[str], None] | None,
    task_status: trio.TaskStatus[str],
) -> None:
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.watch)
            nursery.start_soon(transport.guard, server.knows, server.warn)
            for task in beside:
                nursery.start_soon(task)
            if stop is not None:
                nursery.start_soon(_stop_at, stop, server)
            if server.slot_link is not None:
                nursery.start_soon(server.slot_link.run, context)
            if on_started is not None:
                on_started(transport.address)
            task_status.started(transport.address)
            try:
                await server.run()
            except Exception as error:  # raised below, because here it would be in a group
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        if failure is None:
            await server.stop()
    if failure is not None:
        raise failure


async def _stop_at(stop: trio.Event, server: Server) -> None:
    await stop.wait()
    server.request_stop()
