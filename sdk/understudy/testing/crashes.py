"""Crash tests: run a function, and kill its node once at every step (`crash_everywhere`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, overload

from understudy.context import CoroutineFn, GeneratorFn, PlainFn
from understudy.handle import Handle
from understudy.runtime import Runtime
from understudy.testing.crash_report import CrashReport, CrashTestError, Failure, Tally
from understudy.testing.driver import StuckError
from understudy.testing.lookup import runtimes_for
from understudy.testing.simulator import Checkpoint, Execution, Kill, Moment
from understudy.testing.stage import Stage

P = ParamSpec("P")
T = TypeVar("T")

#: Jumps of the clock after which a function is taken for endless.
JUMPS_MAX: Final = 100_000


class Outcome(NamedTuple):
    """The end of a call: its result, or the error that it raised."""

    value: Any
    error: BaseException | None


class Trial(NamedTuple):
    """The record of one run of the function, from its call until nothing of it is left to do.

    Attributes
    ----------
    outcome
        The end of the call; None if it did not end.
    problem
        The reason why the call did not end, or the error that `check` raised after it.
    """

    outcome: Outcome | None
    problem: BaseException | None
    checkpoints: list[Checkpoint]
    executions: list[Execution]
    killed: list[Kill]


class CrashEverywhere:
    """Runs a function and kills its node once at every step: see `crash_everywhere`.

    There is one instance, `crash_everywhere`. Its method `on` returns copies with options.

    Examples
    --------
    >>> from understudy.testing import crash_everywhere
    >>> def charge(ctx, cents):
    ...     return f"charged {cents}"
    >>> def order(ctx, cents):
    ...     receipt = yield ctx.run(charge, cents)
    ...     return receipt
    >>> report = crash_everywhere(order, 500)
    >>> report.result
    'charged 500'
    >>> report.crashes, [step.name for step in report.repeated]
    (10, ['charge'])
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
        """Return a copy with these options, to be called as `crash_everywhere` is.

        Parameters
        ----------
        *runtimes : Runtime
            The runtimes with which the function and the functions that it calls are registered;
            each gets one node. By default the runtime in the function's own module, or one made
            for the function.
        before : callable, optional
            Called without arguments before each run: put everything that the function changes
            outside back as it was.
        check : callable, optional
            Called without arguments after each run: assert what must hold outside, such as one
            charge and no more.
        outside : callable, optional
            Called with the id of each promise that waits to be settled from outside. The promise
            is resolved with what it returns, or rejected with what it raises.
        raises : exception type, or tuple of them, optional
            The exceptions that the function may end with; any other is raised to the caller.
        same : callable, optional
            Returns whether two results count as equal. By default ``==``.
        id : str, optional
            The id of the call.
        crashes_max : int, optional
            If there are more crashes than this to try, this many are tried, evenly spread.

        Returns
        -------
        CrashEverywhere
            The copy.

        Examples
        --------
        >>> from understudy.testing import crash_everywhere
        >>> charges = {}
        >>> def charge(ctx, cents):
        ...     return charges.setdefault(ctx.id, cents)
        >>> def order(ctx, cents):
        ...     return (yield ctx.run(charge, cents))
        >>> def charged_once():
        ...     assert len(charges) == 1
        >>> report = crash_everywhere.on(before=charges.clear, check=charged_once)(order, 500)
        >>> report.result
        500
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
        """Run a function without a crash, then once for each moment of each checkpoint.

        Each run must end as the first did, and no step whose result was stored may run again. The
        report names the steps that ran twice because their node died while they were under way.

        Parameters
        ----------
        f : callable
            The function: a durable function of any kind.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        CrashReport
            The result, the number of crashes, and the steps that ran twice.

        Raises
        ------
        CrashTestError
            Some crash made a difference. It is an AssertionError, and says at which checkpoint the
            node died, what was different, and what to do.
        StuckError
            The run without a crash cannot end.
        Exception
            The error that the run without a crash ends with, unless `raises` allows it.

        Examples
        --------
        >>> from understudy.testing import crash_everywhere
        >>> def double(ctx, number):
        ...     return 2 * number
        >>> print(str(crash_everywhere(double, 21)).splitlines()[0])
        double: 4 crashes at 2 checkpoints: always the same result, and no stored step ran again.
        """
        __tracebackhide__ = True
        runtimes = runtimes_for(f, self._runtimes)
        first = self._try(runtimes, f, args, kwargs, {})
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
            run = self._try(runtimes, f, args, kwargs, {checkpoint.number: moment})
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
            again = self._try(runtimes, f, args, kwargs, {})
            raise CrashTestError(report, failures, self._drift(first, again))
        return report

    # One run -------------------------------------------------------------------------------------

    def _try(
        self,
        runtimes: tuple[Runtime, ...],
        f: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        kills: dict[int, Moment],
    ) -> Trial:
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
            run = stage.simulator
            return Trial(outcome, problem, run.checkpoints, run.executions, run.killed)

    def _await_all(self, stage: Stage, runtime: Runtime, handle: Handle[Any]) -> Outcome:
        """Wait until the call and everything that it started has ended."""
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
        """Settle one promise that waits for the outside; return whether there was one."""
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

    def _problem(self, first: Trial, run: Trial, checkpoint: Checkpoint) -> str | None:
        """Say what is wrong with a run; None if nothing is."""
        before = [c.description for c in first.checkpoints[: checkpoint.number]]
        now = [c.description for c in run.checkpoints[: checkpoint.number]]
        if before != now:
            return f"it took another path before the crash: {_difference(before, now)}"
        assert run.killed
        killed = run.killed[0]
        again = {e.id for e in run.executions[killed.executions :]} & killed.stored
        if again:
            return (
                f"stored steps ran again: {', '.join(sorted(again))}. This is a fault of understudy"
            )
        return self._different_end(first, run)

    def _different_end(self, first: Trial, run: Trial) -> str | None:
        if run.problem is not None:
            kind = "" if isinstance(run.problem, StuckError) else "the check after it failed: "
            return kind + (str(run.problem) or type(run.problem).__name__)
        assert first.outcome is not None
        assert run.outcome is not None
        if self._equal(first.outcome, run.outcome):
            return None
        return (
            f"without a crash: {_in_words(first.outcome)}\n"
            f"with this one:   {_in_words(run.outcome)}"
        )

    def _drift(self, first: Trial, again: Trial) -> str | None:
        """Say how a second run without a crash differs from the first; None if it does not."""
        paths = [[c.description for c in run.checkpoints] for run in (first, again)]
        if paths[0] != paths[1]:
            return _difference(*paths)
        return self._different_end(first, again)

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
    """Say where two paths part."""
    for number, (one, other) in enumerate(zip_longest(before, now, fillvalue="nothing"), 1):
        if one != other:
            return f"checkpoint {number} was {one!r} in the first run and is {other!r} now"
    raise AssertionError("they are the same")


def _in_words(outcome: Outcome) -> str:
    if outcome.error is None:
        return repr(outcome.value)
    return f"{type(outcome.error).__name__}: {outcome.error}"


crash_everywhere: Final = CrashEverywhere()
