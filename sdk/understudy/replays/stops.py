"""The places at which a debugged call stops: a step by number, id or name, and the step before."""

from __future__ import annotations

from collections.abc import Iterable

from understudy_actors.interpreter.requests import method_of
from understudy_store.records import HEADER_PLACE, PromiseRecord


class Stops:
    """Decides at which step of a call to stop, from the steps that its functions make. Pure.

    Parameters
    ----------
    call
        The id of the call.
    at
        The step: its number among those of the call, its id, or the name of its function; a sleep
        or promise has the name ``sleep`` or ``promise``. None: the first line of the function.
    recorded
        The recorded steps.

    Attributes
    ----------
    at : str or None
        As given, until the step was reached.
    made : list of str
        The ids of the steps that were made so far, as their places say.
    """

    def __init__(
        self, call: str, at: str | None = None, recorded: Iterable[PromiseRecord] = ()
    ) -> None:
        self.at = at
        self.made: list[str] = []
        self._call = call
        self._places = {
            record.id: record.param.headers.get(HEADER_PLACE, record.id) for record in recorded
        }
        #: it is stopped at the last of `made`, before it was yielded
        self._is_at_step = False

    def reaches(self, id: str, kind: str, name: str) -> bool:
        """Note that a step is made; return whether this is the one to stop at.

        Parameters
        ----------
        id
            As its place among the steps says.
        """
        self.made.append(id)
        self._is_at_step = self._is_wanted(id, kind, name)
        if self._is_at_step:
            self.at = None
        return self._is_at_step

    def _is_wanted(self, id: str, kind: str, name: str) -> bool:
        at = self.at
        if at is None:
            return False
        if at.isdecimal():
            return id == f"{self._call}.{at}"
        return self._places.get(at, at) == id or at in (name, kind, method_of(kind))

    def went_on(self) -> None:
        """Note that the step at which it was stopped is being yielded."""
        self._is_at_step = False

    def back(self, steps: int = 1) -> str | None:
        """Return the step that is so many before; None: the first line of the function."""
        before = self.made[:-1] if self._is_at_step else self.made
        return before[-steps] if steps <= len(before) else None

    @property
    def missed(self) -> str | None:
        """The reason why it never stopped at the step, in words; None if it did."""
        if self.at is None:
            return None
        made = ", ".join(self.made[:20]) or "none"
        more = len(self.made) - 20
        return (
            f"no step {self.at!r} was reached; the steps up to here: {made}"
            f"{f' and {more} more' if more > 0 else ''}"
        )
