"""The store of a broker that shares its database with others: the product's, over the model.

`Store`, its engine, `Sharing` and `GroupCommit` are real. Their threads are those of a simulated
process, and the broker's host is its main thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.simulation.observations import Memory, Violation
from tests.simulation.shared.driver import URL, Database
from tests.simulation.shared.ledger import Ledger
from tests.simulation.shared.server import Table
from tests.simulation.shared.threads import Process
from understudy_broker.core.outbox import Batch
from understudy_broker.server.group_commit import GroupCommit
from understudy_broker.server.server import STOP_S
from understudy_broker.server.sharing import CAME, LEAVE_S, WENT, Sharing
from understudy_store.changes import Snapshot
from understudy_store.engines.base import Opening, Share
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.errors import (
    StoreError,
    StoreFailedError,
    StoreFencedError,
    StoreRolledBackError,
)
from understudy_store.records import Row
from understudy_store.slots import shared_out
from understudy_store.store import LookupResult, Store

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost

T = TypeVar("T")
#: The pause before a broker is started again that has ended by itself.
RESTART_MS: Final = (1, 100, 1_000)
#: What the store says if the database was away for too long.
AWAY: Final = "has been away for"


class WatchedEngine(SharedPostgresEngine):
    """The engine, which tells the ledger what was loaded."""

    def __init__(self, opening: Opening, ledger: Ledger) -> None:
        super().__init__(URL, opening)
        self._ledger = ledger

    def load_slots(self, slots: Collection[int]) -> Snapshot:
        snapshot = super().load_slots(slots)
        self._ledger.note_loaded(self.writer, snapshot, slots)
        return snapshot


class SharedStore:
    """A part of a shared store; see `storage.Storage`."""

    def __init__(self, host: BrokerHost, database: Database, ledger: Ledger) -> None:
        self._host = host
        self._database = database
        self._ledger = ledger
        self.memory = Memory(ledger.durable)
        #: The present process; None: there is none.
        self.process: Process | None = None
        #: The id of its writer, once its store is open.
        self.writer: int | None = None
        self.slots: set[int] = set()
        #: Of the last tables that were looked at, the slots that are its own, and are to be.
        self._checked: tuple[Table, Table, set[int], set[int]] | None = None

    @property
    def address(self) -> str:
        return f"inproc://{self._host.name}"

    # The process ---------------------------------------------------------------------------------

    def open(self) -> None:
        host = self._host
        host.is_busy = True
        self.memory = Memory(self._ledger.durable)
        self.writer = None
        self.slots = set()
        self._checked = None
        self._is_unwanted = False
        self._found: LookupResult | None = None
        self._failure: StoreFailedError | None = None
        self._leave_until: int | None = None
        self._stop_until = 0
        self._commits: GroupCommit | None = None
        self.is_stopping = False
        self.process = process = Process(host.world, host.name, lambda: host.skew_ms)
        process.freeze(host.frozen_until)
        process.spawn(partial(self._open, process))

    def _open(self, process: Process) -> None:
        host = self._host
        share = Share(host.name, self.address)
        opening = Opening(
            tell=partial(host.world.say, host.name),
            is_unwanted=lambda: self._is_unwanted,
            share=share,
        )
        try:
            engine = WatchedEngine(opening, self._ledger)
            self.writer = engine.writer
            self._ledger.writers[engine.writer] = self.memory
            self._ledger.processes[engine.writer] = process
            store = Store(engine)
        except StoreError as error:
            why = f"has not opened its store: {error}"
            self._check_explained(error)
            process.later(0, lambda: self._over(why))
        else:
            process.later(0, lambda: self._opened(process, store))

    def _opened(self, process: Process, store: Store) -> None:
        self._store = store
        share = store.share
        assert share is not None

        def wall_ns() -> int:
            with process.running():
                return share.wall_ns()

        host = self._host
        host.world.counts["openings"] += 1
        host.world.say(host.name, "has opened its store, as writer", share.writer)
        host.begin(store.snapshot, wall_ns)

    def attach(self) -> None:
        host, store, process = self._host, self._store, self.process
        share = store.share
        assert share is not None
        assert process is not None
        wake = process.news = partial(host.wake, 0)
        admit = host.machine.admit

        def admitted(snapshot: Snapshot, now: int) -> None:
            slots = self._ledger.slots_of(snapshot)
            admit(snapshot, now)
            self.slots |= slots
            is_fenced = self._ledger.is_fenced(self.writer)
            host.machine.admitted(self._ledger.rows_in(slots), is_fenced=is_fenced)

        host.machine.admit = admitted  # type: ignore[method-assign]
        expel = host.machine.expel

        def expelled(slots: Collection[int]) -> list[str]:
            self.slots.difference_update(slots)
            return expel(slots)

        host.machine.expel = expelled  # type: ignore[method-assign]
        with process.running():
            self._commits = GroupCommit(store, host.core, wake, attended=True)
            self.sharing = Sharing(store, share, host.core, host.clock, self._log, wake)
            store.watch(self._on_failure)
        assert host.peer is not None
        host.peer.sharing = self.sharing

    def _log(self, level: str, text: str, fields: Mapping[str, Any]) -> None:
        world = self._host.world
        world.say(self._host.name, text, dict(fields))
        if text in {CAME, WENT}:
            world.counts[text] += fields["slots"]

    def _on_failure(self, failure: StoreFailedError) -> None:
        self._failure = failure
        self._host.wake(0)

    def history(self) -> Mapping[str, Row]:
        return self._ledger.rows_in(self.slots)

    def end(self) -> None:
        """Kill the process, or its machine."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            world = self._host.world
            is_silent = not world.fair and world.rng.random() < 0.3
            self._database.left(process, is_silent=is_silent)

    def freeze(self, until: int) -> None:
        if self.process is not None:
            self.process.freeze(until)

    def leave(self) -> bool:
        world, process = self._host.world, self.process
        assert process is not None
        with process.running():
            self.sharing.leave()
        self._leave_until = world.now + round(LEAVE_S * 1000)
        return True

    def failed(self, error: Exception) -> None:
        """End the process, which gives its connections back before."""
        self._check_explained(error)
        self._close(f"ends: {error}")

    def _close(self, why: str) -> None:
        host, process, store = self._host, self.process, self._store
        assert process is not None
        host.close_connections(why)
        host.is_busy = True
        self.is_stopping = True

        def close() -> None:
            store.close()
            process.later(0, lambda: self._over("has ended"))

        process.spawn(close)

    def _over(self, why: str) -> None:
        host, process = self._host, self.process
        assert process is not None
        host.world.say(host.name, why)
        self.process = None
        process.kill()
        self._database.left(process, is_silent=False)
        host.over()

    def _check_explained(self, error: BaseException) -> None:
        """Check that a fault is the reason for which a store has failed; count it."""
        world, cause = self._host.world, error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, StoreRolledBackError):
            world.counts["ended: commits are lost"] += 1
            explained = self._ledger.has_lost
        elif self._ledger.is_fenced(self.writer) or isinstance(cause, StoreFencedError):
            world.counts["ended: fenced"] += 1
            explained = self._ledger.is_fenced(self.writer)
        else:
            world.counts["ended: the database was away"] += 1
            explained = AWAY in str(cause) or "is alive" in str(cause)
        if not explained:
            raise Violation(f"a store fails without a reason: {error!r}, {cause!r}") from error

    # Turns ---------------------------------------------------------------------------------------

    @property
    def committing(self) -> Batch | None:
        return None if self._commits is None else self._commits.batch

    @committing.setter
    def committing(self, _: Batch | None) -> None:
        raise AssertionError("the group commit has it")

    @property
    def is_fresh(self) -> bool:
        return self.within(lambda: self.sharing.is_fresh)

    @property
    def is_idle(self) -> bool:
        return self.committing is None and not self.misplaced()

    def within(self, act: Callable[[], T]) -> T:
        process = self.process
        assert process is not None
        with process.running():
            return act()

    def take(self) -> None:
        host, commits = self._host, self._commits
        assert commits is not None
        if self._failure is not None:
            raise self._failure
        self.within(commits.advance)
        attended = self.within(self._store.attended_lookup.advance)
        if attended is not None:
            self._found = attended
        if self._found is not None:
            found, self._found = self._found, None
            if isinstance(found, StoreFailedError):
                raise found
            host.core.found(found)
        if commits.result is not None:
            host.send(commits.take_result())
        if self.is_stopping:
            self._stop()

    def turn(self) -> None:
        if self._leave_until is not None and (
            self.sharing.has_left or self._host.world.now >= self._leave_until
        ):
            self.is_stopping = True
            self._stop_until = self._host.world.now + round(STOP_S * 1000)
            self._stop()
        else:
            self.within(self.sharing.turn)
            pause_s = self.within(self.sharing.pause_s)
            if pause_s != math.inf:
                self._host.wake(math.ceil(pause_s * 1000))

    def _stop(self) -> None:
        """Have everything committed, and then leave."""
        host = self._host
        if self.committing is None:
            host.step(host.clock())
        is_done = self.committing is None and not host.core.looking_up
        if is_done or host.world.now >= self._stop_until:
            host.say_goodbye()
            self._close("has left")

    def find(self, ids: set[str]) -> list[Row] | None:
        lookup = partial(self._store.lookup, ids, self._on_found, attended=True)
        result: LookupResult | None = self.within(lookup)
        if isinstance(result, StoreFailedError):
            raise result
        return result

    def _on_found(self, found: LookupResult) -> None:
        self._found = found
        self._host.wake(0)

    def commit(self, batch: Batch) -> None:
        commits = self._commits
        assert commits is not None
        frames = self.within(lambda: commits.commit(batch))
        assert frames is None

    # The end -------------------------------------------------------------------------------------

    def misplaced(self) -> list[str]:
        """Return what is wrong with the slots of this broker."""
        host, tables = self._host, self._database.server.tables
        known = self._checked
        if known is not None and known[0] is tables["slot"] and known[1] is tables["writer"]:
            mine, due = known[2:]
        else:
            living = self._ledger.living()
            mine = {slot for slot, row in tables["slot"].items() if row.writer == self.writer}
            places = shared_out([name for _, name in living]) if living else []
            due = {slot for slot, place in enumerate(places) if living[place][0] == self.writer}
            self._checked = tables["slot"], tables["writer"], mine, due
        if mine != self.slots:
            return [f"{host.name} has {len(self.slots)} slots, and is to have {len(mine)}"]
        if mine != due:
            return [f"{host.name} has {len(mine)} slots, and its share is {len(due)}"]
        return []

    def unfinished(self) -> list[str]:
        """Return what is wrong with the slots of this broker, or is pending in them."""
        if found := self.misplaced():
            return found
        host = self._host
        rows = self._ledger.rows_in(self.slots)
        pending = [id_ for id_, row in rows.items() if not row.promise.settled]
        return [f"{host.name} has {pending}"] if pending else []

    def waiting(self) -> list[tuple[str, str]]:
        return self._ledger.disk.waiting
