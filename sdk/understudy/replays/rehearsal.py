"""The verdicts of a rehearsal, and its report: which calls go on, and why others do not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

VerdictKind: TypeAlias = Literal[
    "goes_on", "mismatch", "no_function", "arguments", "fails", "hangs", "unreadable", "skipped"
]
KINDS: Final[tuple[VerdictKind, ...]] = get_args(VerdictKind)
#: The call cannot go on with this code.
BREAKS: Final = frozenset({"mismatch", "no_function", "arguments", "fails"})
#: This process cannot tell.
UNKNOWN: Final = frozenset({"hangs", "unreadable", "skipped"})
#: ids that are kept as examples of a cause
EXAMPLES_MAX: Final = 3

EXIT_GO_ON: Final = 0
EXIT_BREAKS: Final = 1
EXIT_UNKNOWN: Final = 2


class Verdict(msgspec.Struct, frozen=True):
    """The rehearsal of one call.

    Attributes
    ----------
    function, version
        As the call asks for them; 0: it asks for the highest version.
    steps
        The number of its recorded calls.
    step
        The id of the recorded call at which it breaks, if that is known.
    recorded, recorded_at, asked, asked_at
        The recorded call and the one that the code makes in its place, with their places in the
        code.
    text
        The reason in words, where it is no mismatch.
    """

    id: str
    function: str
    version: int
    kind: VerdictKind
    steps: int = 0
    step: str = ""
    recorded: str = ""
    recorded_at: str = ""
    asked: str = ""
    asked_at: str = ""
    text: str = ""

    @property
    def cause(self) -> tuple[str, ...]:
        """The same for all calls that do not go on for the same reason."""
        # An id of a call's own, which differs from call to call, follows the name.
        recorded, asked = (
            text.partition(" with the id ")[0] for text in (self.recorded, self.asked)
        )
        return (
            self.kind,
            self.function,
            str(self.version),
            recorded,
            self.recorded_at,
            asked,
            self.asked_at,
            self.text,
        )


class Cause(msgspec.Struct):
    """A reason why calls do not go on.

    Attributes
    ----------
    first
        The verdict of the first call.
    count
        The number of calls.
    examples
        The ids of the first of them.
    """

    first: Verdict
    count: int = 0
    examples: list[str] = []


class Rehearsal:
    """The verdicts of many calls, counted by cause."""

    def __init__(self, verdicts: Iterable[Verdict] = ()) -> None:
        self.counts: dict[VerdictKind, int] = dict.fromkeys(KINDS, 0)
        self._causes: dict[tuple[str, ...], Cause] = {}
        for verdict in verdicts:
            self.add(verdict)

    def add(self, verdict: Verdict) -> None:
        """Count the verdict of one more call."""
        self.counts[verdict.kind] += 1
        if verdict.kind == "goes_on":
            return
        cause = self._causes.setdefault(verdict.cause, Cause(verdict))
        cause.count += 1
        if len(cause.examples) < EXAMPLES_MAX:
            cause.examples.append(verdict.id)

    def is_known(self, verdict: Verdict) -> bool:
        """Return whether another call does not go on for the same reason."""
        return verdict.cause in self._causes

    @property
    def causes(self) -> list[Cause]:
        """The causes: those that break calls first, the most frequent first among them."""
        return sorted(
            self._causes.values(), key=lambda each: (each.first.kind in UNKNOWN, -each.count)
        )

    @property
    def calls(self) -> int:
        """The number of calls."""
        return sum(self.counts.values())

    @property
    def breaks(self) -> int:
        """The number of calls that cannot go on."""
        return sum(count for kind, count in self.counts.items() if kind in BREAKS)

    @property
    def unknown(self) -> int:
        """The number of calls of which this process cannot tell."""
        return sum(count for kind, count in self.counts.items() if kind in UNKNOWN)

    @property
    def exit_code(self) -> int:
        """1 if a call breaks, 2 if none does but this is not known of all, else 0."""
        if self.breaks:
            return EXIT_BREAKS
        return EXIT_UNKNOWN if self.unknown else EXIT_GO_ON

    def as_data(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "calls": self.calls,
            "go_on": self.counts["goes_on"],
            "break": self.breaks,
            "unknown": self.unknown,
            "causes": [_cause_data(cause) for cause in self.causes],
        }

    def as_text(self, what: str) -> str:
        """Return the report for people.

        Parameters
        ----------
        what
            The calls that were rehearsed: ``of group shop``.
        """
        if not self.calls:
            return f"No call {what} is under way: there is nothing that could break."
        goes_on = self.counts["goes_on"]
        head = f"{_calls(self.calls)} {what} under way: {goes_on:,} go on, {self.breaks:,} break"
        head += f", {self.unknown:,} not known." if self.unknown else "."
        return "\n\n".join([head, *("\n".join(_cause_lines(cause)) for cause in self.causes)])


def _cause_data(cause: Cause) -> dict[str, Any]:
    first = cause.first
    data = {
        "kind": first.kind,
        "count": cause.count,
        "function": first.function,
        "version": first.version or None,
        "recorded": first.recorded,
        "recorded_at": first.recorded_at,
        "asked": first.asked,
        "asked_at": first.asked_at,
        "step": first.step,
        "text": first.text,
    }
    return {key: value for key, value in data.items() if value} | {"examples": cause.examples}


def _cause_lines(cause: Cause) -> list[str]:
    first = cause.first
    version = f" version {first.version}" if first.version else ""
    name = f"{_calls(cause.count)} of {first.function}{version}"
    if first.kind == "mismatch":
        lines = [
            f"{name}: the code makes another call than is recorded",
            f"  recorded  {first.recorded}  {first.recorded_at}",
            f"  now       {first.asked}  {first.asked_at}",
        ]
        where = f" (at {first.step})" if first.step else ""
    else:
        lines, where = [f"{name}: {first.text}"], ""
    more = cause.count - len(cause.examples)
    ids = [f"{cause.examples[0]}{where}", *cause.examples[1:]]
    if more:
        ids.append(f"{more:,} more")
    return [*lines, f"  calls     {', '.join(ids)}"]


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"
