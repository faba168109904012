"""Options that choose calls, for the list of calls and for what is done to many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli import completion
from understudy.cli.errors import UsageError
from understudy.cli.options import Tags, parse_pairs
from understudy.states import CALL_STATES, call_states

if TYPE_CHECKING:
    from understudy_store.commands import CallSearch

Running = Annotated[bool, typer.Option("--running", help="Only calls that have not ended.")]
Failed = Annotated[bool, typer.Option("--failed", help="Only calls that raised, or were late.")]
State = Annotated[
    str | None,
    typer.Option(
        metavar="STATE",
        help="Only calls in this state: pending, resolved, rejected, canceled, timedout or failed.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only calls from that time on: so long ago (90, 10m, 2h, 7d), or a moment "
        "(2026-01-31T12:00, in UTC).",
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only calls before that time.")]
FunctionName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only calls of this function.")
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Only calls that this group performs.",
        autocompletion=completion.groups,
    ),
]
ErrorClass = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS",
        help="Only calls that failed with this exception, with its module or without.",
    ),
]
Slow = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only calls that have taken so long: 10 (seconds), 5m."),
]
Prefix = Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the id.")]


@dataclass(frozen=True, slots=True)
class CallFilters:
    """The conditions on calls, as they were given.

    Attributes
    ----------
    words
        The states, as people name them.
    """

    words: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    function: str | None = None
    group: str | None = None
    error: str | None = None
    slow: str | None = None
    prefix: str = ""
    tags: Tags = None

    def states(self, *, error: str | None = None) -> tuple[str, ...]:
        """Return the store's names of the states.

        Parameters
        ----------
        error
            The exception that the calls are to have ended with: without states, this means those
            that raised.

        Raises
        ------
        UsageError
            One of the words is no state.
        """
        found = call_states(self.words, error=error)
        if found is None:
            raise UsageError(
                f"--state {self.words[-1]!r} is no state: use one of {', '.join(CALL_STATES)}"
            )
        return found

    def search(
        self,
        states: tuple[str, ...],
        *,
        error: str | None = None,
        limit: int = 1,
        cursor: str | None = None,
        counts: bool = False,
    ) -> CallSearch:
        """Return the command that finds such calls; times that are relative count from now.

        Raises
        ------
        UsageError
            A time or a tag that cannot be read.
        """
        from understudy.cli.times import parse_moment, parse_seconds
        from understudy_store.commands import CallSearch

        return CallSearch(
            states,
            self.function,
            self.group,
            error,
            parse_pairs(self.tags, "--tag"),
            self.prefix,
            parse_moment(self.since, "--since"),
            parse_moment(self.until, "--until"),
            round((parse_seconds(self.slow, "--slow") or 0.0) * 1000),
            limit,
            cursor,
            counts,
        )

    @property
    def narrows(self) -> bool:
        """True if there is any condition, beside the states."""
        texts = (self.since, self.until, self.function, self.group, self.error, self.slow)
        return any(each is not None for each in texts) or bool(self.prefix or self.tags)


def state_words(running: bool, failed: bool, state: str | None) -> list[str]:
    """Return the states that options name, as people name them."""
    words = [*(["pending"] if running else []), *(["failed"] if failed else [])]
    return words + ([] if state is None else [state])
