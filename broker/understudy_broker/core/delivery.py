"""Delivery: settlements are told, tasks and unblocks go to the addresses that they name. Pure.

The scheme of an address says how it is reached: the table `schemes` has an entry for each.
``poll://`` is for peers that keep a connection to this broker (`PollScheme`), ``slot://`` for other
brokers (`BetweenSlots`), ``http://`` and several others are for carriers (`RelayScheme`). An
address whose scheme has no entry can only come from the store of a newer broker; it is not
delivered to, which is logged once, and stays owed.

A scheme is told of settlements, and asked for assignments, only once an address of it has come. So
schemes that nobody uses cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from understudy_broker.core.events import EventLog
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.progress import ProgressBook
from understudy_broker.core.quarantine import Quarantine
from understudy_broker.core.sessions import Sessions
from understudy_broker.core.watches import Watches
from understudy_broker.protocol.messages import Revoked, Settled
from understudy_store.machine import Execute, Machine, Settlement
from understudy_store.records import PromiseRecord, Value

#: the scheme of an address without one
DEFAULT_SCHEME: Final = "poll"
#: A param with more bytes is not sent again to peers that wait for the value.
_PARAM_BYTES_MAX: Final = 1_024


class Scheme(Protocol):
    """Delivery to the addresses of one scheme."""

    def offer(self, execute: Execute, now: int) -> None:
        """Take a pending task, to be assigned to a node when one has room."""
        ...

    def withdraw(self, task_id: str) -> None:
        """Forget a task that was offered and has settled meanwhile."""
        ...

    def assign(self, now: int) -> None:
        """Acquire offered tasks for nodes, and send them with the next commit."""
        ...

    def unblock(self, address: str, promise: PromiseRecord) -> None:
        """Send a settled promise to an address, again and again until it is acknowledged."""
        ...


class Undeliverable:
    """Addresses of a scheme that has no entry in the table."""

    def __init__(self, scheme: str, events: EventLog) -> None:
        self._scheme = scheme
        self._events = events
        self._told = False

    def _tell(self, address: str) -> None:
        if not self._told:
            self._told = True
            text = "no delivery to addresses of this scheme: they wait for a broker that knows it"
            self._events.add("error", text, scheme=self._scheme, address=address)

    def offer(self, execute: Execute, _now: int) -> None:
        """Log it; the store offers the task again later."""
        self._tell(execute.target)

    def withdraw(self, _task_id: str) -> None:
        """Do nothing, because nothing is kept."""

    def assign(self, _now: int) -> None:
        """Do nothing, because nothing is kept."""

    def unblock(self, address: str, _promise: PromiseRecord) -> None:
        """Log it; the store keeps the unblock."""
        self._tell(address)


class Delivery:
    """Tells settlements and revocations to peers, and hands tasks and unblocks to their schemes."""

    def __init__(
        self,
        machine: Machine,
        sessions: Sessions,
        outbox: Outbox,
        watches: Watches,
        progress: ProgressBook,
        quarantine: Quarantine,
        schemes: Mapping[str, Scheme],
        events: EventLog,
        metrics: Metrics,
    ) -> None:
        self._machine = machine
        self._sessions = sessions
        self._outbox = outbox
        self._watches = watches
        self._progress = progress
        self._quarantine = quarantine
        self._table = schemes
        #: those of which addresses have come
        self._schemes: dict[str, Scheme] = {}
        #: the same, each once
        self._used: tuple[Scheme, ...] = ()
        self._events = events
        self._metrics = metrics
        self._use(DEFAULT_SCHEME)

    def scheme_of(self, address: str) -> Scheme:
        """Return the delivery to an address."""
        name, separator, _ = address.partition("://")
        if not separator:
            name = DEFAULT_SCHEME
        return self._schemes.get(name) or self._use(name)

    def _use(self, name: str) -> Scheme:
        scheme = self._table.get(name) or Undeliverable(name, self._events)
        self._schemes[name] = scheme
        self._used = tuple(dict.fromkeys(self._schemes.values()))
        return scheme

    def settle(self) -> None:
        """Tell watchers and holders of settlements and revocations, and send new unblocks."""
        settled = self._machine.take_settled()
        if settled:
            self._tell_settled(settled)
        by_pid = self._sessions.by_pid
        for revocation in self._machine.take_revoked():
            loser = by_pid.get(revocation.pid)
            if loser is not None:
                revoked = Revoked(revocation.id, revocation.version, revocation.reason)
                self._outbox.add(loser.peer, revoked)
        for address, record in self._machine.take_unblocks():
            self.scheme_of(address).unblock(address, record)

    def _tell_settled(self, settlements: list[Settlement]) -> None:
        """Tell each peer once of all that it watches or waits for as a holder."""
        told: dict[bytes, list[PromiseRecord]] = {}
        by_pid = self._sessions.by_pid
        self._metrics.settled += len(settlements)
        if self._progress:
            self._progress.settle(each.promise.id for each in settlements)
        for settlement in settlements:
            promise = _without_large_param(settlement.promise)
            for scheme in self._used:
                scheme.withdraw(promise.id)
            watchers = self._watches.settle(promise.id)
            holder = None if settlement.holder is None else by_pid.get(settlement.holder)
            if holder is not None and not (watchers and holder in watchers):
                told.setdefault(holder.peer, []).append(promise)
            for watcher in watchers or ():
                told.setdefault(watcher.peer, []).append(promise)
        for peer, promises in told.items():
            self._outbox.add(peer, Settled(promises))

    def dispatch(self, now: int) -> None:
        """Offer the tasks that became pending, unless they are parked, and assign what can be."""
        for execute in self._machine.take_executes():
            if not (execute.crash_count and self._quarantine.halt_if_poisoned(execute, now)):
                self.scheme_of(execute.target).offer(execute, now)
        for scheme in self._used:
            scheme.assign(now)


def _without_large_param(promise: PromiseRecord) -> PromiseRecord:
    data = promise.param.data
    if data is None or len(data) <= _PARAM_BYTES_MAX:
        return promise
    return msgspec.structs.replace(promise, param=Value(promise.param.headers))
