"""The keeper of a shared store: this broker's sign of life, and its eyes on the others.

It looks several times in the length of a lease. Each look is one statement that beats and reads
who lives, who does not, and who has which slots. It has dead writers taken over from, and slots of
nobody given away, by the `Taker`, on another thread: a takeover may take longer than a lease, and
this broker must go on beating meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from threading import Event, Lock, Thread
from typing import Final

from psycopg.errors import LockNotAvailable

from understudy_store.engines.postgres.connections import TELL_S, Connection, Connector, Link
from understudy_store.engines.postgres.holdings import Look, look
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.takeover import (
    LOCK_MS,
    bring_in,
    end_sessions,
    give_orphans,
    session_name,
)
from understudy_store.engines.postgres.writer import LEASE_S, Writer, refusal
from understudy_store.engines.shared import NO_HOLDINGS, Holdings
from understudy_store.errors import StoreError, StoreFencedError, StoreRolledBackError
from understudy_store.slots import shared_out

#: from one look to the next
LOOK_S: Final = LEASE_S / 4
#: the same while slots are about to come
SOON_S: Final = 0.05
#: how long it looks so often if nothing comes
SOON_FOR_S: Final = 5.0
#: Answers from memory are fresh for this part of a lease after a beat.
FRESH: Final = 0.8
#: A broker that was away from the database for more than this part of a lease judges nobody for a
#: whole one: all pulses may be old because the database was away.
AWAY: Final = 0.5

#: It goes on while the machine is suspended, where the system has such a clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_ns() -> int:
    """Return the nanoseconds since some moment in the past."""
    return time.clock_gettime_ns(_CLOCK)


def elapsed_s() -> float:
    """Return the seconds since some moment in the past."""
    return time.clock_gettime(_CLOCK)


class Taker:
    """Takes over from dead writers, and gives slots of nobody away, on a thread of its own.

    Parameters
    ----------
    check
        Checks that a new connection leads to the database with every commit.
    acknowledged
        Returns the number of the last commit that the database has acknowledged.
    tell
        Called with a sentence for the log if a takeover fails.
    on_done
        Called on its thread after each time that it was asked; with the error if this broker can
        go on no more.
    """

    def __init__(
        self,
        connector: Connector,
        statements: Statements,
        writer: Writer,
        check: Callable[[Connection], object],
        acknowledged: Callable[[], int],
        tell: Callable[[str], object],
        on_done: Callable[[StoreError | None], None],
    ) -> None:
        self._schema = connector.address.schema
        self._name = connector.address.name
        self._statements = statements
        self._writer = writer
        self._acknowledged = acknowledged
        self._tell = tell
        self._on_done = on_done
        self._link = Link(connector, check)
        self._asked = Event()
        #: writers, and the age that their pulse must have at least, seconds
        self._dead: dict[int, float] = {}
        self._closed = Event()
        self._told_at = -math.inf
        #: how long it does nothing after it was asked
        self._rest_s = 0.0
        self._thread = Thread(target=self._run, name="understudy-store-taker", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """True from when it is asked until it has done that."""
        return self._asked.is_set()

    def ask(self, dead: Mapping[int, float]) -> None:
        """Take over from `dead`, then give away what nobody has. Not while it `is_busy`.

        Parameters
        ----------
        dead
            Writers, and the age that the pulse of each must have at least, seconds.
        """
        self._dead = dict(dead)
        self._asked.set()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._asked.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._asked.wait()
            if self._closed.is_set():
                return
            self._rest_s = SOON_S
            error = self._take_all()
            self._link.close()
            self._closed.wait(self._rest_s)
            self._asked.clear()
            self._on_done(error)

    def _take_all(self) -> StoreError | None:
        # One by one, so that two brokers that take over from the same ones wait for each other in
        # the same order.
        for writers in [{id_: age_s} for id_, age_s in self._dead.items()] or [{}]:
            try:
                self._link.run(partial(self._take, dead=writers))
            except (StoreFencedError, StoreRolledBackError) as error:
                return error
            except StoreError as error:
                # Another broker may do better. The slots stay where they are meanwhile.
                self._rest_s = LEASE_S
                if time.monotonic() - self._told_at >= TELL_S:
                    self._told_at = time.monotonic()
                    self._tell(f"slots of a broker that is gone could not be taken over: {error}")
        return None

    def _take(self, connection: Connection, dead: Mapping[int, float]) -> None:
        if dead:
            # Of all: one may have been paused in a takeover from another.
            ended = list(self._dead or dead)
            end_sessions(connection, self._statements, self._schema, ended)
        try:
            with connection.transaction():
                connection.execute(f"set local lock_timeout = {LOCK_MS}")
                self._take_over(connection, dead)
        except LockNotAvailable:
            pass  # It will be asked again.

    def _take_over(self, connection: Connection, dead: Mapping[int, float]) -> None:
        """Fence, bring in the journal, give the slots away: in one transaction, at READ COMMITTED.

        Its own row comes first: a writer that is fenced itself must take nothing. The journal is
        read in a statement after the fence, which therefore sees whatever was committed before it.
        """
        texts = self._statements
        if connection.execute(texts.unfenced, self._writer.keys).fetchone() is None:
            raise refusal(connection, texts, self._writer, self._acknowledged())
        if dead:
            fence = {"ids": list(dead), "lease": min(dead.values())}
            fenced = connection.execute(texts.fence, fence).fetchall()
            bring_in(connection, texts, self._name, [id_ for (id_,) in fenced])
        give_orphans(connection, texts)


class Keeper:
    """Beats and looks until it is closed, on a thread and a connection of its own.

    The first look is over when it has been made. For the parameters see `Taker`.

    Attributes
    ----------
    holdings
        As last read.
    """

    def __init__(
        self,
        connector: Connector,
        statements: Statements,
        writer: Writer,
        check: Callable[[Connection], object],
        acknowledged: Callable[[], int],
        tell: Callable[[str], object],
    ) -> None:
        self._statements = statements
        self._writer = writer
        self._acknowledged = acknowledged
        self._link = Link(connector, check, math.inf)
        self._lock = Lock()
        self.holdings: Holdings = NO_HOLDINGS
        self._on_change: Callable[[Holdings], None] | None = None
        #: the holdings that it was told last
        self._told: Holdings | None = None
        self._failure: StoreError | None = None
        self._on_failure: Callable[[StoreError], None] = _ignore
        #: when the last beat that the database confirmed was sent
        self._beaten_at = -math.inf
        #: how far the clock of the database is ahead of `elapsed_ns`, which nobody can set
        self._ahead_ns = 0
        #: nobody is judged before
        self._judges_from = -math.inf
        self._soon_until = -math.inf
        self._schema = connector.address.schema
        #: writers that seem to have died, and those whose sessions were ever seen
        self._suspects: frozenset[int] = frozenset()
        self._visible: set[int] = set()
        self._closed = False
        self._wake = Event()
        self._taker = Taker(connector, statements, writer, check, acknowledged, tell, self._taken)
        try:
            self._look()
        except BaseException:
            self._taker.close()
            self._link.close()
            raise
        self._thread = Thread(target=self._run, name="understudy-store-keeper", daemon=True)
        self._thread.start()

    @property
    def is_fresh(self) -> bool:
        """False if another broker may have taken over from this one without its knowledge.

        Beats alone count. A commit shows that nobody had done it at that moment, but with an old
        pulse it may happen in the next.
        """
        return elapsed_s() - self._beaten_at < FRESH * LEASE_S

    def beat_age_ms(self) -> int:
        """Return how long ago the last beat was sent that the database has confirmed."""
        return round((elapsed_s() - self._beaten_at) * 1000)

    def wall_ns(self) -> int:
        """Return what the clock of the database shows, by what has elapsed since the last look."""
        return elapsed_ns() + self._ahead_ns

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        """Call `on_failure`, on a thread of the keeper, if the writer is fenced, or was."""
        self._on_failure = on_failure
        if self._failure is not None:
            on_failure(self._failure)

    def watch_holdings(self, on_change: Callable[[Holdings], None]) -> None:
        """Call `on_change` on the keeper's thread: soon, and whenever the holdings change."""
        self._on_change, self._told = on_change, None
        self._wake.set()

    def look_soon(self) -> None:
        """Look at once, instead of when it is due."""
        self._wake.set()

    def suspect(self, writer: int) -> None:
        """Take over from a writer as soon as none of its sessions is left."""
        with self._lock:
            self._suspects |= {writer}
        self._wake.set()

    def trust(self, writer: int) -> None:
        """Suspect a writer no longer."""
        with self._lock:
            self._suspects -= {writer}

    def learn(self, holdings: Holdings) -> None:
        """Take holdings that were read elsewhere, unless later ones are known."""
        with self._lock:
            if holdings.version > self.holdings.version:
                self.holdings = holdings
        self._wake.set()

    def close(self) -> None:
        """End the threads. The pulse stays as it was last."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        self._taker.close()
        self._link.close()

    def _run(self) -> None:
        try:
            while not self._closed:
                self._tell()
                self._wake.wait(SOON_S if elapsed_s() < self._soon_until else LOOK_S)
                self._wake.clear()
                if not self._closed:
                    self._look()
        except StoreError as error:
            self._failed(error)

    def _failed(self, error: StoreError) -> None:
        self._failure = error
        if not self._closed:
            self._on_failure(error)

    def _tell(self) -> None:
        on_change, holdings = self._on_change, self.holdings
        if on_change is not None and holdings != self._told:
            self._told = holdings
            on_change(holdings)

    def _taken(self, error: StoreError | None) -> None:
        if error is not None:
            self._failed(error)
        self._wake.set()

    # ---- looking --------------------------------------------------------------------------------

    def _look(self) -> None:
        seen, sent_at = self._link.run(self._seen)
        gone = self._gone(seen.holdings)
        now = elapsed_s()
        if now - self._beaten_at > AWAY * LEASE_S:
            self._judges_from = now + LEASE_S
        self._beaten_at = sent_at
        with self._lock:
            # A hand-over may have been answered since the database was asked.
            if seen.holdings.version >= self.holdings.version:
                self._expect(seen, now)
                self.holdings = seen.holdings
        self._judge(seen, gone, now)

    def _gone(self, holdings: Holdings) -> frozenset[int]:
        """Return the suspects that have no session any more."""
        others = {id_ for id_, _, _ in holdings.brokers} - {self._writer.id}
        self._visible &= others
        asked = (others - self._visible) | (others & self._suspects)
        if not asked:
            return frozenset()
        names = {session_name(self._schema, id_): id_ for id_ in asked}
        values = {"names": list(names)}
        rows = self._link.run(
            lambda connection: connection.execute(self._statements.sessions, values).fetchall()
        )
        present = {names[name] for (name,) in rows}
        gone = (asked & self._suspects & self._visible) - present
        self._visible |= present
        return frozenset(gone)

    def _seen(self, connection: Connection) -> tuple[Look, float]:
        acknowledged, known = self._acknowledged(), self.holdings
        sent_at, asked_ns = elapsed_s(), elapsed_ns()
        seen = look(connection, self._statements, self._writer, known, LEASE_S)
        self._ahead_ns = seen.time_ns - (asked_ns + elapsed_ns()) // 2
        if not seen.beaten:
            raise refusal(connection, self._statements, self._writer, acknowledged)
        if seen.holdings.version < known.version:
            raise StoreRolledBackError(
                "the database has lost who owns which slots: another server has taken the place "
                "of the one that had it, or it was restored from a backup"
            )
        return seen, sent_at

    def _expect(self, seen: Look, now: float) -> None:
        """Look often for a while if this broker's part has slots that others have still."""
        if seen.holdings == self.holdings:
            return
        part = _part(seen.holdings, self._writer.id)
        if not part.issubset(seen.holdings.of(self._writer.id)):
            self._soon_until = now + SOON_FOR_S

    def _judge(self, seen: Look, gone: Collection[int], now: float) -> None:
        """Have dead writers taken over from, and slots of nobody given away."""
        dead: dict[int, float] = {}
        if now >= self._judges_from:
            dead = dict.fromkeys(seen.dead, LEASE_S) | dict.fromkeys(gone, 0.0)
        if self._suspects:
            self._soon_until = max(self._soon_until, now + LOOK_S)
        living = {id_ for id_, _, _ in seen.holdings.brokers}
        orphans = any(owner not in living for owner in seen.holdings.slots)
        if (dead or orphans) and not self._taker.is_busy:
            # It wakes this thread when it has done that, or is to be asked again.
            self._taker.ask(dead)


def _part(holdings: Holdings, writer: int) -> set[int]:
    """Return the slots that a writer ought to have, among all that live."""
    names = [name for _, name, _ in holdings.brokers]
    ids = [id_ for id_, _, _ in holdings.brokers]
    if writer not in ids:
        return set()
    mine = ids.index(writer)
    return {slot for slot, place in enumerate(shared_out(names)) if place == mine}


def _ignore(_: StoreError) -> None:
    """Do nothing."""
