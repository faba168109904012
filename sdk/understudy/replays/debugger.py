"""The debugging of one stored call: its function runs here, and its steps come from the record.

How it works
------------
The call is replayed (`steps`) on a thread of its own, under a debugger (`prompt`). Each context
that is made for its functions tells of the steps that they ask for, so the call can be stopped
before a step, in the frame that asks for it. Where the record ends, the function is shown where it
waits.

Going back is a replay from the first line, on a new thread. The old thread stays where it is: to
end it, an exception would have to pass through the user's code, whose handlers would run.
"""

from __future__ import annotations

import inspect
import queue
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatch
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, cast

from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Function
from understudy.replays.environment import ReplayEnvironment
from understudy.replays.prompt import OWN_MODULES, Prompt
from understudy.replays.record import Record
from understudy.replays.steps import Mismatch, Replay
from understudy.replays.stops import Stops
from understudy_actors.interpreter.determinism import describe, place_of
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.records import HEADER_SITE, PENDING, PROMISE_WORDS, RESOLVED, PromiseRecord

if TYPE_CHECKING:
    from types import TracebackType

    from understudy_actors.interpreter.child_calls import ChildCalls
    from understudy_actors.interpreter.environment import RunView
    from understudy_actors.interpreter.routine import Routine

EXIT_ENDED: Final = 0
EXIT_DIFFERS: Final = 1

#: the promises that are named where a call waits for many
_NAMED_MAX: Final = 3


class Debugger(Protocol):
    """The debugger of one replay; its methods are called on the thread that is debugged."""

    def follow(self) -> None:
        """Watch the functions that begin on this thread from now on."""

    def stop_at(self, frame: FrameType) -> None:
        """Stop in a frame that is running."""

    def show(self, frame: FrameType | None, trace: TracebackType | None = None) -> None:
        """Show a frame that waits, or where an error was raised."""

    def leave(self) -> NoReturn:
        """Leave the thread where it is for good."""


#: Makes the debugger of a replay from its stops, the code to stop in at once, what is told of a
#: wish to go back, and what is told that the user leaves.
MakeDebugger = Callable[
    [Stops, tuple[CodeType, ...], Callable[[str | None], None], Callable[[], None]], Debugger
]


class _Again:
    """A wish to run the call again, up to a step; None: to its first line."""

    def __init__(self, at: str | None) -> None:
        self.at = at


def debug(
    env: NodeEnvironment,
    function: Function,
    task: PromiseRecord,
    record: Record,
    *,
    say: Callable[[str], None],
    at: str | None = None,
    attempt: int = 1,
    make: MakeDebugger = Prompt,
) -> int:
    """Run a stored call under a debugger, as often as the user goes back.

    Parameters
    ----------
    env
        The functions and values of this process.
    function
        The function of the call, as it is now.
    task
        The promise of the call.
    record
        All that is known of its call graph.
    say
        Prints a line.
    at
        The step to stop before (`Stops`); None: the first line of the function.
    attempt
        The number of the attempt.

    Returns
    -------
    int
        The exit code: 1 if the code does not fit the record.
    """
    while True:
        ends: queue.SimpleQueue[int | _Again | BaseException] = queue.SimpleQueue()
        session = _Session(env, function, task, record, say, at, attempt, make, ends)
        threading.Thread(target=session.run, name="understudy-debug", daemon=True).start()
        end = ends.get()
        if isinstance(end, BaseException):
            raise end
        if isinstance(end, int):
            return end
        at = end.at


class _Session:
    """One replay of the call, under one debugger."""

    def __init__(
        self,
        env: NodeEnvironment,
        function: Function,
        task: PromiseRecord,
        record: Record,
        say: Callable[[str], None],
        at: str | None,
        attempt: int,
        make: MakeDebugger,
        ends: queue.SimpleQueue[int | _Again | BaseException],
    ) -> None:
        self._function = function
        self._task = task
        self._record = record
        self._say = say
        self._ends = ends
        self._replay = Replay(
            ReplayEnvironment(env, self._watched),
            function,
            task,
            record,
            attempt=attempt,
            on_rest=self._on_rest,
        )
        recorded = [each for made in record.made_by(task).values() for each in made]
        self._by_place = {place_of(each): each for each in recorded}
        self._stops = Stops(task.id, at, recorded)
        self._debugger = make(
            self._stops,
            _codes(function.fn) if at is None else (),
            lambda step: ends.put(_Again(step)),
            lambda: ends.put(self._exit_code),
        )
        self._exit_code = EXIT_ENDED
        #: the user's code that has asked for the latest step
        self._frame: FrameType | None = None

    def run(self) -> None:
        try:
            self._replay.play()
            self._ends.put(self._ended())
        except BaseException as error:
            self._ends.put(error)

    # On the thread of the function ---------------------------------------------------------------

    def _watched(self, run: RunView) -> RunView:
        self._debugger.follow()
        return cast("RunView", _WatchedRun(run, self._on_step))

    def _on_step(self, spec: CallSpec) -> None:
        frame = self._frame = _user_frame(sys._getframe())
        if self._stops.reaches(spec.id, spec.kind, spec.name) and frame is not None:
            self._say(f"Before step {spec.id}, {spec.label}: {self._known(spec.id)}.")
            self._debugger.stop_at(frame)
            self._stops.went_on()

    def _known(self, id: str) -> str:
        found = self._by_place.get(id)
        if found is None:
            return "the record does not have it"
        return f"the record has {describe(found)}, {PROMISE_WORDS[found.state]}"

    # The end -------------------------------------------------------------------------------------

    def _on_rest(self, routine: Routine, mismatch: Mismatch | None) -> None:
        """Show the function where it gets no further, in the innermost of its runs; then end."""
        frame = _waiting_frame(routine) if mismatch is None else self._frame
        if mismatch is not None:
            self._exit_code = EXIT_DIFFERS
            self._say(f"Here the code and the record differ. {type(mismatch).__name__}: {mismatch}")
        else:
            self._say(f"The record ends here. {self._waits(routine)}")
        self._say_missed()
        if frame is not None:
            self._debugger.show(frame)
        # Nothing unwinds, so no clean-up code of the function runs.
        self._ends.put(self._exit_code)
        self._debugger.leave()

    def _waits(self, routine: Routine) -> str:
        ids = [] if routine.wait is None else routine.wait.ids()
        if not ids:
            ids = [child.id for child in self._replay.children if child.state == PENDING]
        named = [_promise_text(id, self._record.find(id)) for id in ids[:_NAMED_MAX]]
        if len(ids) > _NAMED_MAX:
            named.append(f"{len(ids) - _NAMED_MAX:,} more")
        if not named:
            return f"{routine.function.name} waits for something else than its steps."
        return f"{routine.function.name} waits for {'; '.join(named)}."

    def _say_missed(self) -> None:
        missed = self._stops.missed
        if missed is not None:
            self._say(f"Note: {missed}.")

    def _ended(self) -> int:
        """Show how the function ended; return the exit code."""
        replay, name = self._replay, self._function.name
        outcome = replay.outcome
        assert outcome is not None
        self._say_missed()
        differs = ""
        if self._task.settled and outcome.state != self._task.state:
            differs = f" (the record has it as {PROMISE_WORDS[self._task.state]})"
        if outcome.error is not None:
            error = outcome.error
            self._say(f"{name} fails here{differs}: {type(error).__name__}: {error}")
            self._debugger.show(None, error.__traceback__)
        else:
            same = outcome.value.data == self._task.value.data
            if self._task.state == RESOLVED:
                differs = ", as recorded" if same else ", and another result is recorded"
            self._say(f"{name} returns{differs}.")
        return self._exit_code


class _WatchedRun:
    """A run, as a context sees it, that tells of its steps."""

    def __init__(self, run: RunView, on_step: Callable[[CallSpec], None]) -> None:
        self._run = run
        self.calls = _WatchedCalls(run.calls, on_step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


class _WatchedCalls:
    """The calls of a run, which tell of each that is made."""

    def __init__(self, calls: ChildCalls, on_step: Callable[[CallSpec], None]) -> None:
        self._calls = calls
        self._on_step = on_step

    def new_call(self, kind: str, name: str, site: str) -> CallSpec:
        """Number the next call, and tell of it."""
        spec = self._calls.new_call(kind, name, site)
        self._on_step(spec)
        return spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)


def _promise_text(id: str, found: PromiseRecord | None) -> str:
    if found is None:
        return f"{id}, which is not recorded"
    since = datetime.fromtimestamp(found.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    site = found.param.headers.get(HEADER_SITE)
    at = "" if site is None else f" at {site}"
    return f"{id} ({describe(found)}{at}), {PROMISE_WORDS[found.state]} since {since}"


def _codes(fn: Any) -> tuple[CodeType, ...]:
    """Return the code of a function, and of what it wraps."""
    found = [fn, inspect.unwrap(fn), type(fn).__call__]
    codes = [getattr(each, "__code__", None) for each in found]
    return tuple(code for code in codes if code is not None)


def _is_own(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return any(fnmatch(name, pattern) for pattern in OWN_MODULES)


def _user_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the user's code."""
    while frame is not None and _is_own(frame):
        frame = frame.f_back
    return frame


def _waiting_frame(routine: Routine) -> FrameType | None:
    """Return the innermost frame of the user's code in a function that waits."""
    found = None
    for body in routine.stack:
        inner: Any = body
        while inner is not None:
            frame = getattr(inner, "gi_frame", None) or getattr(inner, "cr_frame", None)
            if frame is not None and not _is_own(frame):
                found = frame
            inner = getattr(inner, "gi_yieldfrom", None) or getattr(inner, "cr_await", None)
    return found
