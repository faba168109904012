"""The replay state of a run: its recorded calls, results settled since, and calls made so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from understudy_actors.errors import (
    CommandError,
    NonDeterminismError,
    UnreadableError,
    check_not_dropped,
)
from understudy_actors.interpreter.determinism import (
    are_alike,
    defined_at,
    difference,
    left_over,
    place_of,
    renamed,
)
from understudy_actors.interpreter.empty import NO_NAMES, NO_SET
from understudy_actors.interpreter.ports import Values
from understudy_actors.interpreter.requests import CallSpec, Promise
from understudy_actors.interpreter.strands import RecordedStrands, Strand
from understudy_actors.interpreter.wait import Wait
from understudy_store.records import PENDING, RESOLVED, PromiseRecord


class Hits(Protocol):
    """Waits that count promises that have settled."""

    def hit(self, id: str) -> None: ...


class ReplayState(msgspec.Struct, eq=False):
    """Everything that decides how a run goes on, apart from its function.

    Parameters
    ----------
    values
        Decodes results.
    own
        The strand of the function itself.
    """

    values: Values
    own: Strand
    #: Returns the strand of whoever calls it; None: nobody that belongs to the run. It is absent
    #: while the function has started no tasks, because then all calls are in its own strand.
    find_strand: Callable[[], Strand | None] | None = None
    #: promises of this run by id, as last heard of
    known: dict[str, PromiseRecord] = NO_NAMES
    #: ids of recorded calls that the code has not made yet; the run replays while there are any
    unmade: set[str] = NO_SET
    #: ids of attached children that have not settled; the run does not settle before them
    attached: dict[str, None] = NO_NAMES
    #: recorded calls with ids of their own, by their place among the calls
    placed: dict[str, PromiseRecord] = NO_NAMES
    #: calls that this run has made under ids of their own
    chosen: dict[str, CallSpec] = NO_NAMES
    #: Refusals of calls for which the function has not waited, so that it does not know of them.
    #: The node's thread adds to it.
    refused: dict[str, CommandError] = NO_NAMES
    #: A mismatch that this run itself has found. It is compared by identity, because an awaited
    #: call may fail with an error of the same class. Also a value that cannot be read here.
    mismatch: NonDeterminismError | UnreadableError | None = None

    @property
    def replaying(self) -> bool:
        """True while the code has not made all the calls that its history holds."""
        return bool(self.unmade)

    @property
    def strand(self) -> Strand:
        """The strand of whoever asks."""
        find = self.find_strand
        return self.own if find is None else find() or self.own

    @property
    def has_called(self) -> bool:
        """True if the function, or a task that it has started, has made calls."""
        return bool(self.own.calls_made) or self.own.tasks_called

    def recorded_strands(self) -> RecordedStrands:
        """Return the strands of the recorded calls that the code has not made yet."""
        return RecordedStrands(self.own.id, (place_of(self.known[id]) for id in self.unmade))

    def check_renamed(self, strands: RecordedStrands, spec: CallSpec) -> None:
        """Refuse a call of a task that the history does not know, while a recorded one is missing.

        Raises
        ------
        NonDeterminismError
            The task seems to be the recorded one under another name.
        """
        if not strands.is_doubtful(spec.place or spec.id):
            return
        left = [self.known[id] for id in self.unmade]
        # A call with an id of its own may have been made elsewhere meanwhile, so none may be left.
        missed = min((r for r in left if strands.is_missing(place_of(r))), key=_age, default=None)
        if missed is not None:
            self.mismatch = renamed(missed, spec)
            raise self.mismatch

    def load(self, history: list[PromiseRecord]) -> None:
        """Take in the children that were recorded before this run began."""
        self.known = {record.id: record for record in history}
        self.unmade = set(self.known)
        self.placed = {
            place: record for record in history if (place := place_of(record)) != record.id
        }

    def absorb(
        self, inbox: deque[PromiseRecord], wait: Wait | None, tasks: Hits | None = None
    ) -> None:
        """Take in what has settled since the last step, and count it for the waits under way."""
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
            if tasks is not None:
                tasks.hit(record.id)

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
            Another call is recorded in this place, or this one in another place.
        CommandError
            This run has made another call under the same id.
        """
        if spec.place is not None:
            self._check_chosen(spec)
        if self.unmade:
            self._check_place(spec)
        return self.known.get(spec.id)

    def _check_place(self, spec: CallSpec) -> None:
        """Compare a call with the one in the history, and check it off."""
        place = spec.place or spec.id
        # In a place, a call is recorded under an id of its own, or under that of the place.
        record = self.placed.get(place) or self.known.get(place)
        if record is None and spec.id in self.unmade:
            record = self.known[spec.id]
        if record is None or record.id not in self.unmade:
            return
        self.mismatch = difference(record, spec)
        if self.mismatch is not None:
            raise self.mismatch
        self.unmade.discard(record.id)

    def _check_chosen(self, spec: CallSpec) -> None:
        """Refuse an id that this run has given to another call; the same call may be made again."""
        if self.chosen is NO_NAMES:
            self.chosen = {}
        first = self.chosen.setdefault(spec.id, spec)
        if first.name != spec.name or not are_alike(first.kind, spec.kind):
            raise CommandError(
                409,
                f"the id {spec.id!r} belongs to another call ({first.label} at {first.site}), so "
                f"it cannot be {spec.label}: give one of them another id",
            )

    def mismatch_at_end(
        self, fn: Callable[..., Any], raised: BaseException | None
    ) -> NonDeterminismError | UnreadableError | None:
        """Return where code and history differ, for a function that has ended; None: nowhere.

        Parameters
        ----------
        fn
            The code of the function.
        raised
            The exception that it ended with; None if it returned.
        """
        missed = self.first_unmade() if self.unmade else None
        if self.mismatch is not None or missed is None:
            return self.mismatch
        return left_over(missed, defined_at(fn), raised)

    def is_settled(self, id: str) -> bool:
        """Return whether the promise `id` is known to have settled."""
        record = self.known.get(id)
        return record is not None and record.state != PENDING

    def consume(self, promise: Promise[Any]) -> Any:
        """Return the value of a settled promise, or raise the error that it failed with."""
        record = self.known[promise.id]
        self.strand.see(record.settled_at)
        if record.state == RESOLVED:
            return self.read(record, promise.hint)
        self.hear((promise,))
        try:
            error = self.values.settled_error(record)
        except UnreadableError as unreadable:
            self.mismatch = unreadable
            raise
        raise error

    def read(self, record: PromiseRecord, hint: Any = None) -> Any:
        """Return the value of a resolved promise; if it cannot be read here, that is a mismatch.

        The function does not hear of that: it is no result that this process lacks a key.
        """
        try:
            check_not_dropped(record)
            return self.values.decode_value(record.value.data, hint)
        except UnreadableError as unreadable:
            self.mismatch = unreadable
            raise

    def refuse(self, id: str, error: CommandError) -> None:
        """Note that the store has refused the call `id`; called on the node's thread.

        The function is told if it waits for the call. Otherwise it fails at its end.
        """
        if self.refused is NO_NAMES:
            self.refused = {}
        self.refused[id] = error

    def hear(self, promises: Iterable[Promise[Any]]) -> None:
        """Note that the function is told how these ended, so that no refusal goes unheard."""
        if self.refused:
            for promise in promises:
                self.refused.pop(promise.id, None)

    def first_unmade(self) -> PromiseRecord | None:
        """Return the first recorded call that the code has not made; None if it made all."""
        if not self.unmade:
            return None
        left = [self.known[id] for id in self.unmade]
        return min(left, key=_age)


def _age(record: PromiseRecord) -> tuple[int, str]:
    """Return what sorts records by when they were made."""
    return record.created_at, record.id
