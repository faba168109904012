"""Keeps peers from filling the audit: of refusals that are alike, few are written. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

#: how long refusals count as alike, milliseconds
WINDOW_MS: Final = 60_000
#: kinds that are counted apart; beyond, those of further peers are counted together
KINDS_MAX: Final = 1_000


class Kind(NamedTuple):
    """A kind of record, and whose it is."""

    what: str
    who: str


class _Window:
    """The records of one kind within a minute."""

    __slots__ = ("left_out", "since", "written")

    def __init__(self, since: int) -> None:
        self.since = since
        self.written = 0
        self.left_out = 0


class Repeats:
    """Decides which records of a kind are written: the first ones of a minute.

    Attributes
    ----------
    due_at
        When there is something to `take`, epoch milliseconds; None: there is nothing.
    """

    def __init__(self) -> None:
        self._windows: dict[Kind, _Window] = {}
        self.due_at: int | None = None

    def takes(self, kind: Kind, most: int, now: int) -> bool:
        """Return whether a record is written; `most` are, within a minute."""
        if kind not in self._windows and len(self._windows) >= KINDS_MAX:
            self._forget(now)
            if len(self._windows) >= KINDS_MAX:
                kind = Kind(kind.what, "others")
        window = self._windows.get(kind)
        if window is None or (not window.left_out and now - window.since >= WINDOW_MS):
            window = self._windows[kind] = _Window(now)
        if window.written < most:
            window.written += 1
            return True
        window.left_out += 1
        due_at = window.since + WINDOW_MS
        self.due_at = due_at if self.due_at is None else min(self.due_at, due_at)
        return False

    def take(self, now: int, *, all_of_them: bool = False) -> list[tuple[Kind, int]]:
        """Return kinds of which records were left out, and how many, each at the end of its minute.

        Parameters
        ----------
        all_of_them
            Also those whose minute is not over.
        """
        found: list[tuple[Kind, int]] = []
        self.due_at = None
        for kind, window in list(self._windows.items()):
            if not window.left_out:
                continue
            if all_of_them or now - window.since >= WINDOW_MS:
                found.append((kind, window.left_out))
                del self._windows[kind]
            else:
                due_at = window.since + WINDOW_MS
                self.due_at = due_at if self.due_at is None else min(self.due_at, due_at)
        return found

    def _forget(self, now: int) -> None:
        for kind, window in list(self._windows.items()):
            if not window.left_out and now - window.since >= WINDOW_MS:
                del self._windows[kind]
