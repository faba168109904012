"""The chain of an audit: each line has the SHA-256 of the line before it. Pure.

A line is one JSON object in ASCII, so nothing that a peer has chosen can break a line or command a
terminal::

    {"number":7,"time":"2026-12-01T12:00:00.000Z","what":"joined","name":"n1","before":"9f86…"}

Whoever changes, removes or inserts a line in the middle breaks the chain. The chain has no secret:
whoever may write the file can make another one, all of it, or cut off its end. So the hash of the
last line is worth keeping elsewhere; a chain that was cut or made anew no longer has that hash.

A crash may leave a line that is not whole. The next start lets it stand and says so in a line of
its own, ``torn``, with the hash of what it found; the chain goes on from the last whole line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

#: the hash before the first line
NOTHING: Final = "0" * 64
#: bytes of a line at most; what peers choose is cut much earlier
LINE_BYTES_MAX: Final = 16 * 1024
#: characters of one text in a line; the rest is left out
TEXT_CHARS_MAX: Final = 300
#: the same in a line that would be too long; a character may take twelve bytes
SHORT_CHARS_MAX: Final = 30
#: what the line says that stands after one that is not whole
TORN: Final = "torn"
_FIRST: Final = b'{"number":'

#: details of a record: texts and numbers, never values of calls
Details: TypeAlias = Mapping[str, object]


class Record(NamedTuple):
    """Something that is to be audited.

    Attributes
    ----------
    at
        Epoch milliseconds.
    what
        Always the same text for the same kind of thing.
    """

    at: int
    what: str
    details: Details


class Link(NamedTuple):
    """The end of a chain: the number and the hash of its last line."""

    number: int
    hash: str


#: the end of a chain that has no line
START: Final = Link(0, NOTHING)


def extended(after: Link, records: Sequence[Record]) -> tuple[list[bytes], Link]:
    """Return lines for records, each with its line feed, and the end of the chain with them."""
    lines: list[bytes] = []
    number, hash_ = after
    for record in records:
        number += 1
        line = _line(number, record, hash_)
        lines.append(line)
        hash_ = hash_of(line)
    return lines, Link(number, hash_)


def hash_of(line: bytes) -> str:
    """Return the hash of a line, which its line feed is no part of."""
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def torn_record(at: int, rest: bytes) -> Record:
    """Return the record of what a crash has left after the last whole line, line feed included."""
    details = {"bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}
    return Record(at, TORN, details)


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line; None: it is no line of an audit, or not a whole one."""
    if not line.startswith(_FIRST) or len(line) > LINE_BYTES_MAX:
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    texts = (found.get("time"), found.get("what"), found.get("before"))
    if type(found.get("number")) is not int or not all(isinstance(text, str) for text in texts):
        return None
    return found


def begins_audit(start: bytes) -> bool:
    """Return whether the first bytes of a file may be those of an audit."""
    return start.startswith(_FIRST[: len(start)])


def last_link(tail: bytes, is_whole_file: bool) -> tuple[Link | None, bytes]:
    """Return the end of the chain in the last bytes of a file, and what follows it.

    What follows is what a crash has left. A last line that lacks only its line feed is whole, and
    then what follows is empty; whoever appends must end it first.

    Parameters
    ----------
    tail
        The last bytes.
    is_whole_file
        They are all of them; otherwise the first line of them may not be whole.

    Returns
    -------
    The link is None if there is no whole line.
    """
    lines = _split(tail)
    end = len(tail)
    for place in range(len(lines) - 1, -1 if is_whole_file else 0, -1):
        found = parse_line(lines[place])
        if found is not None:
            return Link(found["number"], hash_of(lines[place])), tail[end:]
        end -= len(lines[place])
    return None, tail


def _split(tail: bytes) -> list[bytes]:
    """Split at line feeds only, which each line keeps."""
    parts = tail.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _line(number: int, record: Record, before: str) -> bytes:
    """Return a line; if it were too long for one, its texts are cut once more."""
    line = _encoded(number, record, before, TEXT_CHARS_MAX)
    if len(line) <= LINE_BYTES_MAX:
        return line
    return _encoded(number, record, before, SHORT_CHARS_MAX)


def _encoded(number: int, record: Record, before: str, chars_max: int) -> bytes:
    whole: dict[str, object] = {
        "number": number,
        "time": _time(record.at),
        "what": record.what,
        **{name: _shown(value, chars_max) for name, value in record.details.items()},
        "before": before,
    }
    # ASCII, so that control characters, and letters that look like others, are escapes.
    return json.dumps(whole, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _shown(value: object, chars_max: int) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return text if len(text) <= chars_max else f"{text[:chars_max]}…"


def _time(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Checking ----------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A line of a file, from 1 on."""

    file: str
    line: int


class Problem(NamedTuple):
    """The first line that does not fit, and why."""

    place: Place
    why: str


class ChainCheck:
    """Checks a chain line by line, over all its files.

    Parameters
    ----------
    expected
        A hash that some line must have; None: there is none to look for.

    Attributes
    ----------
    lines
        Lines that fit, so far.
    first, last
        The first and the last of them, as objects; None: there is none.
    end
        The end of the chain.
    torn
        Places of what crashes have left.
    problem
        The first one; nothing is checked after it. None: there is none so far.
    has_expected
        A line had the expected hash.
    """

    def __init__(self, expected: str | None = None) -> None:
        self._expected = expected
        self.lines = 0
        self.first: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self.end: Link | None = None
        self.torn: list[Place] = []
        self.problem: Problem | None = None
        self.has_expected = expected is None
        #: the hash of what is not whole, since the last line that is
        self._rest: Any = None

    def feed(self, line: bytes, place: Place) -> dict[str, Any] | None:
        """Check the next line, with its line feed if it has one; return its object if it fits."""
        if self.problem is not None:
            return None
        found = parse_line(line)
        if found is None:
            if self._rest is None:
                self._rest = hashlib.sha256()
                self.torn.append(place)
            self._rest.update(line)
            return None
        why = self._misfit(found)
        if why is not None:
            # What is not whole, and not told of by the line after it, is itself the misfit.
            self.problem = Problem(place if self._rest is None else self.torn.pop(), why)
            return None
        self._rest = None
        self.lines += 1
        self.first = self.first or found
        self.last = found
        self.end = Link(found["number"], hash_of(line))
        self.has_expected = self.has_expected or self.end.hash == self._expected
        return found

    @property
    def begins_later(self) -> bool:
        """True if lines before the first one must be in a file that was not given."""
        return self.first is not None and self.first["number"] != 1

    def _misfit(self, found: dict[str, Any]) -> str | None:
        if self._rest is not None and (
            found["what"] != TORN or found.get("sha256") != self._rest.hexdigest()
        ):
            return "this is no line of an audit, and no crash has left it"
        if self.end is None:
            if found["number"] == 1 and found["before"] != NOTHING:
                return "the first line says that another one was before it"
            return None
        if found["before"] != self.end.hash:
            return "it does not follow the line before: one was changed, or lines are missing"
        if found["number"] != self.end.number + 1:
            return f"its number is {found['number']}, after {self.end.number}"
        return None
