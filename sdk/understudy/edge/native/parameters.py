"""The parameters in the query of a request."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import parse_qsl

from understudy.edge.native.checks import shown
from understudy.edge.native.problems import Problem
from understudy.errors import ConfigurationError
from understudy.options import VERSION_MAX, check_tags, seconds
from understudy.states import stored_name
from understudy_store.records import PROMISE_WORDS

#: parameters that a query may have, repeated ones included
PARAMETERS_MAX: Final = 200
#: records of a page, by default and at most
LIMIT: Final = 100
LIMIT_MAX: Final = 1000

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Parameters:
    """The parameters of one request, each read by its name and its kind.

    Parameters
    ----------
    query
        The query as it was sent.
    allowed
        The names that the request may have; any other one is a problem, because a misspelled name
        would be ignored otherwise.

    Raises
    ------
    Problem
        A name that is not allowed, or one that is given twice, other than ``tag``; a query that is
        no UTF-8.
    """

    def __init__(self, query: bytes, allowed: Iterable[str]) -> None:
        self._given: Final[dict[str, list[str]]] = {}
        if not query:
            return
        known = frozenset(allowed)
        for name, text in _pairs(query):
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise Problem(
                    400,
                    f"there is no parameter {shown(name)} here; the parameters are {names}",
                    parameter=name,
                )
            if name in self._given and name != "tag":
                raise Problem(400, f"the parameter {name} is given twice", parameter=name)
            self._given.setdefault(name, []).append(text)

    def text(self, name: str) -> str | None:
        """Return a text; None if it is not given."""
        texts = self._given.get(name)
        return None if texts is None else texts[0]

    def required(self, name: str, example: str) -> str:
        """Return a text that must be given.

        Raises
        ------
        Problem
            It is not, or is empty.
        """
        text = self.text(name)
        if not text:
            raise Problem(
                400, f"the parameter {name} is missing: write {name}={example}", parameter=name
            )
        return text

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """Return one of several texts; None if it is not given."""
        text = self.text(name)
        if text is not None and text not in choices:
            raise _wrong(name, text, f"one of {', '.join(choices)}")
        return text

    def seconds(self, name: str, *, zero: bool = True) -> float | None:
        """Return a time in seconds: ``90``, ``1.5s``, ``500ms``, ``10m``, ``2h`` or ``7d``."""
        text = self.text(name)
        if text is None:
            return None
        number = text.rstrip("smhd")
        try:
            value = float(number) * _UNITS[text[len(number) :] or "s"]
        except (ValueError, KeyError):
            value = math.nan
        if not math.isfinite(value) or value < 0 or not text.isascii() or "_" in text:
            raise _wrong(name, text, "seconds (90), or a number with a unit (500ms, 10m, 2h, 7d)")
        try:
            return seconds(name, value, zero=zero)
        except ConfigurationError as error:
            raise Problem(400, str(error).removeprefix("option "), parameter=name) from None

    def wait_s(self, most_s: float) -> float:
        """Return how long to wait for a settlement, in seconds; not longer than `most_s`."""
        return min(self.seconds("wait") or 0.0, most_s)

    def integer(self, name: str, least: int, most: int) -> int | None:
        """Return an integer; None if it is not given."""
        text = self.text(name)
        if text is None:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
            raise _wrong(name, text, f"an integer from {least} to {most}")
        if not least <= int(text) <= most:
            raise _wrong(name, text, f"an integer from {least} to {most}")
        return int(text)

    def version(self) -> int | None:
        """Return the version of a function; None if it is not given."""
        return self.integer("version", 1, VERSION_MAX)

    def limit(self) -> int:
        """Return how many records a page may have."""
        return self.integer("limit", 1, LIMIT_MAX) or LIMIT

    def tags(self, *, reserved: bool = False) -> dict[str, str]:
        """Return the tags, each given as ``tag=NAME=TEXT``.

        Parameters
        ----------
        reserved
            Whether the library's own tags are allowed, as in a search.
        """
        found = {}
        for text in self._given.get("tag", ()):
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise _wrong("tag", text, "a name and a text: tag=NAME=TEXT")
            found[name] = value
        try:
            return check_tags(found, reserved=reserved)
        except ConfigurationError as error:
            raise Problem(400, str(error).removeprefix("option "), parameter="tag") from None

    def state(self) -> str | None:
        """Return the store's name of a state of promises; None if it is not given."""
        text = self.text("state")
        if text is None:
            return None
        name = stored_name(text, PROMISE_WORDS)
        if name is None:
            raise _wrong("state", text, f"one of {', '.join(PROMISE_WORDS.values())}")
        return name


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=PARAMETERS_MAX,
        )
    except UnicodeError:
        raise Problem(400, "the query is no UTF-8") from None
    except ValueError:
        raise Problem(400, f"the query has more than {PARAMETERS_MAX} parameters") from None


def _wrong(name: str, text: str, allowed: str) -> Problem:
    return Problem(400, f"{name}={shown(text)}: it must be {allowed}", parameter=name)
