"""The replay state of a run: its recorded calls, results settled since, and calls made so far."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter import determinism
from understudy_actors.interpreter.empty import NO_NAMES, NO_SET
from understudy_actors.interpreter.ports import Values
from understudy_actors.interpreter.requests import CallSpec, Promise
from understudy_actors.interpreter.wait import Wait
from understudy_store.records import RESOLVED, PromiseRecord


class ReplayState(msgspec.Struct, eq=False):
    """Everything that decides how a run goes on, apart from its function.

    Parameters
    ----------
    values
        Decodes results.
    time_ms
        ``ctx.time``, in epoch milliseconds: the creation of the run's promise, then the latest
        result that the function has seen settled.
    """

    values: Values
    time_ms: int
    #: promises of this run by id, as last heard of
    known: dict[str, PromiseRecord] = NO_NAMES
    #: ids of recorded calls that the code has not made yet; the run replays while there are any
    unmade: set[str] = NO_SET
    #: ids of attached children that have not settled; the run does not settle before them
    attached: dict[str, None] = NO_NAMES
    #: number of calls made so far; the children's ids are numbered by it
    calls_made: int = 0
    #: A mismatch that this run itself has found. It is compared by identity, because an awaited
    #: call may fail with an error of the same class.
    mismatch: NonDeterminismError | None = None

    @property
    def replaying(self) -> bool:
        """True while the code has not made all the calls that its history holds."""
        return bool(self.unmade)

    def load(self, history: list[PromiseRecord]) -> None:
        """Take in the children that were recorded before this run began."""
        self.known = {record.id: record for record in history}
        self.unmade = set(self.known)

    def absorb(self, inbox: deque[PromiseRecord], wait: Wait | None) -> None:
        """Take in what has settled since the last step, and count it for the wait under way."""
        if self.known is NO_NAMES:
            self.known = {}
        known, attached = self.known, self.attached
        while inbox:
            record = inbox.popleft()
            known[record.id] = record
            if attached:
                attached.pop(record.id, None)
            if wait is not None:
                wait.hit(record.id)

    def attach(self, id: str) -> None:
        """Keep the run from settling before the promise `id` has settled."""
        if self.attached is NO_NAMES:
            self.attached = {}
        self.attached[id] = None

    def match(self, spec: CallSpec) -> PromiseRecord | None:
        """Return the recorded promise of this call; None if the call is new.

        Raises
        ------
        NonDeterminismError
            The promise was recorded for another call.
        """
        record = self.known.get(spec.id)
        if record is not None:
            try:
                determinism.check(record, spec)
            except NonDeterminismError as mismatch:
                self.mismatch = mismatch
                raise
            if self.unmade:
                self.unmade.discard(spec.id)
        return record

    def consume(self, promise: Promise[Any]) -> Any:
        """Return the value of a settled promise, or raise the error that it failed with."""
        record = self.known[promise.id]
        if record.settled_at is not None and record.settled_at > self.time_ms:
            self.time_ms = record.settled_at
        if record.state == RESOLVED:
            return self.values.decode_value(record.value.data, promise.hint)
        raise self.values.settled_error(record)

    def first_unmade(self) -> PromiseRecord | None:
        """Return the first recorded call that the code has not made; None if it made all."""
        if not self.unmade:
            return None
        left = [self.known[id] for id in self.unmade]
        return min(left, key=lambda record: (record.created_at, record.id))
