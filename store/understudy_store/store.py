"""The store: an engine, and the threads that keep its waiting away from the caller's loop.

`Store.lookup` and `Store.commit` answer at once where the engine is on this machine and little is
asked, and later from a thread of their own where it is not. The caller has one way to ask and one
way to take the answer; which of the two happens is decided here alone. A caller that can wait for a
descriptor needs no thread for a small question to a distant engine (`Attended`).

Fail-stop (semantics: Ours, on top; design: the hot path): after a commit has failed, what is on the
disk is unknown, so nothing after it is written or reported as done. The owner ends, and starts
again from what the disk holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final, TypeAlias, TypeVar

from understudy_store.attended import Attended
from understudy_store.changes import Changes, Snapshot, within
from understudy_store.commands import Reply
from understudy_store.engines.base import (
    OPENING,
    Engine,
    Measured,
    Measures,
    Opening,
    Read,
)
from understudy_store.engines.remote import Begun, RemoteEngine
from understudy_store.engines.schemes import open_engine
from understudy_store.engines.shared import Holdings, SharedEngine
from understudy_store.errors import (
    SearchTimeoutError,
    StoreClosedError,
    StoreDatabaseError,
    StoreError,
    StoreFailedError,
    StoreFencedError,
    StoreFormatError,
    StoreGoneError,
    StoreRolledBackError,
)
from understudy_store.limits import KIB
from understudy_store.records import Row, payload_bytes

_T = TypeVar("_T")

#: the rows that were found; or the reason why the store cannot be read any more
LookupResult: TypeAlias = list[Row] | StoreFailedError
#: the replies to the reads, in their order; or the reason why nothing was done
CommitResult: TypeAlias = list[Reply] | StoreFailedError
#: the reply to a search; or the reason why the store cannot be read any more
SearchResult: TypeAlias = Reply | StoreFailedError
#: live work in some slots; or the reason why the store cannot be read any more
SlotsResult: TypeAlias = Snapshot | StoreFailedError
#: the owners of all slots after a hand-over; or the reason why nothing more is done
HandOverResult: TypeAlias = Holdings | StoreFailedError

#: Rows, and bytes of their payload, that are committed on the caller's own thread: such a commit is
#: over before the writer thread could have been woken for it.
INLINE_ROWS_MAX: Final = 200
INLINE_BYTES_MAX: Final = 128 * KIB


class Store:
    """An open engine with its threads. Takes `engine` over.

    `lookup`, `commit`, `search` and `close` may each be called from another thread, each of them
    from one at a time.

    Examples
    --------
    A caller with an event loop treats both answers alike::

        result = store.commit(changes, reads, on_done)   # on_done: wake the loop with the result
        if result is not None:
            finish(result)                               # it was done at once
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: the engine's part that knows who has which slots; None: this store has all of them
        self.share: SharedEngine | None = engine if isinstance(engine, SharedEngine) else None
        #: numbers for those who watch over the store; any thread may ask, and it reads files
        self.measures: Callable[[], Measures] = (
            engine.measures if isinstance(engine, Measured) else Measures
        )
        #: live work at the moment in which the store was opened
        self.snapshot: Snapshot = engine.load()
        self._epoch = self.snapshot.epoch
        #: None: the engine waits by itself
        self._remote: RemoteEngine | None = engine if isinstance(engine, RemoteEngine) else None
        #: what the caller's loop attends to, where it said so
        self.attended_lookup: Attended[list[Row]] = Attended(self._complete_lookup)
        self.attended_commit: Attended[list[Reply]] = Attended(self._complete_commit)
        #: one commit at a time, whichever thread does it
        self._engine_lock = Lock()
        self._failure: StoreFailedError | None = None
        self._closed = False
        #: a commit was asked for
        self._at_work = False
        self._writer = _Worker("understudy-store-writer")
        self._reader = None if engine.inline else _Worker("understudy-store-reader")
        self._aside = _Aside(self._unless_failed)

    @property
    def description(self) -> str:
        """Kind and place of the store: ``sqlite:////path/x.db (wal, synchronous=full)``."""
        return self._engine.description

    @property
    def is_remote(self) -> bool:
        """True if a caller may attend to what it asks."""
        return self._remote is not None

    # ---- before the first commit ----------------------------------------------------------------

    def fact(self, key: str) -> str | None:
        """Return the text that `put_fact` has kept under `key`; None if there is none."""
        self._check_open()
        return self._engine.fact(key)

    def put_fact(self, key: str, text: str) -> None:
        """Keep a text about this store, durable on return: for its owner, before the first commit.

        Raises
        ------
        StoreError
            The store is at work already, or the engine keeps no such texts.
        """
        self._check_open()
        if self._at_work:
            raise StoreError(f"the store {self.description} is at work: {key} stays as it is")
        with self._engine_lock:
            self._engine.put_fact(key, text)

    def keep_only(self, slots: Collection[int]) -> None:
        """Leave everything out of `snapshot` that is in other slots than these."""
        self.snapshot = within(self.snapshot, frozenset(slots))

    # ---- asking ---------------------------------------------------------------------------------

    def lookup(
        self,
        ids: Collection[str],
        on_done: Callable[[LookupResult], None],
        *,
        attended: bool = False,
    ) -> LookupResult | None:
        """Find the rows of `ids` as last committed, not projected; unknown ids have none.

        Parameters
        ----------
        ids
            Not to be changed before the answer is there.
        on_done
            Called once, with the answer, if this returns None: on a thread of the store, possibly
            before this has returned. It must be quick and must not raise; usually it wakes the
            caller's loop. Answers come in the order of these calls.
        attended
            The caller looks at `attended_lookup` after this call, and looks up nothing more before
            it has the answer. If there is a descriptor, its `advance` gives the answer, or
            `on_done` does.

        Returns
        -------
        The answer, if the engine gives it at once (SQLite, memory, and what the memory of another
        engine tells): then `on_done` is not called. None, if it comes later.

        Raises
        ------
        StoreClosedError
        """
        self._check_open()
        if self._reader is None:
            return self._find(ids)
        if (remote := self._remote) is not None and self._failure is None:
            known = remote.find_known(ids)
            if known is not None:
                return known
            # What the thread has under way may wait for what the caller attends to.
            may_attend = attended and self._reader.idle
            if may_attend and self.attended_lookup.attend(remote.begin_find(ids), on_done):
                return None
        self._reader.put(_job(lambda: self._find(ids), on_done))
        return None

    def _complete_lookup(
        self, begun: Begun[list[Row]], on_done: Callable[[LookupResult], None]
    ) -> None:
        assert self._reader is not None, "no engine that is remote is inline"
        self._reader.put(_job(lambda: self._unless_failed(begun.complete), on_done))

    def commit(
        self,
        changes: Changes,
        reads: Sequence[Read],
        on_done: Callable[[CommitResult], None],
        *,
        attended: bool = False,
    ) -> CommitResult | None:
        """Commit `changes`, then answer `reads`. Commits are done in the order of these calls.

        Parameters
        ----------
        changes
            One transaction; not to be touched again. Empty changes: only the reads are done.
        reads
            Answered after the changes, seeing exactly this commit. Later commits wait for them:
            see `search`.
        on_done
            Called once, with the result, if this returns None: on the writer thread, possibly
            before this has returned. It must be quick and must not raise: a commit that cannot be
            reported is the last one.
        attended
            As for `lookup`, with `attended_commit`.

        Returns
        -------
        The result, if the commit was done on the calling thread: then all is durable, and `on_done`
        is not called. It happens for a few rows without reads, where the engine allows it
        (`Engine.inline`) and no earlier commit is under way. None, if the writer thread does it. A
        result that is an error is that of this and of every later commit.

        Raises
        ------
        StoreClosedError
        """
        self._check_open()
        self._at_work = True
        # Handing a batch to the writer thread and back costs as much as its fsync, and two threads
        # that both want the interpreter slow each other down.
        if not reads and self._writer.idle and _is_small(changes):
            if self._engine.inline:
                with self._engine_lock:
                    return self._commit(changes, reads)
            if attended and self._begin(changes, on_done):
                return None
        self._enqueue(lambda: self._commit(changes, reads), on_done)
        return None

    def _begin(self, changes: Changes, on_done: Callable[[CommitResult], None]) -> bool:
        """Begin a commit that the caller attends to, if that is possible."""
        if self._remote is None or self._failure is not None or not changes:
            return False
        return self.attended_commit.attend(self._remote.begin(changes, self._epoch), on_done)

    def _complete_commit(
        self, begun: Begun[list[Reply]], on_done: Callable[[CommitResult], None]
    ) -> None:
        self._enqueue(lambda: self._unless_failed(begun.complete), on_done)

    def search(
        self, read: Read, time_limit_s: float, on_done: Callable[[SearchResult], None]
    ) -> None:
        """Answer a search beside commits and lookups, on a thread of its own; see `Engine.search`.

        Searches are done one after the other. How many wait is for the caller to bound.

        Parameters
        ----------
        read
            Sees at least every commit that was reported before this call.
        time_limit_s
            How long it may read. One that takes longer is refused with 413.
        on_done
            Called once with the answer, as for `lookup`, unless the store is closed before. A
            search that could not be read is refused with 503, and the store goes on.

        Raises
        ------
        StoreClosedError
        """
        self._check_open()
        self._aside.do(
            lambda: _searched(self._engine, read, time_limit_s),
            "the store could not be searched",
            on_done,
        )

    def keep_fact(self, key: str, text: str, on_done: Callable[[SearchResult], None]) -> None:
        """Keep a text about this store, as `put_fact` does, beside commits and lookups.

        It is done on the thread of searches, in the order of these calls and of `search`.

        Parameters
        ----------
        on_done
            Called once, as for `search`: with status 200 if the text is durable. One that could not
            be kept is refused with 503, and the store goes on.

        Raises
        ------
        StoreClosedError
        """

        def keep() -> Reply:
            self._engine.put_fact(key, text)
            return Reply(200)

        self._check_open()
        self._aside.do(keep, f"{key} could not be kept", on_done)

    def load_slots(self, slots: Collection[int], on_done: Callable[[SlotsResult], None]) -> None:
        """Load what a machine needs to go on with slots that this broker has by the holdings.

        It is done after the lookups that were asked for before; see `SharedEngine.load_slots`.

        Parameters
        ----------
        on_done
            Called once with the answer, as for `lookup`. Nothing in the snapshot is read later.

        Raises
        ------
        StoreClosedError
        """
        self._check_open()
        share, reader = self.share, self._reader
        assert share is not None, "this store has all slots"
        assert reader is not None, "no engine that is shared is inline"

        self.attended_lookup.leave()
        reader.put(_job(lambda: self._unless_failed(lambda: share.load_slots(slots)), on_done))

    def hand_over(
        self,
        slots: Mapping[int, int],
        on_done: Callable[[HandOverResult], None],
        *,
        leaving: bool = False,
    ) -> None:
        """Give slots to other brokers, after all commits so far; see `SharedEngine.hand_over`.

        Parameters
        ----------
        slots
            Slot, and the writer id of its new owner. Commits after this call concern none of them.
        on_done
            Called once with the holdings after that, as for `commit`. Slots that are still this
            broker's have stayed here, as they were.
        leaving
            This broker is about to end: the others give it no slots any more.

        Raises
        ------
        StoreClosedError
        """
        self._check_open()
        share = self.share
        assert share is not None, "this store has all slots"
        self.attended_commit.leave()
        self._enqueue(
            lambda: self._unless_failed(lambda: share.hand_over(slots, leaving=leaving)), on_done
        )

    def find(self, ids: Collection[str]) -> list[Row]:
        """Look up on the calling thread, which waits: for programs without a loop.

        Raises
        ------
        StoreClosedError
        StoreFailedError

        Examples
        --------
        >>> from understudy_store.store import open_store
        >>> store = open_store("memory")
        >>> store.find(["order-1"])
        []
        >>> store.close()
        """
        self._check_open()
        return _or_raise(self._find(ids))

    def commit_here(self, changes: Changes, reads: Sequence[Read]) -> list[Reply]:
        """Commit on the calling thread, which waits: for programs without a loop.

        Not for use beside `commit`: it does not queue behind the commits that are under way.

        Raises
        ------
        StoreClosedError
        StoreFailedError
            What became of the commit is unknown; the store does nothing more.
        """
        self._check_open()
        self._at_work = True
        with self._engine_lock:
            return _or_raise(self._commit(changes, reads))

    def watch(self, on_failure: Callable[[StoreFailedError], None]) -> None:
        """Call `on_failure` once if the engine fails by itself, while nobody asks it for anything.

        It is called on a thread of the store, or at once if that has happened already. It must be
        quick and must not raise.
        """
        self._engine.watch(lambda error: on_failure(self._fail(error)))

    # ---- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Do all that is queued, then give the engine back. A second call does nothing."""
        self._closed = True
        self._engine.stop_waiting()
        self.attended_commit.leave()
        self.attended_lookup.leave()
        self._writer.stop()
        if self._reader is not None:
            self._reader.stop()
        self._aside.stop()
        with self._engine_lock:
            self._engine.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"the store {self.description} is closed")

    def _find(self, ids: Collection[str]) -> LookupResult:
        return self._unless_failed(lambda: self._engine.find(ids))

    def _unless_failed(self, ask: Callable[[], _T]) -> _T | StoreFailedError:
        if self._failure is not None:
            return self._failure
        try:
            return ask()
        except StoreClosedError:
            raise
        except Exception as error:
            return self._fail(error)

    def _enqueue(self, write: Callable[[], _T], on_done: Callable[[_T], None]) -> None:
        """Have the writer thread write, and then report."""

        def locked() -> _T:
            with self._engine_lock:
                return write()

        def report(result: _T) -> None:
            try:
                on_done(result)
            except Exception as error:
                # A commit that was made but cannot be reported must not be followed by more.
                self._fail(error)

        self._writer.put(_job(locked, report))

    def _commit(self, changes: Changes, reads: Sequence[Read]) -> CommitResult:
        if self._failure is not None:
            return self._failure
        try:
            return self._engine.commit(changes, reads, self._epoch)
        except Exception as error:
            return self._fail(error)

    def _fail(self, error: Exception) -> StoreFailedError:
        if self._failure is None:
            self._failure = StoreFailedError(
                f"the store {self.description} failed: {str(error) or type(error).__name__}. "
                f"{_advice(error)}"
            )
            self._failure.__cause__ = error
        return self._failure


class _Worker:
    """A thread that does jobs one by one, in the order in which they were put.

    A job does the work and returns a function that reports it. The job counts as done before its
    report is made, so whoever hears the report finds the worker idle.
    """

    def __init__(self, name: str) -> None:
        #: bounded by the callers, who know how much they have in flight
        self._jobs: SimpleQueue[Callable[[], Callable[[], None]] | None] = SimpleQueue()
        # Each is written by one thread only: by the callers', and by this one.
        self._put_count = 0
        self._done_count = 0
        self._stopped = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """True if every job that was put is done."""
        return self._put_count == self._done_count

    def put(self, job: Callable[[], Callable[[], None]]) -> None:
        """Do `job` after all that were put before."""
        self._put_count += 1
        self._jobs.put(job)

    def stop(self) -> None:
        """Do all that was put, then end. A second call does nothing but wait for that."""
        if not self._stopped:
            self._stopped = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            report = job()
            self._done_count += 1
            report()


def _job(work: Callable[[], _T], report: Callable[[_T], None]) -> Callable[[], Callable[[], None]]:
    """Return a job for a worker: it works, and returns what reports it."""

    def job() -> Callable[[], None]:
        result = work()
        return lambda: report(result)

    return job


class _Aside:
    """A thread for what is done beside commits and lookups; it begins with the first job.

    Parameters
    ----------
    unless_failed
        Calls a function, unless the store has failed; the store has failed if that raises an error.
    """

    def __init__(
        self, unless_failed: Callable[[Callable[[], Reply | None]], Reply | StoreFailedError | None]
    ) -> None:
        self._unless_failed = unless_failed
        self._worker: _Worker | None = None

    def do(
        self, work: Callable[[], Reply], trouble: str, on_done: Callable[[SearchResult], None]
    ) -> None:
        """Do `work` after all before it, and report its reply, or 503 with the `trouble`."""
        if self._worker is None:
            self._worker = _Worker("understudy-store-searcher")

        def report(result: SearchResult | None) -> None:
            if result is not None:
                on_done(result)

        self._worker.put(_job(lambda: self._unless_failed(lambda: _tried(work, trouble)), report))

    def stop(self) -> None:
        """Do all that was put, then end."""
        if self._worker is not None:
            self._worker.stop()


def _searched(engine: Engine, read: Read, time_limit_s: float) -> Reply:
    try:
        return engine.search(read, time_limit_s)
    except SearchTimeoutError:
        return Reply(
            413,
            f"the search has read for {time_limit_s:g} s, which is as long as one may (the "
            "broker's setting search_s): narrow it, by a prefix of the ids, by an origin, or by "
            "the state pending",
        )


def _tried(work: Callable[[], Reply], trouble: str) -> Reply | None:
    """Return a reply; None if the store is closed.

    Raises
    ------
    StoreFencedError, StoreRolledBackError
        The store is another broker's.
    """
    try:
        return work()
    except StoreClosedError:
        return None
    except (StoreFencedError, StoreRolledBackError):
        raise
    except Exception as error:
        # Nothing is known to be wrong with commits: they find out for themselves.
        return Reply(503, f"{trouble}: {error}")


def _or_raise(result: list[_T] | StoreFailedError) -> list[_T]:
    if isinstance(result, StoreFailedError):
        raise result
    return result


def _is_small(changes: Changes) -> bool:
    """Return whether a commit is over before a thread could have been woken for it."""
    rows = changes.inserted + changes.updated
    if len(rows) > INLINE_ROWS_MAX:
        return False
    size = 0
    for row in rows:
        size += payload_bytes(row.promise)
    return size <= INLINE_BYTES_MAX


def _advice(error: Exception) -> str:
    if isinstance(error, StoreFencedError):
        return "Another broker goes on with its calls, and this one ends: there is nothing to fix"
    if isinstance(error, StoreRolledBackError):
        return (
            "If the server that had them still exists, stop everything and make it the primary "
            "again. Otherwise these calls are lost: start again to go on without them, and "
            "replicate synchronously from now on"
        )
    if isinstance(error, StoreGoneError):
        return "Put back what was there, if you can, then start again"
    if isinstance(error, StoreFormatError):
        return (
            "Something else than this store has written to its files, or the disk is damaged. "
            "Restore them from a copy, or move them away, then start again"
        )
    safe = "All that was acknowledged is safe; what was not must be asked again"
    if isinstance(error, StoreDatabaseError):
        return f"Then start again. {safe}"
    return f"{safe}. Fix the cause (a full or failing disk, most often), then start again"


def open_store(url: str, opening: Opening = OPENING) -> Store:
    """Open the store that `url` names, or make it.

    Parameters
    ----------
    url
        ``memory``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, a plain path, or
        ``postgresql://user@host/database``.
    opening
        The owner's wishes.

    Raises
    ------
    StoreAddressError
        `url` names no store.
    StoreError
        See `understudy_store.errors`: each says what was found and what to do.
    """
    engine = open_engine(url, opening)
    try:
        return Store(engine)
    except BaseException:
        engine.close()
        raise
