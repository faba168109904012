"""Progress: how far a function says that it is, checked and cut for people to read."""

from __future__ import annotations

from typing import Any, Final

from understudy.errors import ConfigurationError
from understudy_actors.interpreter.signals import Progress
from understudy_store.progress import PROGRESS_CHARS_MAX

#: what divisions may add to 1, or take from 0
_ROUNDING: Final = 1e-6


def checked_progress(fraction: Any, text: Any) -> Progress:
    """Return the progress that a function tells.

    Raises
    ------
    ConfigurationError
        The fraction is no number from 0 to 1, or the text is no text.
    """
    if not isinstance(text, str):
        raise ConfigurationError(
            f"the text of ctx.progress is a str, and this is a {type(text).__name__}"
        )
    if len(text) > PROGRESS_CHARS_MAX or not text.isprintable():
        # Cut first, because the rest is never looked at.
        text = " ".join(text[: 2 * PROGRESS_CHARS_MAX].split())
        if len(text) > PROGRESS_CHARS_MAX:
            text = f"{text[: PROGRESS_CHARS_MAX - 1]}…"
    return Progress(None if fraction is None else _checked_fraction(fraction), text)


def _checked_fraction(fraction: Any) -> float:
    try:
        number = float(fraction)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or not -_ROUNDING <= number <= 1 + _ROUNDING:
        given = f"a {type(fraction).__name__}" if number is None else f"{number:g}"
        raise ConfigurationError(
            f"the fraction of ctx.progress is a number from 0 to 1, and this is {given}: 40 % are "
            "0.4. Leave it out, or pass None, if it is unknown"
        )
    return min(1.0, max(0.0, number))
