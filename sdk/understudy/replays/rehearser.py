"""The rehearsal of one call after the other, each within a time limit."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Function
from understudy.replays.environment import ReplayEnvironment
from understudy.replays.places import place_of
from understudy.replays.record import Record
from understudy.replays.rehearsal import Verdict, VerdictKind
from understudy.replays.steps import Replay, ReplayTimeoutError
from understudy_actors.errors import NonDeterminismError, UnreadableError
from understudy_actors.executor.stall_watch import current_line
from understudy_actors.interpreter.determinism import left_over
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_VERSION,
    RESOLVED,
    PromiseRecord,
)

#: Replays of a function that may hang before its other calls are skipped. A thread of each goes on
#: as long as the process.
HANGS_MAX: Final = 2
#: seconds beyond the limit
_GRACE_S: Final = 0.2


class Rehearser:
    """Replays calls under way with the functions of this process.

    Parameters
    ----------
    env
        The functions and values.
    limit_s
        Seconds that one replay may take.
    """

    def __init__(self, env: NodeEnvironment, limit_s: float) -> None:
        self._env = ReplayEnvironment(env)
        self._limit_s = limit_s
        self._thread = _Thread()
        self._hangs: Counter[Function] = Counter()

    def rehearse(self, task: PromiseRecord, record: Record | Exception) -> Verdict:
        """Replay a call as far as it is recorded.

        Parameters
        ----------
        record
            All that is known of its call graph, or the reason why it is not.
        """
        headers = task.param.headers
        name = headers.get(HEADER_FUNCTION, "")
        version = headers.get(HEADER_VERSION, "0")
        wanted = int(version) if version.isdecimal() else 0

        def verdict(kind: VerdictKind, text: str = "", steps: int = 0) -> Verdict:
            return Verdict(task.id, name, wanted, kind, steps, text=text)

        if isinstance(record, Exception):
            return verdict("skipped", f"their records cannot be read: {_without_id(task, record)}")
        if not name:
            return verdict("skipped", "they name no function: a client of another kind made them")
        try:
            function = self._env.functions.get(name, wanted or None)
        except Exception as error:
            return verdict("no_function", str(error))
        if self._hangs[function] >= HANGS_MAX:
            return verdict("skipped", "not tried, because other replays of the function hung")
        ended, found, line = self._thread.call(
            partial(_rehearse, self._env, function, task, record, self._limit_s, verdict),
            self._limit_s,
        )
        if found is not None:
            return found
        if not ended:
            # Its thread cannot be ended, so it is left behind.
            self._thread = _Thread()
        self._hangs[function] += 1
        at = f", at {line}" if line else ""
        return verdict("hangs", f"the replay did not end within {self._limit_s:g} s{at}")


def _rehearse(
    env: ReplayEnvironment,
    function: Function,
    task: PromiseRecord,
    record: Record,
    patience_s: float,
    verdict: Callable[[VerdictKind, str, int], Verdict],
) -> Verdict | None:
    """Return the verdict of a call; None if it awaits something else for too long."""
    try:
        env.values.decode_call(function, task.param.data)
    except UnreadableError as error:
        return verdict("unreadable", _without_id(task, error), 0)
    except Exception as error:
        return verdict("arguments", f"it does not take the arguments: {error}", 0)
    replay = Replay(env, function, task, record, patience_s=patience_s)
    steps = len(replay.children)
    if not steps:
        # It has not got anywhere, so it is run from its first line, whatever the code is.
        return verdict("goes_on", "", 0)
    if not function.may_make_calls:
        missed = left_over(replay.children[0], place_of(function.fn))
        return _broken(verdict("mismatch", "", steps), missed)
    try:
        replay.play()
    except ReplayTimeoutError:
        return None
    finally:
        replay.close()
    mismatch, outcome = replay.mismatch, replay.outcome
    if isinstance(mismatch, UnreadableError):
        return verdict("unreadable", _without_id(task, mismatch), steps)
    if mismatch is not None:
        return _broken(verdict("mismatch", "", steps), mismatch)
    may_fail = any(child.settled and child.state != RESOLVED for child in replay.children)
    if outcome is not None and outcome.error is not None and not may_fail:
        raised = outcome.error
        text = f"it fails at once{_raised_at(raised)}: {type(raised).__name__}: {raised}"
        return verdict("fails", text, steps)
    return verdict("goes_on", "", steps)


def _broken(verdict: Verdict, error: NonDeterminismError) -> Verdict:
    return Verdict(
        verdict.id,
        verdict.function,
        verdict.version,
        verdict.kind,
        verdict.steps,
        error.promise,
        error.recorded,
        error.recorded_at,
        error.asked,
        error.asked_at,
    )


def _without_id(task: PromiseRecord, error: Exception) -> str:
    return str(error).replace(task.id, "the call")


def _raised_at(error: BaseException) -> str:
    """Return the line that raised an error, as `` at shop.py:12``; empty if it is unknown."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


class _Thread:
    """A thread for one function after the other, each of which may hang."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Verdict | None]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Verdict | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="understudy-rehearsal", daemon=True)
        self._thread.start()

    def call(
        self, function: Callable[[], Verdict | None], limit_s: float
    ) -> tuple[bool, Verdict | None, str]:
        """Call a function.

        Returns
        -------
        tuple[bool, Verdict | None, str]
            Whether it has ended, its result, and the line at which it hangs.
        """
        self._work.put(function)
        try:
            # A coroutine's own limit ends first, and leaves no thread behind.
            result = self._done.get(timeout=limit_s + _GRACE_S)
        except queue.Empty:
            return False, None, current_line(self._thread) or ""
        if isinstance(result, BaseException):
            raise result
        return True, result, ""

    def _run(self) -> None:
        while True:
            function = self._work.get()
            try:
                self._done.put(function())
            except BaseException as error:
                self._done.put(error)
