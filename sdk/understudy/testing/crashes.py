"""A crash at every step: `crash_everywhere`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, overload

from understudy.context import CoroutineFn, GeneratorFn, PlainFn
from understudy.handle import Handle
from understudy.runtime import Runtime
from understudy.testing.crash_report import CrashReport, CrashTestError, Failure, Tally
from understudy.testing.lookup import runtimes_for
from understudy.testing.simulator import Checkpoint, Execution, Killed, Moment
from understudy.testing.stage import Stage, StuckError

P = ParamSpec("P")
T = TypeVar("T")

#: jumps of the clock after which a function counts as endless
JUMPS_MAX: Final = 100_000


class Outcome(NamedTuple):
    """How a call ended."""

    value: Any
    error: BaseException | None


class Rehearsal(NamedTuple):
    """One run of the function, from its call until nothing of it is left to do."""

    outcome: Outcome | None
    #: why there is no outcome, or what the caller's own check says of it
    problem: BaseException | None
    checkpoints: list[Checkpoint]
    executions: list[Execution]
    killed: list[Killed]


class CrashEverywhere:
    """Run a function once without a crash, then once for each way of dying at each step.

    Call it as ``crash_everywhere(function, *args, **kwargs)``; `on` gives a copy with options. Each
    run must end as the first one did, and no stored step may run again. The report names the steps
    that did run twice, because their node died while they were under way. A crash that makes a
    difference raises `CrashTestError`.

    Examples
    --------
    >>> def order(ctx, number):
    ...     receipt = yield ctx.run(charge, number)
    ...     return f"order {number}: {receipt}"
    >>> def charge(ctx, number):
    ...     return f"charged as {ctx.id}"
    >>> crash_everywhere(order, 7).result
    'order 7: charged as crash-test.1'
    """

    def __init__(
        self,
        runtimes: tuple[Runtime, ...] = (),
        before: Callable[[], object] | None = None,
        check: Callable[[], object] | None = None,
        outside: Callable[[str], Any] | None = None,
        raises: type[Exception] | tuple[type[Exception], ...] = (),
        same: Callable[[Any, Any], bool] = operator.eq,
        id: str = "crash-test",
        crashes_max: int = 1000,
    ) -> None:
        self._runtimes = runtimes
        self._before = before
        self._check = check
        self._outside = outside
        self._raises = raises
        self._same = same
        self._id = id
        self._crashes_max = crashes_max

    def on(
        self,
        *runtimes: Runtime,
        before: Callable[[], object] | None = None,
        check: Callable[[], object] | None = None,
        outside: Callable[[str], Any] | None = None,
        raises: type[Exception] | tuple[type[Exception], ...] = (),
        same: Callable[[Any, Any], bool] = operator.eq,
        id: str = "crash-test",
        crashes_max: int = 1000,
    ) -> CrashEverywhere:
        """Return a copy with options.

        Parameters
        ----------
        *runtimes : Runtime
            The runtimes in which the function and everything that it calls are registered; each
            becomes a node. By default the runtime in the function's own module, or one made for it.
        before : function, optional
            Called before each run: puts the world outside back as it was.
        check : function, optional
            Called after each run: asserts what must hold outside (one charge, no more).
        outside : function, optional
            Called with the id of each promise that the function makes for the outside. The value
            that it returns resolves the promise; an error that it raises rejects it.
        raises : type or tuple of type, optional
            The exceptions with which the function may end; any other is raised from here.
        same : function, optional
            Compares two results; by default ``==``.
        id : str, optional
            The id of the call.
        crashes_max : int, optional
            How many crashes to try. If there are more, these are spread evenly.

        Returns
        -------
        CrashEverywhere
            The copy.

        Examples
        --------
        >>> charged = []
        >>> def order(ctx, number):
        ...     yield ctx.run(charge, number)
        >>> def charge(ctx, number):
        ...     if ctx.id not in charged:  # the id is the idempotency key
        ...         charged.append(ctx.id)
        >>> def only_once():
        ...     assert len(charged) == 1
        >>> test = crash_everywhere.on(before=charged.clear, check=only_once)
        >>> test(order, 7).crashes > 0
        True
        """
        return CrashEverywhere(runtimes, before, check, outside, raises, same, id, crashes_max)

    @overload
    def __call__(
        self, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> CrashReport[T]: ...
    @overload
    def __call__(
        self, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> CrashReport[T]: ...
    @overload
    def __call__(
        self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> CrashReport[T]: ...
    def __call__(self, f: Any, /, *args: Any, **kwargs: Any) -> CrashReport[Any]:
        """Test a function; see the class.

        Parameters
        ----------
        f : function
            The function.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        CrashReport
            The result, and what was tried.

        Raises
        ------
        CrashTestError
            Says which crashes made which difference, and what to do. It is also an AssertionError.
        """
        __tracebackhide__ = True
        runtimes = runtimes_for(f, self._runtimes)
        first = self._rehearse(runtimes, f, args, kwargs, {})
        if first.problem is not None:
            raise first.problem
        assert first.outcome is not None
        error = first.outcome.error
        if error is not None and not isinstance(error, self._raises):
            raise error
        tally = Tally(first.executions)
        failures: list[Failure] = []
        kills = list(_kills(first.checkpoints))
        chosen = _spread(kills, self._crashes_max)
        for checkpoint, moment in chosen:
            run = self._rehearse(runtimes, f, args, kwargs, {checkpoint.number: moment})
            repeated = tally.add(run.executions, checkpoint, moment)
            problem = self._problem(first, run, checkpoint)
            if problem is not None:
                failures.append(Failure(checkpoint, moment, problem, repeated))
        report: CrashReport[Any] = CrashReport(
            runtimes[0].session.env.registered(f).name,
            first.outcome.value,
            error,
            len(first.checkpoints),
            len(chosen),
            len(kills),
            tally.repeated(),
            tally.replayed(),
        )
        if failures:
            again = self._rehearse(runtimes, f, args, kwargs, {})
            raise CrashTestError(report, failures, self._drift(first, again))
        return report

    # One run -------------------------------------------------------------------------------------

    def _rehearse(
        self,
        runtimes: tuple[Runtime, ...],
        f: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        kills: dict[int, Moment],
    ) -> Rehearsal:
        if self._before is not None:
            self._before()
        outcome: Outcome | None = None
        problem: BaseException | None = None
        with Stage(*runtimes, kills=kills, log=None) as stage:
            try:
                handle: Handle[Any] = runtimes[0].rpc(self._id, f, *args, **kwargs)
                outcome = self._await_all(stage, runtimes[0], handle)
                if self._check is not None:
                    self._check()
            except (StuckError, AssertionError) as error:
                problem = error
            world = stage.world
            return Rehearsal(outcome, problem, world.checkpoints, world.executions, world.killed)

    def _await_all(self, stage: Stage, runtime: Runtime, handle: Handle[Any]) -> Outcome:
        """Until it has ended, with all that it left behind."""
        answered: set[str] = set()
        for _ in range(JUMPS_MAX):
            stage.rest()
            if not self._answer(stage, runtime, answered) and not stage.skip():
                break
        else:
            raise StuckError(f"{self._id} has not ended after {JUMPS_MAX} jumps of the clock")
        try:
            return Outcome(handle.result(), None)
        except StuckError:
            raise
        except Exception as error:
            return Outcome(None, error)

    def _answer(self, stage: Stage, runtime: Runtime, answered: set[str]) -> bool:
        """Settle one promise for the outside; False: there is none."""
        if self._outside is None:
            return False
        for id in stage.external():
            if id in answered:
                continue
            answered.add(id)
            try:
                value = self._outside(id)
            except Exception as error:
                runtime.promises.reject(id, error)
            else:
                runtime.promises.resolve(id, value)
            return True
        return False

    # What must hold ------------------------------------------------------------------------------

    def _problem(self, first: Rehearsal, run: Rehearsal, checkpoint: Checkpoint) -> str | None:
        """What is wrong with a run; None: nothing."""
        before = [c.what for c in first.checkpoints[: checkpoint.number]]
        now = [c.what for c in run.checkpoints[: checkpoint.number]]
        if before != now:
            return f"it took another course before it was killed: {_difference(before, now)}"
        assert run.killed
        killed = run.killed[0]
        again = {e.id for e in run.executions[killed.executions :]} & killed.stored
        if again:
            return (
                f"stored steps ran again: {', '.join(sorted(again))}. This is a fault of understudy"
            )
        return self._ended_otherwise(first, run)

    def _ended_otherwise(self, first: Rehearsal, run: Rehearsal) -> str | None:
        if run.problem is not None:
            kind = "" if isinstance(run.problem, StuckError) else "the check after it failed: "
            return kind + (str(run.problem) or type(run.problem).__name__)
        assert first.outcome is not None
        assert run.outcome is not None
        if self._equal(first.outcome, run.outcome):
            return None
        return f"without a crash: {_told(first.outcome)}\nwith this one:   {_told(run.outcome)}"

    def _drift(self, first: Rehearsal, again: Rehearsal) -> str | None:
        """How a second run without a crash differs from the first."""
        courses = [[c.what for c in run.checkpoints] for run in (first, again)]
        if courses[0] != courses[1]:
            return _difference(*courses)
        return self._ended_otherwise(first, again)

    def _equal(self, one: Outcome, other: Outcome) -> bool:
        if one.error is None and other.error is None:
            return bool(self._same(one.value, other.value))
        return type(one.error) is type(other.error) and str(one.error) == str(other.error)


def _kills(checkpoints: list[Checkpoint]) -> Iterator[tuple[Checkpoint, Moment]]:
    for checkpoint in checkpoints:
        for moment in checkpoint.moments:
            yield checkpoint, moment


def _spread(
    kills: list[tuple[Checkpoint, Moment]], count_max: int
) -> list[tuple[Checkpoint, Moment]]:
    if len(kills) <= count_max:
        return kills
    return [kills[n * len(kills) // count_max] for n in range(count_max)]


def _difference(before: list[str], now: list[str]) -> str:
    """Where two courses part."""
    for number, (one, other) in enumerate(zip_longest(before, now, fillvalue="nothing"), 1):
        if one != other:
            return f"checkpoint {number} was {one!r} in the first run and is {other!r} now"
    raise AssertionError("they are the same")


def _told(outcome: Outcome) -> str:
    if outcome.error is None:
        return repr(outcome.value)
    return f"{type(outcome.error).__name__}: {outcome.error}"


crash_everywhere: Final = CrashEverywhere()
