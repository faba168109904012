"""The port between the machine and a place that keeps its changes.

An engine loads, finds and commits. It decides nothing; the machine does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

import msgspec

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import ReadCommand, Reply
from understudy_store.errors import StoreError, StoreFencedError
from understudy_store.records import Row

#: The epoch of every store that only one process can open at a time (memory, or a file under a
#: lock): nobody can take such a store over, so its epoch never changes.
SOLE_EPOCH: Final = 1


class Read(msgspec.Struct, frozen=True):
    """A command that the engine answers, and the time (epoch milliseconds) to project it to.

    Pages are in the order of ids; a cursor is the last id of the page before. A preload is all
    promises whose branch tag is the task's id, of its call graph or detached.
    """

    command: ReadCommand
    now: int


def _ignore(_: str) -> None:
    """Do nothing."""


def _never() -> bool:
    return False


class Share(NamedTuple):
    """A broker's part in a store that several brokers have open at a time.

    Attributes
    ----------
    name
        Of this broker; no other that lives has it. It decides which slots the broker is given.
    address
        Where peers reach it.
    deployment
        The name of what the brokers of the store are together, if this one was told it. Brokers of
        one store do not differ in it.
    """

    name: str
    address: str
    deployment: str | None = None


class Opening(NamedTuple):
    """The wishes of a store's owner when the store is opened.

    Attributes
    ----------
    accept_lost_journal
        Open the store although the journal that it names is missing or was cut short: the commits
        that only the missing part had are lost.
    tell
        Called with a sentence for the log, on any thread, while the store waits for another
        program.
    is_unwanted
        Returns whether the store is not to be opened any more. Asked now and then while the opening
        waits for another program; `OpeningStoppedError` ends it then.
    share
        Open the store beside other brokers, each with slots of its own. None: for this one alone.
    """

    accept_lost_journal: bool = False
    tell: Callable[[str], object] = _ignore
    is_unwanted: Callable[[], bool] = _never
    share: Share | None = None


#: without any wish
OPENING: Final = Opening()


class Measures(NamedTuple):
    """Numbers of a store, for those who watch over it; None: it does not know.

    Attributes
    ----------
    lag_s
        The age of the oldest commit that searches do not find yet where they read, because only
        the journal has it.
    journal_bytes, store_bytes
        Bytes of files; those of a database server are not counted.
    free_bytes
        Bytes that may still be written to the disk of the files.
    """

    lag_s: float | None = None
    journal_bytes: int | None = None
    store_bytes: int | None = None
    free_bytes: int | None = None


@runtime_checkable
class Measured(Protocol):
    """An engine that has `Measures`."""

    def measures(self) -> Measures:
        """Return the numbers of this moment; called on any thread."""


class Engine(Protocol):
    """A place to keep promises.

    `commit`, `find` and `search` run on three threads at the same time; each of them from one at a
    time. They block until they are done. `Store` keeps that away from its caller's thread if need
    be.

    Epochs
    ------
    A database that several brokers can reach needs a *fence*: a broker that was paused while
    another one took over its store must not write any more, however late it wakes. Each start of a
    broker therefore has an epoch of its own, which `load` returns in the snapshot and every
    `commit` repeats. The engine compares the two in the same transaction as the write, so the
    database decides who may write, and no clock does. `StoreFencedError` says that another broker
    owns the store now. Where only one process can have the store open, the epoch is `SOLE_EPOCH`
    and the check costs one comparison.
    """

    @property
    def description(self) -> str:
        """Kind and place of the store, for logs and errors."""

    @property
    def inline(self) -> bool:
        """True if a find, or a commit of a few rows, may run on the caller's event loop.

        It is asked before each commit; for finds, once. It holds for engines on this machine: a
        commit to a local file is over before a thread could be woken to do it. An engine behind a
        network answers False, and so does one whose next commit may have to wait.
        """

    def load(self) -> Snapshot:
        """Return all that a machine needs to go on. Called once, before any `commit`."""

    def fact(self, key: str) -> str | None:
        """Return the text that `put_fact` has kept under `key`; None if there is none."""

    def put_fact(self, key: str, text: str) -> None:
        """Keep a text of the store's owner, durable on return; before commits or beside them.

        The engine has no opinion about its meaning. Brokers that share a database share the texts.

        Raises
        ------
        StoreError
            It was not kept.
        """

    def find(self, ids: Collection[str]) -> list[Row]:
        """Return the rows of `ids` as last committed, unprojected, in any order.

        Unknown ids have no row.
        """

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        """Keep `changes` wholly or not at all, durable on return; then answer `reads`.

        The reads see exactly this commit, and hold up the next one: they are for preloads, and for
        programs without a loop. Empty changes write nothing, not even their time.
        Callbacks, listeners and unblocks are sets: adding one twice is adding it once.

        Parameters
        ----------
        epoch
            The epoch of the snapshot that this broker started from; see above.

        Raises
        ------
        StoreFencedError
            Another broker has taken the store over. Nothing was written.
        StoreError
            None of the changes is visible then; only opening the store again tells whether they
            were kept. Also raised where an inserted row exists, or an updated one does not; an
            engine that writes commits to its tables later may say so at a later commit.
        """

    def search(self, read: Read, time_limit_s: float) -> Reply:
        """Answer a search beside commits and finds, which never wait for it.

        It sees at least every commit that was done before the call, as of one moment: of each later
        commit all or nothing.

        Raises
        ------
        SearchTimeoutError
            It has read for longer than the limit. The wait for commits to be where it reads does
            not count.
        StoreClosedError
            The store was closed before or meanwhile.
        StoreError
            It could not be read. That says nothing about commits.
        """

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        """Call `on_failure` once if the engine fails by itself, between two calls.

        It is called on a thread of the engine, or at once if that has happened already. It must be
        quick and must not raise.
        """

    def stop_waiting(self) -> None:
        """Wait only shortly for others from now on, also in a call that is under way.

        Called before `close`, from any thread: a commit that others hold up then fails, and so does
        a search.
        """

    def close(self) -> None:
        """Give back all that is held. A second call does nothing."""


def fenced(epoch: int) -> StoreFencedError:
    """Return the error for every epoch but `SOLE_EPOCH`, of a store that nobody else can open."""
    return StoreFencedError(f"a commit of epoch {epoch} came to a store of epoch {SOLE_EPOCH}")
