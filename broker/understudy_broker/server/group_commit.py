"""Group commit: one sync of the disk makes the work of many requests durable.

Theory of operation
===================

**One sync for many commands.** A sync costs the same for one row as for a thousand, so the rows of
all requests that a step performed are committed together, as one *batch*. One batch commits at a
time. What is performed meanwhile accumulates in the core, and is the next batch. The batches
therefore grow by themselves with the load: the more there is to do during one sync, the more
requests share the next. Nothing is delayed to make a batch larger, so a single request is committed
at once.

**Where it is done.** `Store.commit` does a small commit on the loop's own thread, because that is
over before another thread could have been woken. Where the store is behind a network, a small
commit is sent, and the loop's pauses end when there is an answer (`Store.attended_commit`). A
larger one is done by the store's writer thread, which leaves its result here and wakes the loop. In
both cases the loop goes on receiving and performing, and calls `take_result` once there is a
result.

**Order.** Batches are committed in the order in which the core made them, and each holds its
changes and the messages that tell of them. The reads of a batch are answered after its changes and
see exactly this commit. `BrokerCore.committed` is told of each batch once, before the core makes
the next one.

**When replies leave.** `commit` and `take_result` return the frames of a batch, and they do so only
once the store has reported it durable. Frames that depend on no commit (refusals, heartbeats) are
not part of a batch; they leave with the step that made them.

**When storage fails.** It is then not known whether the batch is on the disk. Its frames are never
made, and `CommitFailedError` ends the broker: no peer is told anything that may not be there.

What is not perfect
===================

A large commit that is done inline by mistake of the estimate (rows with large indexes) delays all
peers by its own time.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from understudy_broker.core.core import BrokerCore
from understudy_broker.core.outbox import Batch, Frame
from understudy_broker.errors import CommitFailedError
from understudy_broker.monitoring.histogram import Histogram
from understudy_store.engines.base import Read
from understudy_store.errors import StoreFailedError
from understudy_store.store import CommitResult, Store


class Commits(NamedTuple):
    """Histograms of commits: the microseconds that they took, and the promises in them."""

    took_us: Histogram
    sizes: Histogram


class GroupCommit:
    """Commits one batch after the other. Used by the loop's thread only.

    Parameters
    ----------
    wake
        Wakes the loop. Called on a thread of the store.
    attended
        The loop can wait for a descriptor beside its own.

    Attributes
    ----------
    batch
        The batch that is being committed; None: no batch is. The owner only reads it.
    result
        The store's answer, until `take_result`; None: there is none. The owner only reads it. The
        store's thread writes it, and the store is not asked again before the loop has taken it, so
        only one thread writes it at a time.
    committed_at
        When the last commit ended, in seconds of `perf_counter`.
    histograms
        How long commits took, and how many promises they wrote.
    """

    def __init__(
        self, store: Store, core: BrokerCore, wake: Callable[[], None], *, attended: bool = False
    ) -> None:
        self._store = store
        self._core = core
        self._wake = wake
        self._attended = attended
        self.batch: Batch | None = None
        self.result: CommitResult | None = None
        self.committed_at = 0.0
        self.histograms = Commits(Histogram(), Histogram())
        self._began_at = 0.0

    def commit(self, batch: Batch) -> list[Frame] | None:
        """Begin to commit `batch`, after `result` of the one before was taken.

        Returns
        -------
        The frames that may leave now, if the commit was done at once; None, if the store will wake
        the loop.

        Raises
        ------
        CommitFailedError
            It was tried at once, and the store failed.
        """
        self.batch = batch
        self._began_at = perf_counter()
        pending = batch.outbox.reads
        reads = [Read(read.command, read.now) for read in pending] if pending else []
        result = self._store.commit(batch.changes, reads, self._on_done, attended=self._attended)
        return None if result is None else self._finish(result)

    def under_way_s(self) -> float:
        """Return the seconds since the present commit began; 0: there is none. Any thread asks."""
        return 0.0 if self.batch is None else perf_counter() - self._began_at

    def advance(self) -> None:
        """Take the store's answer as `result`, if it has come to the loop."""
        answer = self._store.attended_commit.advance()
        if answer is not None:
            self.result = answer

    def take_result(self) -> list[Frame]:
        """Take `result`, which must be there, and return the frames that may leave now.

        Raises
        ------
        CommitFailedError
            The store failed.
        """
        result, self.result = self.result, None
        assert result is not None
        return self._finish(result)

    def _on_done(self, result: CommitResult) -> None:
        """Leave the answer for the loop; called on a thread of the store."""
        self.result = result
        self._wake()

    def _finish(self, result: CommitResult) -> list[Frame]:
        """Make the frames of the batch that is committed now, unless its commit failed."""
        batch, self.batch = self.batch, None
        assert batch is not None
        self.committed_at = perf_counter()
        if isinstance(result, StoreFailedError):
            raise CommitFailedError(f"{result}. The broker has stopped") from result
        changes = batch.changes
        if changes:
            took_us, sizes = self.histograms
            took_us.observe(int((self.committed_at - self._began_at) * 1e6))
            sizes.observe(len(changes.inserted) + len(changes.updated))
        return self._core.committed(batch, result)
