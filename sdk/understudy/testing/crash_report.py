"""The findings of a crash test, in words on which a person can act."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from understudy.errors import UnderstudyError
from understudy.replays.places import place_of
from understudy.testing.simulator import Checkpoint, Execution, Moment
from understudy_actors.interpreter.routine import Routine
from understudy_store.records import HEADER_SITE

T_co = TypeVar("T_co", covariant=True)

#: Failures that a message describes; the others are only counted.
SHOWN_MAX: Final = 3


class Repeated(NamedTuple):
    """A function that ran more often than it does without a crash.

    Attributes
    ----------
    name : str
        The function's name.
    place : str
        The file and line where it begins: ``shop/orders.py:12``.
    called_at : str
        The file and line where it is called.
    times : int
        The number of times that one call of it ran, at most.
    usually : int
        The number of times that the call runs without a crash.
    crashes : int
        The number of crashes after which it ran more often.
    example : str
        The first of these crashes, in words.

    Examples
    --------
    >>> from understudy.testing import crash_everywhere
    >>> def double(ctx, number):
    ...     return 2 * number
    >>> [step] = crash_everywhere(double, 21).repeated
    >>> step.name, step.times, step.usually
    ('double', 2, 1)
    """

    name: str
    place: str
    called_at: str
    times: int
    usually: int
    crashes: int
    example: str

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.place}, called at {self.called_at}) ran up to {self.times} times "
            f"instead of {self.usually}, in {self.crashes} of the crashes; first {self.example}"
        )


class Failure(NamedTuple):
    """A crash that made a difference.

    Attributes
    ----------
    problem
        The difference, in words.
    repeated
        The steps that ran twice in this run, in words.
    """

    checkpoint: Checkpoint
    moment: Moment
    problem: str
    repeated: list[str]


class Tally:
    """Counts the functions that run more often than in the run without a crash."""

    def __init__(self, executions: list[Execution]) -> None:
        self._usual = Counter(execution.id for execution in executions)
        self._workflows = {e.id for e in executions if e.routine.replay.has_called}
        self._steps: dict[tuple[str, str, str], Repeated] = {}
        self._replays: dict[tuple[str, str, str], Repeated] = {}

    def add(self, executions: list[Execution], checkpoint: Checkpoint, moment: Moment) -> list[str]:
        """Count a run, and return the steps that it repeated, in words."""
        counts = Counter(execution.id for execution in executions)
        routines = {execution.id: execution.routine for execution in executions}
        again: dict[tuple[str, str, str], None] = {}
        for id, times in counts.items():
            usually = self._usual[id] or 1
            if times <= usually:
                continue
            key = _key(routines[id])
            is_workflow = id in self._workflows or routines[id].replay.has_called
            found = self._replays if is_workflow else self._steps
            known = found.get(key)
            if not is_workflow:
                again[key] = None
            if known is None:
                found[key] = Repeated(*key, times, usually, 1, describe_crash(checkpoint, moment))
            else:
                found[key] = known._replace(
                    times=max(times, known.times), crashes=known.crashes + 1
                )
        return [f"{name} ({place}, called at {site})" for name, place, site in again]

    def repeated(self) -> tuple[Repeated, ...]:
        """Return the repeated steps and other functions that call nothing."""
        return tuple(sorted(self._steps.values()))

    def replayed(self) -> tuple[Repeated, ...]:
        """Return the functions that were replayed: run again from their first line."""
        return tuple(sorted(self._replays.values()))


class CrashReport(Generic[T_co]):
    """The result of a crash test in which no crash made a difference.

    Returned by `crash_everywhere`; ``print(report)`` shows it in words.

    Attributes
    ----------
    name : str
        The name of the function that was tested.
    error : BaseException or None
        The error that it ended with, if one was expected.
    checkpoints : int
        The number of places where a node could be killed.
    crashes : int
        The number of crashes that were tried.
    crashes_possible : int
        The number of crashes that there are: more, if `crashes_max` limited them.
    repeated : tuple of Repeated
        The steps that ran twice because their node died while they were under way.
    replayed : tuple of Repeated
        The functions that were replayed: the code between their yields ran again.

    Examples
    --------
    >>> from understudy.testing import crash_everywhere
    >>> def double(ctx, number):
    ...     return 2 * number
    >>> report = crash_everywhere(double, 21)
    >>> report.result, report.checkpoints, report.crashes
    (42, 2, 4)
    """

    def __init__(
        self,
        name: str,
        result: Any,
        error: BaseException | None,
        checkpoints: int,
        crashes: int,
        crashes_possible: int,
        repeated: tuple[Repeated, ...],
        replayed: tuple[Repeated, ...],
    ) -> None:
        self.name = name
        self._result = result
        self.error = error
        self.checkpoints = checkpoints
        self.crashes = crashes
        self.crashes_possible = crashes_possible
        self.repeated = repeated
        self.replayed = replayed

    @property
    def result(self) -> T_co:
        """The result of the function.

        Raises
        ------
        Exception
            The error that the function ended with, if one was expected.

        Examples
        --------
        >>> from understudy.testing import crash_everywhere
        >>> def double(ctx, number):
        ...     return 2 * number
        >>> crash_everywhere(double, 21).result
        42
        """
        if self.error is not None:
            raise self.error
        result: T_co = self._result
        return result

    def __str__(self) -> str:
        of = f" of {self.crashes_possible}" if self.crashes < self.crashes_possible else ""
        held = "always the same result, and no stored step ran again."
        lines = [
            f"{self.name}: {self.crashes}{of} crashes at {self.checkpoints} checkpoints: {held}"
        ]
        if self.repeated:
            lines.append("Steps that ran twice, because their node died while they were under way:")
            lines += [f"  {repeated}" for repeated in self.repeated]
        return "\n".join(lines)


class CrashTestError(UnderstudyError, AssertionError):
    """Some crash made a difference to a function.

    The message describes the first few such crashes, and says what to do.

    Parameters
    ----------
    report : CrashReport
        The counts of the crashes that were tried.
    failures : list of Failure
        The crashes that made a difference.
    drift : str or None
        The difference between two runs without any crash, if there is one.

    Examples
    --------
    >>> from understudy.testing import CrashTestError, crash_everywhere
    >>> runs = []
    >>> def count(ctx):
    ...     runs.append(ctx.id)
    ...     return len(runs)
    >>> try:
    ...     crash_everywhere.on(before=runs.clear)(count)
    ... except CrashTestError as error:
    ...     print(str(error).splitlines()[0])
    count: 1 of 4 crashes made a difference.
    """

    def __init__(
        self, report: CrashReport[Any], failures: list[Failure], drift: str | None
    ) -> None:
        self.report = report
        # First those that a replay reports, because these often explain the others.
        self.failures = sorted(failures, key=lambda f: "NonDeterminismError" not in f.problem)
        super().__init__("\n".join(_text(report, self.failures, drift)))


def describe_crash(checkpoint: Checkpoint, moment: Moment) -> str:
    """Say when a crash came: ``when its node died before the send of: ... (checkpoint 5)``."""
    if moment is Moment.HANDED_OVER:
        return f"when its node died as {checkpoint.description} (checkpoint {checkpoint.number})"
    return (
        f"when its node died {moment.value} of: {checkpoint.description} "
        f"(checkpoint {checkpoint.number})"
    )


def _text(report: CrashReport[Any], failures: list[Failure], drift: str | None) -> Iterator[str]:
    yield f"{report.name}: {len(failures)} of {report.crashes} crashes made a difference."
    for failure in failures[:SHOWN_MAX]:
        when = describe_crash(failure.checkpoint, failure.moment)
        yield f"\n{when[0].upper()}{when[1:]}:"
        yield from (f"  {line}" for line in failure.problem.splitlines())
        yield from (f"  ran twice: {step}" for step in failure.repeated)
    if len(failures) > SHOWN_MAX:
        yield f"\n... and {len(failures) - SHOWN_MAX} more."
    if drift is not None:
        yield "\nA second run without any crash differs from the first, too:"
        yield from (f"  {line}" for line in drift.splitlines())
    yield f"\nWhat to do: {_advice(report, failures, drift)}"


def _advice(report: CrashReport[Any], failures: list[Failure], drift: str | None) -> str:
    if any("NonDeterminismError" in failure.problem for failure in failures):
        return (
            "when a node dies, another runs the function again from its first line, and its calls "
            "must be the same. Take time, random numbers and ids from ctx (ctx.time, ctx.random, "
            "ctx.uuid()), and read what may change in a step (ctx.run)."
        )
    if drift is not None:
        return (
            "something outside differs from run to run. Put it back before each one, with "
            "crash_everywhere.on(before=...), or leave it out of the comparison, with same=..."
        )
    if all(failure.repeated for failure in failures):
        steps = dict.fromkeys(step for failure in failures for step in failure.repeated)
        return (
            "a step whose node dies while it is under way runs again, so it must be repeatable: "
            "the second time it must give the same result and leave the outside as it is, for "
            "example by giving the outside ctx.id as its idempotency key. Look at:\n"
            + "\n".join(f"  {step}" for step in steps)
        )
    return (
        "no step ran twice in some of them, so the difference comes from code between the steps, "
        "which runs again in each replay: move effects, and what reads the outside, into steps "
        "(ctx.run). Replayed were:\n"
        + "\n".join(f"  {each.name} ({each.place})" for each in report.replayed)
    )


def _key(routine: Routine) -> tuple[str, str, str]:
    function = routine.function
    site = routine.record.param.headers.get(HEADER_SITE, "the outside")
    return function.name, place_of(function.fn), site
