"""A model of a PostgreSQL server: tables, sessions, row locks, commits, and what goes wrong.

Each statement is done at READ COMMITTED: it sees what was committed when it began, and what its own
transaction has written; a row that it locks is looked at again once it has the lock. Locks are held
until the end of the transaction. A commit takes the time of a disk. What has become of a statement
whose connection was cut, its client does not know: it may never have arrived, may come late, or may
be done.

Tables are never changed but replaced, so each committed state can be kept, and be what a standby
has that lost the later ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from psycopg import OperationalError, errors

from understudy_store.slots import SLOTS

if TYPE_CHECKING:
    from tests.simulation.shared.driver import SimConnection
    from tests.simulation.shared.ledger import Ledger
    from tests.simulation.world import World

Key: TypeAlias = Any
Table: TypeAlias = Mapping[Key, Any]
Tables: TypeAlias = Mapping[str, Table]
#: Suspends the statement of a session until the session is told to go on.
Pause: TypeAlias = Callable[["Session"], None]
Steps: TypeAlias = Generator[Pause, None, Any]

SHARE: Final = "share"
EXCLUSIVE: Final = "exclusive"
#: How long each state is kept that a standby may have.
HISTORY_MS: Final = 2_000


class WriterRow(NamedTuple):
    name: str
    session: int
    fenced: bool
    address: str | None
    joined: bool


class SlotRow(NamedTuple):
    writer: int | None
    epoch: int


class Result(NamedTuple):
    """The answer to a statement."""

    changed: int
    rows: Sequence[tuple[Any, ...]] = ()


def _empty() -> dict[str, Table]:
    names = ("writer", "pulse", "progress", "journal", "promise", "callback", "listener")
    tables: dict[str, Table] = {
        name: {} for name in (*names, "unblock", "schedule", "attempt", "sequence")
    }
    tables["meta"] = {"now": 0, "store": "sim"}
    tables["slot"] = {slot: SlotRow(None, 0) for slot in range(SLOTS)}
    return tables


class _Lock:
    """The lock of a row, or of something else that has a name."""

    __slots__ = ("holders", "waiting")

    def __init__(self) -> None:
        self.holders: dict[Session, str] = {}
        self.waiting: list[tuple[Session, str]] = []

    def admits(self, session: Session, mode: str) -> bool:
        """Return whether a session can have it in this mode beside those that have it."""
        return all(
            other is session or (held == mode == SHARE) for other, held in self.holders.items()
        )


class Server:
    """The database as its clients see it: a primary, or the standby that has taken its place.

    Parameters
    ----------
    ledger
        Hears of each commit.
    """

    def __init__(self, world: World, ledger: Ledger) -> None:
        self.world = world
        self.ledger = ledger
        self.tables: Tables = _empty()
        self.is_up = True
        #: How far its clock is ahead.
        self.skew_ms = 0
        self.sessions: dict[Session, None] = {}
        self._locks: dict[Key, _Lock] = {}
        self._history: deque[tuple[int, Tables]] = deque()
        self._sums: tuple[Table, int] | None = None

    @property
    def now_ms(self) -> int:
        """What its clock shows."""
        return self.world.now + self.skew_ms

    def version(self, slots: Table) -> int:
        """Return the sum of the epochs."""
        if self._sums is None or self._sums[0] is not slots:
            self._sums = slots, sum(row.epoch for row in slots.values())
        return self._sums[1]

    def write(self, overlay: Mapping[str, Table], taken: Sequence[int] = ()) -> None:
        """Make what a transaction has written the state of the database.

        Parameters
        ----------
        taken
            Writers that it has taken over from.
        """
        before = self.tables
        self._history.append((self.world.now, before))
        while self._history[0][0] < self.world.now - HISTORY_MS:
            self._history.popleft()
        tables = dict(before)
        for name, changed in overlay.items():
            rows = {**tables[name], **changed}
            for key in [key for key, row in changed.items() if row is None]:
                del rows[key]
            tables[name] = rows
        self.tables = tables
        self.ledger.on_commit(before, overlay, taken)

    # Locks ---------------------------------------------------------------------------------------

    def try_lock(self, session: Session, key: Key, mode: str) -> bool:
        """Lock a row if nobody else has it in a mode that excludes this."""
        lock = self._locks.setdefault(key, _Lock())
        if not lock.admits(session, mode):
            return False
        if lock.holders.get(session) != EXCLUSIVE:
            lock.holders[session] = mode
        session.locks.add(key)
        return True

    def wait_for(self, session: Session, key: Key, mode: str) -> None:
        """Let a session wait for a lock; raise if others wait for it in turn."""
        self.world.counts["waits for a lock"] += 1
        if self._waits_for(key, session, set()):
            self.world.counts["deadlocks"] += 1
            raise errors.DeadlockDetected("deadlock detected")
        self._locks[key].waiting.append((session, mode))
        session.waits_for = key

    def _waits_for(self, key: Key, session: Session, seen: set[Key]) -> bool:
        """Return whether a holder of a lock waits for what this session has."""
        seen.add(key)
        for other in self._locks[key].holders:
            wanted = other.waits_for
            if other is session or wanted is None or wanted in seen:
                continue
            if session in self._locks[wanted].holders or self._waits_for(wanted, session, seen):
                return True
        return False

    def release(self, session: Session) -> None:
        """Release all locks of a session, and let others have them."""
        if session.waits_for is not None:
            lock = self._locks[session.waits_for]
            lock.waiting = [each for each in lock.waiting if each[0] is not session]
            session.waits_for = None
        keys, session.locks = session.locks, set()
        for key in sorted(keys, key=repr):
            lock = self._locks[key]
            del lock.holders[session]
            waiting, lock.waiting = lock.waiting, []
            for other, mode in waiting:
                if self.try_lock(other, key, mode):
                    other.waits_for = None
                    self.world.after(0, other.goes_on())
                else:
                    lock.waiting.append((other, mode))
            if not lock.holders and not lock.waiting:
                del self._locks[key]

    # What goes wrong -----------------------------------------------------------------------------

    def end_sessions(self, names: Iterable[str]) -> int:
        """End the sessions of these names; return how many there were."""
        wanted = set(names)
        ended = [session for session in self.sessions if session.name in wanted]
        for session in ended:
            session.end()
        return len(ended)

    def stop(self) -> None:
        """End all sessions; no new one begins before `start`."""
        self.is_up = False
        for session in list(self.sessions):
            session.end()

    def start(self) -> None:
        self.is_up = True

    def lose_commits(self, since_ms: int) -> int:
        """Become a standby that has nothing that was committed in that time; return how many.

        The database is stopped.
        """
        lost = 0
        while self._history and self._history[-1][0] >= self.world.now - since_ms:
            self.tables = self._history.pop()[1]
            lost += 1
        return lost


class Session:
    """A session of a client, which performs one request after the other.

    Attributes
    ----------
    client
        None: the connection is gone, whether the server has noticed it or not.
    """

    def __init__(self, server: Server, client: SimConnection, name: str) -> None:
        self._server = server
        self.client: SimConnection | None = client
        self.name = name
        self.snapshot: Tables = server.tables
        self.overlay: dict[str, dict[Key, Any]] = {}
        self.locks: set[Key] = set()
        self.waits_for: Key | None = None
        #: Rows of the temporary table.
        self.given: list[tuple[Any, ...]] = []
        #: Writers that the transaction takes over from.
        self.taken: list[int] = []
        self.lock_timeout_ms: int | None = None
        self._requests: deque[tuple[str, Any]] = deque()
        self._running: Steps | None = None
        #: Of the present request, or of the last one.
        self._name = ""
        #: The next request begins a transaction.
        self.begins = False
        self._in_transaction = self._has_failed = False
        self.is_over = False
        #: True if the client's machine is gone, so that nothing tells the server of it.
        self.is_silent = False
        server.sessions[self] = None

    @property
    def is_at_work(self) -> bool:
        return self._running is not None or bool(self._requests)

    # Requests ------------------------------------------------------------------------------------

    def take(self, name: str, values: Any) -> None:
        """Take a request, which has arrived."""
        if not self.is_over:
            self._requests.append((name, values))
            if self._running is None:
                self._begin()

    def _begin(self) -> None:
        name, values = self._requests.popleft()
        self._name = name
        self._running = self._perform(name, values)
        self._advance()

    def _advance(self, error: Exception | None = None) -> None:
        running = self._running
        assert running is not None
        try:
            pause = next(running) if error is None else running.throw(error)
        except StopIteration as stop:
            self._reply(stop.value)
        except errors.Error as failed:
            self._server.release(self)
            self.overlay = {}
            self._has_failed = self._in_transaction
            self._reply(failed)
        else:
            pause(self)

    def goes_on(self) -> Callable[[], None]:
        """Return what lets the present statement go on, and has no effect once that is over."""
        running = self._running

        def act() -> None:
            if self._running is running and not self.is_over:
                self._advance()

        return act

    def _reply(self, reply: object) -> None:
        self._running = None
        if self.client is not None:
            self.client.answered(reply)
        elif self._name in ("commit", "COMMIT") and not self.is_silent:
            self._server.world.counts["answers to commits lost"] += 1
        if self.client is None and not self._requests:
            if not self.is_silent:
                self.end()
        elif self._requests and not self.is_over:
            self._begin()

    def _perform(self, name: str, values: Any) -> Steps:
        # Imported late, because it imports this module.
        from tests.simulation.shared.statements import STATEMENTS

        if self.begins:
            self.begins, self._in_transaction = False, True
        if name == "ROLLBACK" or (name == "COMMIT" and self._has_failed):
            self._undo()
        elif name == "COMMIT":
            yield from self._commit()
        elif self._has_failed:
            raise errors.InFailedSqlTransaction("current transaction is aborted")
        else:
            self.snapshot = self._server.tables
            result = yield from STATEMENTS[name](self, values)
            if not self._in_transaction:
                yield from self._commit()
            return result
        return Result(0)

    def _commit(self) -> Steps:
        if self.overlay:
            ms = self._server.world.disk_ms()
            if ms:
                yield _after(ms)
            overlay, self.overlay = self.overlay, {}
            self._server.write(overlay, self.taken)
        self._undo()

    def _undo(self) -> None:
        self.overlay, self.given, self.taken = {}, [], []
        self._in_transaction = self._has_failed = False
        self.lock_timeout_ms = None
        self._server.release(self)

    def end(self) -> None:
        """End the session; what it has not committed is undone."""
        if self.is_over:
            return
        self.is_over = True
        if self._running is not None:
            running, self._running = self._running, None
            running.close()
        self._requests.clear()
        self._undo()
        del self._server.sessions[self]
        client, self.client = self.client, None
        if client is not None:
            client.lost("terminating connection due to administrator command")

    # What statements do --------------------------------------------------------------------------

    @property
    def server(self) -> Server:
        return self._server

    def get(self, table: str, key: Key) -> Any:
        """Return a row as the statement sees it; None if there is none."""
        own = self.overlay.get(table)
        if own is not None and key in own:
            return own[key]
        return self.snapshot[table].get(key)

    def latest(self, table: str, key: Key) -> Any:
        """Return a row as it is now: after its lock was waited for."""
        own = self.overlay.get(table)
        if own is not None and key in own:
            return own[key]
        return self._server.tables[table].get(key)

    def rows(self, table: str) -> Table:
        """Return all rows as the statement sees them."""
        own = self.overlay.get(table)
        if not own:
            return self.snapshot[table]
        merged = {**self.snapshot[table], **own}
        return {key: row for key, row in merged.items() if row is not None}

    def put(self, table: str, key: Key, row: Any) -> None:
        """Write a row; None removes it."""
        self.overlay.setdefault(table, {})[key] = row

    def lock(self, table: str, key: Key, mode: str) -> Steps:
        """Lock a row, and wait for it if need be."""
        name = (table, key)
        if self._server.try_lock(self, name, mode):
            return
        self._server.wait_for(self, name, mode)
        world = self._server.world
        running = self._running
        if self.lock_timeout_ms is not None:

            def lapse() -> None:
                if self._running is running and self.waits_for == name:
                    world.counts["lock timeouts"] += 1
                    self._advance(errors.LockNotAvailable("lock timeout"))

            world.after(self.lock_timeout_ms, lapse)
        yield _nothing


def _nothing(_: Session) -> None:
    """Wait for the lock."""


def _after(ms: int) -> Pause:
    def pause(session: Session) -> None:
        session.server.world.after(ms, session.goes_on())

    return pause


def gone() -> OperationalError:
    """Return the error of a server that cannot be reached."""
    return OperationalError("connection failed: the server cannot be reached")
