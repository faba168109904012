"""Keeps peers from filling the log: of lines that are alike, only some are written. Pure."""

from __future__ import annotations

from typing import Final

#: Lines of one text that are written at once, and how soon another one may be, seconds. A restart
#: of all nodes is to be seen whole; 26,000 hellos a second are not.
BURST: Final = 1_000
EACH_S: Final = 0.2
#: how often the log says how many were left out
SUMMARY_S: Final = 60.0


class _Lines:
    """The lines of one text: how many may be written, as of when, and how many were not."""

    __slots__ = ("at", "left", "left_out", "told_at")

    def __init__(self, now: float) -> None:
        self.at = self.told_at = now
        self.left = float(BURST)
        self.left_out = 0


class LogLimit:
    """Decides which lines are written.

    The texts are those of the broker itself, so there are few; what peers choose is in the fields.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Lines] = {}
        #: texts of which lines were left out since their last summary
        self._silenced = 0

    @property
    def has_left_out(self) -> bool:
        """True if `summaries` has something to tell, now or later."""
        return self._silenced > 0

    def takes(self, text: str, now: float) -> bool:
        """Return whether a line may be written at a time, in seconds of some clock."""
        lines = self._lines.get(text)
        if lines is None:
            lines = self._lines[text] = _Lines(now)
        lines.left = min(BURST, lines.left + (now - lines.at) / EACH_S)
        lines.at = now
        if lines.left < 1:
            if not lines.left_out:
                lines.told_at = now
                self._silenced += 1
            lines.left_out += 1
            return False
        lines.left -= 1
        return True

    def summaries(self, now: float) -> list[tuple[str, int]]:
        """Return the texts of which lines were left out, with their numbers, each once a minute."""
        found: list[tuple[str, int]] = []
        for text, lines in self._lines.items():
            if lines.left_out and now - lines.told_at >= SUMMARY_S:
                found.append((text, lines.left_out))
                lines.left_out = 0
                self._silenced -= 1
        return found
