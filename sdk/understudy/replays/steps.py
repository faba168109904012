"""The replay of one stored call: its function is stepped, and the record answers what it asks for.

The interpreter that steps it is the one of a node, so a replay goes on, and breaks, as the call
would on a node. A step that is recorded with its result is answered with that; one that is not is
never performed, so the replay ends where the code waits for it. A step that makes calls of its own,
and was under way, is replayed too: a node would run it again as a part of its caller.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec.structs import replace

from understudy.registry import Function
from understudy.replays.places import place_of
from understudy.replays.record import Record
from understudy_actors.activation import Activation, Run
from understudy_actors.errors import NonDeterminismError, UnreadableError
from understudy_actors.executor.results import Results
from understudy_actors.interpreter.determinism import describe, left_over
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.outcome import Outcome, failure
from understudy_actors.interpreter.routine import Routine, local_routine
from understudy_actors.interpreter.step_result import ChildCommand, LocalStart, StepResult
from understudy_actors.node.fence_replies import conflict
from understudy_store.commands import PromiseCreate
from understudy_store.records import HEADER_SITE, PromiseRecord, origin_of

if TYPE_CHECKING:
    from understudy_actors.executor.async_loop import AsyncLoop

#: Turns of a loop without news after which it has come to rest.
QUIET_TURNS: Final = 50
#: Seconds that a coroutine may await something beside ctx once it has made all recorded calls.
BEYOND_S: Final = 0.05

Mismatch: TypeAlias = NonDeterminismError | UnreadableError
#: takes a run that gets no further, and the mismatch that is the reason, if it is one
OnRest: TypeAlias = Callable[[Routine, Mismatch | None], None]


class ReplayTimeoutError(Exception):
    """A coroutine has awaited something beside ctx for too long, before its recorded calls."""


class Replay:
    """The replay of one stored call.

    Parameters
    ----------
    env
        The functions and values of this process.
    function
        The function, as it is now.
    task
        The promise of the call.
    record
        All that is known of its call graph.
    attempt
        The number of the attempt, from 1.
    patience_s
        Seconds that a coroutine may await something beside ctx before its recorded calls; None: as
        long as it takes.
    on_rest
        Called when the function, or a step that is replayed inside it, gets no further, while it
        still waits there.

    Attributes
    ----------
    children : list of PromiseRecord
        The recorded calls of the function itself.
    outcome : Outcome or None
        How the function ended, if it did.
    beyond : str or None
        Its first call that is new, in words.
    mismatch : NonDeterminismError, UnreadableError or None
        The error that says where the record does not suit the code.
    """

    def __init__(
        self,
        env: Environment,
        function: Function,
        task: PromiseRecord,
        record: Record,
        *,
        attempt: int = 1,
        patience_s: float | None = None,
        on_rest: OnRest | None = None,
    ) -> None:
        made = record.made_by(task)
        self.children = made.pop(task.id, [])
        self._routine = Routine(
            env,
            function,
            task,
            origin=origin_of(task),
            branch=task.id,
            data=task.param.data,
            attempt=attempt,
            history=self.children,
        )
        rest = on_rest or _ignore
        self._run = _RunReplay(self._routine, record, made, task.created_at, patience_s, rest)
        self.outcome: Outcome | None = None
        self.beyond: str | None = None
        self.mismatch: Mismatch | None = None

    def play(self) -> None:
        """Run the function until it ends, or the record cannot answer it.

        Raises
        ------
        ReplayTimeoutError
            It has waited for longer than its patience.
        """
        run = self._run
        run.play()
        self.outcome, self.beyond, self.mismatch = run.outcome, run.beyond, run.mismatch

    def close(self) -> None:
        """Let go of the function where it is; no clean-up code of a generator runs."""
        self._routine.close()


class _RunReplay:
    """Steps a routine until it ends, or asks for what the record does not have.

    Parameters
    ----------
    made
        The recorded calls of steps under way, by the ids of these.
    now_ms
        The time of the replay, epoch milliseconds.
    """

    def __init__(
        self,
        routine: Routine,
        record: Record,
        made: dict[str, list[PromiseRecord]],
        now_ms: int,
        patience_s: float | None,
        on_rest: OnRest,
    ) -> None:
        self.routine = routine
        self.outcome: Outcome | None = None
        self.beyond: str | None = None
        self.mismatch: Mismatch | None = None
        self._record = record
        self._made = made
        self._now_ms = now_ms
        self._patience_s = patience_s
        self._on_rest = on_rest

    def play(self) -> None:
        routine = self.routine
        if not _is_coroutine(routine):
            # A plain function may return a coroutine.
            while self._goes_on(routine.step(self._now_ms)) and not _is_coroutine(routine):
                pass
        if _is_coroutine(routine):
            self._play_coroutine()
        elif self.outcome is None:
            self._on_rest(self.routine, self.mismatch)

    def _play_coroutine(self) -> None:
        """Run a coroutine. What it awaits beside ctx happens, as in every replay."""
        from understudy_actors.executor.async_loop import AsyncLoop  # generators do without it

        #: None: a report has arrived; a number: the loop has come to rest after so many reports
        signals: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        results = Results(lambda _: signals.put(None))
        routine = self.routine
        loop = AsyncLoop(
            results,
            lambda: self._now_ms,
            name=routine.function.loop,
            hold_turns=QUIET_TURNS,
            lends=False,
        )
        run = Run(Activation(routine.record, 1), routine, None)
        loop.submit(run)
        try:
            self._answer_loop(loop, run, signals, results)
            if self.outcome is None:
                self._on_rest(routine, self.mismatch)
        finally:
            loop.stop()

    def _answer_loop(
        self,
        loop: AsyncLoop,
        run: Run,
        signals: queue.SimpleQueue[int | None],
        results: Results,
    ) -> None:
        """Answer what a coroutine asks for, until it has ended or gets no further."""
        routine, asked = self.routine, 0
        while True:
            try:
                signal = self._next_signal(signals)
            except queue.Empty:
                return
            reports = results.take()
            if not reports and signal == asked:
                # Its tasks wait for what the record does not know.
                missed = routine.replay.first_unmade()
                if missed is not None:
                    place = place_of(routine.function.fn)
                    self.mismatch = left_over(missed, place, waits=True)
                return
            for report in reports:
                goes_on = self._goes_on(report.result)
                if self.mismatch is not None or (report.final and not goes_on):
                    return
                if report.final:
                    loop.submit(run)
                asked += 1
                if report.waits:
                    loop.call_after(QUIET_TURNS, partial(signals.put, asked))

    def _next_signal(self, signals: queue.SimpleQueue[int | None]) -> int | None:
        """Return the next signal of the loop.

        Raises
        ------
        queue.Empty
            There is none, and the code has made all recorded calls.
        ReplayTimeoutError
            There is none, and the code has not made them.
        """
        if self._patience_s is None:
            return signals.get()
        give_up_at = time.monotonic() + self._patience_s
        while True:
            try:
                return signals.get(timeout=min(BEYOND_S, self._patience_s))
            except queue.Empty:
                if not self.routine.replay.unmade:
                    raise
                if time.monotonic() >= give_up_at:
                    raise ReplayTimeoutError from None

    def _goes_on(self, output: StepResult) -> bool:
        """Answer the calls of a step; return whether another step would get further."""
        routine = self.routine
        self.beyond = self.beyond or self._new_call(output)
        try:
            answered = [c for c in output.commands if self._answer(c)]
        except NonDeterminismError as error:
            self.mismatch = error
            return False
        routine.answered(len(output.commands))
        if output.mismatch is not None:
            self.mismatch = output.mismatch
            return False
        ended = [start for start in output.locals if self._play_step(start)]
        if self.mismatch is not None:
            return False
        if output.done is not None:
            self.outcome = output.done
            return False
        if output.retry_error is not None:
            # A node would try it again, later.
            self.outcome = failure(routine.env.values, output.retry_error, routine.attempt)
            return False
        if not routine.alive and (missed := routine.replay.first_unmade()):
            # The code has ended, and waits for children that are pending in the record.
            self.mismatch = left_over(missed, place_of(routine.function.fn))
            return False
        return bool(answered or ended) or routine.runnable

    def _answer(self, command: ChildCommand) -> bool:
        """Answer the creation of a promise that the preload lacks, as the store would.

        A call under a shared id is one, if another caller has made it. Returns whether the promise
        is settled.
        """
        found = self._record.find(command.id)
        if found is None or not isinstance(command, PromiseCreate):
            return False
        wrong = conflict(command, found)
        if wrong is not None:
            raise wrong
        if found.settled:
            self.routine.learn(found)
        return found.settled

    def _new_call(self, output: StepResult) -> str | None:
        """Return the first call of a step that is not in the record, in words."""
        for command in output.commands:
            if isinstance(command, PromiseCreate) and command.id not in self._record:
                return in_words(command)
        return None

    def _play_step(self, start: LocalStart) -> bool:
        """Replay a step under way that has made calls of its own; return whether it has ended."""
        history = self._made.pop(start.spec.id, None)
        if not history:
            return False
        routine = local_routine(self.routine, start, history)
        if routine.kind == "plain" and not getattr(start.function, "may_make_calls", True):
            self.mismatch = left_over(history[0], place_of(start.function.fn))
            return False
        step = _RunReplay(
            routine, self._record, self._made, self._now_ms, self._patience_s, self._on_rest
        )
        step.play()
        self.mismatch = step.mismatch
        self.beyond = self.beyond or step.beyond
        if step.outcome is None:
            return False
        state, value = step.outcome.state, step.outcome.value
        self.routine.learn(replace(start.record, state=state, value=value, settled_at=self._now_ms))
        return True


def _is_coroutine(routine: Routine) -> bool:
    return routine.kind == "coroutine"


def _ignore(routine: Routine, mismatch: Mismatch | None) -> None:
    """Do nothing about a run that gets no further."""


def in_words(command: PromiseCreate) -> str:
    """Name the call that a command makes, and its place: ``rpc ship at shop.py:12``."""
    made = PromiseRecord(
        command.id, "pending", command.param, command.param, command.tags, command.timeout_at, 0
    )
    site = command.param.headers.get(HEADER_SITE, "?")
    return f"{describe(made)} at {site}"
