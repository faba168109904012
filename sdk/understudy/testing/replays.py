"""Replays of recorded calls: check that changed code can go on with calls that old code began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Function
from understudy.replays.places import place_of
from understudy.replays.record import Record
from understudy.replays.steps import Replay
from understudy.runtime import Runtime
from understudy.testing.histories import History, HistoryError, functions_in, record
from understudy.testing.lookup import runtimes_for
from understudy.testing.threads import run_off_loop
from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter.determinism import describe, left_over
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_SITE,
    HEADER_VERSION,
    TAG_TARGET,
    PromiseRecord,
)

_Mismatch = TypeVar("_Mismatch", bound=Exception)


class Replayed(NamedTuple):
    """The replay of one recorded run of a function.

    Attributes
    ----------
    id : str
        The id of the call.
    calls : int
        The number of recorded calls that the run made. The code makes all of them.
    beyond : str or None
        The first call that the code makes after the recorded ones; None if it makes no more.
    same_result : bool or None
        Whether the code ends with the recorded result; None if it does not end, or if no result
        was recorded.

    Examples
    --------
    >>> from understudy.testing import Replayed
    >>> print(Replayed("order-1", calls=2, beyond="sleep at shop.py:9", same_result=None))
    order-1: 2 recorded calls match; then it asks for sleep at shop.py:9
    """

    id: str
    calls: int
    beyond: str | None
    same_result: bool | None

    def __str__(self) -> str:
        text = f"{self.id}: {self.calls} recorded calls match"
        if self.beyond is not None:
            text += f"; then it asks for {self.beyond}"
        if self.same_result is False:
            text += "; it ends with another result than was recorded"
        return text


def replay(
    history: History | Path | str,
    fn: Callable[..., Any],
    *,
    runtime: Runtime | None = None,
    name: str | None = None,
    strict: bool = False,
) -> list[Replayed]:
    """Replay recorded runs of a function with the code that the function has now.

    No step runs and nothing is stored. Each call that the code makes is answered from the history,
    as it is when another node takes over, and the code is closed where the history ends.

    Parameters
    ----------
    history : History, Path or str
        A history from `record`; or the path of a file that `History.save` has written (it ends in
        .json), or of a folder of such files; or the id of a call, which is then recorded from the
        broker of `runtime`.
    fn : callable
        The function as it is now.
    runtime : Runtime, optional
        The runtime with which it is registered: the source of its dependencies, and of functions
        that it calls by name. By default the one in its own module, if there is one.
    name : str, optional
        The name under which the function was registered when the history was recorded, if it has
        another one now.
    strict : bool, optional
        Whether to fail as well if the code goes on after the recorded end, or ends with another
        result than was recorded. Neither harms calls that are under way.

    Returns
    -------
    list of Replayed
        One entry for each recorded run.

    Raises
    ------
    NonDeterminismError
        The code makes another call than was recorded; the error names both. A call that is under
        way when this code is deployed would fail with the same error.
    HistoryError
        The history contains no run of the function, or a file is no history.
    CommandError
        404: there is no call with the id that was given.

    Examples
    --------
    >>> from understudy import Runtime
    >>> from understudy.testing import Stage, record, replay
    >>> runtime = Runtime.local()
    >>> @runtime.register
    ... def remind(ctx, days):
    ...     yield ctx.sleep(days * 24 * 3600)
    ...     return "reminded"
    >>> with Stage(runtime):
    ...     runtime.rpc("remind-1", remind, 7).result()
    ...     history = record("remind-1", runtime)
    'reminded'
    >>> replay(history, remind, runtime=runtime)
    [Replayed(id='remind-1', calls=1, beyond=None, same_result=True)]
    """
    __tracebackhide__ = True
    env = runtimes_for(fn, () if runtime is None else (runtime,))[0].session.env
    function = env.registered(fn)
    wanted = name or function.name
    replayed = []
    for found in _histories(history, runtime):
        replayer = _Replayer(env, function, found, strict)
        runs = [r for r in found.promises if _is_run_of(r, wanted, function, name)]
        if not runs:
            raise HistoryError(_no_run(found, wanted))
        for each in runs:
            replayed += [run_off_loop(partial(replayer.replay, each))]
    return replayed


def _histories(history: History | Path | str, runtime: Runtime | None) -> Iterator[History]:
    if isinstance(history, History):
        yield history
        return
    path = Path(history)
    if isinstance(history, str) and path.suffix != ".json" and not path.is_dir():
        yield record(history, runtime)
    elif path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise HistoryError(f"there is no .json file in {path}: save a history there first")
        yield from map(History.load, files)
    else:
        yield History.load(path)


def _is_run_of(record: PromiseRecord, name: str, function: Function, given: str | None) -> bool:
    """Return whether a promise is a task of that function, in the version of today."""
    headers = record.param.headers
    version = headers.get(HEADER_VERSION)
    return (
        TAG_TARGET in record.tags
        and headers.get(HEADER_FUNCTION) == name
        and (given is not None or version is None or int(version) == function.version)
    )


def _no_run(history: History, name: str) -> str:
    functions = ", ".join(functions_in(history)) or "none"
    return (
        f"{history} has no run of {name!r} in this version (functions in it: {functions}). Steps "
        "that ran inside their caller (ctx.run) are checked with the caller. If the function was "
        "registered under another name, give that with name=..."
    )


class _Replayer:
    """Replays runs of one history."""

    def __init__(
        self, env: NodeEnvironment, function: Function, history: History, strict: bool
    ) -> None:
        self._env = env
        self._function = function
        self._history = history
        self._record = Record(history.promises)
        self._strict = strict

    def replay(self, task: PromiseRecord) -> Replayed:
        __tracebackhide__ = True
        steps = Replay(self._env, self._function, task, self._record)
        children = steps.children
        if not children:
            return Replayed(task.id, 0, None, None)
        if not self._function.may_make_calls:
            raise self._with_note(task, left_over(children[0], place_of(self._function.fn)))
        steps.play()
        steps.close()
        outcome, beyond = steps.outcome, steps.beyond
        if steps.mismatch is not None:
            raise self._with_note(task, steps.mismatch)
        same = None
        if outcome is not None and task.settled:
            same = outcome.state == task.state and outcome.value.data == task.value.data
        done = Replayed(task.id, len(children), beyond, same)
        if self._strict and task.settled and (beyond is not None or same is False):
            raise self._with_note(task, self._strict_error(task, done))
        return done

    def _strict_error(self, task: PromiseRecord, done: Replayed) -> NonDeterminismError:
        recorded = f"its end ({task.state}) after {done.calls} calls"
        asked = done.beyond or "another result"
        return NonDeterminismError(
            task.id, recorded, asked, task.param.headers.get(HEADER_SITE, "the outside"), place_of(
                self._function.fn
            )
        )  # fmt: skip

    def _with_note(self, task: PromiseRecord, error: _Mismatch) -> _Mismatch:
        error.__traceback__ = None  # It only shows the interpreter, which helps nobody.
        error.add_note(
            f"found by replaying {task.id}, {describe(task)}, of {self._history} with "
            f"{self._function.name} at {place_of(self._function.fn)}"
        )
        if error.__cause__ is not None:
            error.add_note(f"the code itself has raised {error.__cause__!r}")
        return error
