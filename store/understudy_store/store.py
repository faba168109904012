"""The store: an engine, and the one thread that writes to it.

Fail-stop (semantics: Ours, on top; design: the hot path): after a commit has failed, what is on the
disk is unknown, so nothing after it is written or reported as done. The owner ends, and starts
again from what the disk holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeAlias

import msgspec

from understudy_store.changes import Changes, Row, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import Engine, Read
from understudy_store.errors import (
    StoreAddressError,
    StoreClosedError,
    StoreError,
    StoreFailedError,
    StoreFormatError,
    StoreGoneError,
)

#: the replies to the reads, in their order; or why nothing was done
CommitResult: TypeAlias = list[Reply] | StoreFailedError


class _Batch(msgspec.Struct, frozen=True):
    changes: Changes
    reads: Sequence[Read]
    done: Callable[[CommitResult], None]


class Store:
    """Takes over `engine` and starts the writer thread.

    `submit`, `find` and `close` may each be called from another thread; `find` from one at a time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: what was there when the store was opened
        self.snapshot: Snapshot = engine.load()
        #: bounded by the submitter, who knows what it may have in flight
        self._queue: SimpleQueue[_Batch | None] = SimpleQueue()
        #: one commit at a time, whichever thread does it
        self._engine_lock = Lock()
        self._failure: StoreFailedError | None = None
        self._closed = False
        self._thread = Thread(target=self._write, name="understudy-store-writer", daemon=True)
        self._thread.start()

    @property
    def description(self) -> str:
        """What it is and where: ``sqlite:////path/x.db (wal, synchronous=full)``."""
        return self._engine.description

    def find(self, ids: Collection[str]) -> list[Row]:
        """The rows of `ids` as last committed, not projected; unknown ids have none.

        Raises
        ------
        StoreFailedError
            A commit has failed, or this has: what the store holds is not known.
        StoreClosedError
        """
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise StoreClosedError(f"the store {self.description} is closed")
        try:
            return self._engine.find(ids)
        except StoreClosedError:
            raise
        except StoreError as error:
            raise self._fail(error) from error

    def submit(
        self, changes: Changes, reads: Sequence[Read], done: Callable[[CommitResult], None]
    ) -> None:
        """Queue a commit. Commits are done one by one, in the order of these calls.

        Parameters
        ----------
        changes
            One transaction; not to be touched again. Empty: only the reads are done.
        reads
            Answered after it, seeing exactly this commit.
        done
            Called once, on the writer thread: with the replies, when all is durable; or with the
            error, for this and every later commit. Must be quick and not raise.

        Raises
        ------
        StoreClosedError
        """
        if self._closed:
            raise StoreClosedError(f"the store {self.description} is closed")
        self._queue.put(_Batch(changes, reads, done))

    def commit_here(self, changes: Changes, reads: Sequence[Read]) -> CommitResult:
        """Commit on the calling thread, while nothing is queued: durable on return.

        For small batches. Handing one to the writer thread and back costs as much as its fsync,
        and two threads that both want the interpreter slow each other down.

        Raises
        ------
        StoreClosedError
        """
        if self._closed:
            raise StoreClosedError(f"the store {self.description} is closed")
        with self._engine_lock:
            return self._commit(changes, reads)

    def close(self) -> None:
        """Do all that is queued, then give the engine back. A second time does nothing."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        with self._engine_lock:
            self._engine.close()

    def _write(self) -> None:
        while (batch := self._queue.get()) is not None:
            with self._engine_lock:
                result = self._commit(batch.changes, batch.reads)
            try:
                batch.done(result)
            except Exception as error:
                # What is committed but cannot be reported must not be followed by more.
                self._fail(error)

    def _commit(self, changes: Changes, reads: Sequence[Read]) -> CommitResult:
        if self._failure is not None:
            return self._failure
        try:
            return self._engine.commit(changes, reads)
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


def _advice(error: Exception) -> str:
    if isinstance(error, StoreGoneError):
        return "Put back what was there, if you can, then start again"
    if isinstance(error, StoreFormatError):
        return (
            "Something else than this store has written to its files, or the disk is damaged. "
            "Restore them from a copy, or move them away, then start again"
        )
    return (
        "All that was acknowledged is safe; what was not must be asked again. Mend the cause "
        "(a full or failing disk, most often), then start again"
    )


def open_store(url: str) -> Store:
    """Open the store that `url` names, or make it.

    Parameters
    ----------
    url
        ``memory``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or a plain path.

    Raises
    ------
    StoreAddressError
        `url` names no store.
    StoreError
        See `understudy_store.errors`: each says what was found and what to do.
    """
    engine = _open_engine(url)
    try:
        return Store(engine)
    except BaseException:
        engine.close()
        raise


def _open_engine(url: str) -> Engine:
    if url == "memory":
        from understudy_store.engines.memory import MemoryEngine

        return MemoryEngine()
    scheme, separator, rest = url.partition("://")
    path = rest.removeprefix("/") if separator else url
    if not path or path == ":memory:" or (separator and (scheme, rest[:1]) != ("sqlite", "/")):
        raise StoreAddressError(
            f"{url!r} names no store: use 'memory', 'sqlite:///relative.db', "
            "'sqlite:////absolute.db' or a path"
        )
    # Loads SQLAlchemy: not for those who keep nothing.
    from understudy_store.engines.sqlite.engine import SqliteEngine

    return SqliteEngine(Path(path))
