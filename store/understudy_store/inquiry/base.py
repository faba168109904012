"""Answers to questions in SQL, within bounds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from understudy_store.errors import StoreError

#: how long a question may take
TIME_MAX_S: Final = 2.0
#: rows and columns of an answer
ROWS_MAX: Final = 1000
COLUMNS_MAX: Final = 100
#: characters of one cell, and of all together
CELL_CHARS_MAX: Final = 4000
CHARS_MAX: Final = 4 * 1024 * 1024
#: characters of a question
QUESTION_CHARS_MAX: Final = 4000

#: a cell as it is shown
Cell: TypeAlias = str | int | float | None


class InquiryError(StoreError):
    """A question that is not answered; the message says why, and what to do."""


class Answer(msgspec.Struct, frozen=True):
    """An answer.

    Attributes
    ----------
    columns
        Their names, which may repeat.
    is_whole
        False if there are more rows than these.
    took_s
        How long it took.
    """

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    is_whole: bool
    took_s: float


class Inquirer(Protocol):
    """A store that answers questions in SQL.

    Attributes
    ----------
    name
        The store, without a password.
    """

    @property
    def name(self) -> str: ...

    def ask(self, question: str) -> Answer:
        """Answer one statement that only reads; waits for up to `TIME_MAX_S`, and a bit.

        Raises
        ------
        InquiryError
        """


def checked(question: str) -> str:
    """Return a question as one statement without its semicolon.

    Raises
    ------
    InquiryError
        There is none, or it is too long.
    """
    statement = question.strip().rstrip(";").rstrip()
    if not statement:
        raise InquiryError("there is no statement: write a SELECT")
    if len(statement) > QUESTION_CHARS_MAX:
        raise InquiryError(
            f"the statement has {len(statement):,} characters; at most {QUESTION_CHARS_MAX:,} are "
            "taken"
        )
    if "\0" in statement:
        raise InquiryError("the statement has a character 0: leave it out")
    return statement


def checked_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns; raises `InquiryError` if there are too many, or none."""
    columns = tuple(name[:CELL_CHARS_MAX] for name in names)
    if not 1 <= len(columns) <= COLUMNS_MAX:
        raise InquiryError(
            f"the answer has {len(columns):,} columns; it has to have 1 to {COLUMNS_MAX}"
        )
    return columns


def too_slow() -> InquiryError:
    """Return the error for a question that takes too long."""
    return InquiryError(
        f"it takes longer than {TIME_MAX_S:g} s, and was stopped: ask for fewer rows by a "
        "condition on an indexed column, such as created_at or origin"
    )


def sized(size: int) -> str:
    """Return what is shown instead of bytes.

    Examples
    --------
    >>> sized(1234)
    '(1,234 bytes)'
    """
    return f"({size:,} bytes)"


def cell(value: object) -> Cell:
    """Return a value of a database as it is shown: bytes by their number, long texts cut."""
    if isinstance(value, bytes | bytearray | memoryview):
        return sized(len(value))
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = str(value)
    return text if len(text) <= CELL_CHARS_MAX else f"{text[:CELL_CHARS_MAX]}…"


class Rows:
    """Collects rows until there is no room for more."""

    def __init__(self) -> None:
        self.rows: list[tuple[Cell, ...]] = []
        self.is_whole = True
        self._began = time.monotonic()
        self._room = CHARS_MAX

    @property
    def took_s(self) -> float:
        """The time since the beginning."""
        return time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """The time that is left for the question."""
        return TIME_MAX_S - self.took_s

    def take(self, values: Iterable[object]) -> bool:
        """Take a row; return False if there is no room for it."""
        row = tuple(map(cell, values))
        self._room -= sum(len(str(each)) for each in row)
        if len(self.rows) >= ROWS_MAX or self._room < 0:
            self.is_whole = False
            return False
        self.rows.append(row)
        return True

    def answer(self, columns: tuple[str, ...]) -> Answer:
        """Return the answer with these rows."""
        return Answer(columns, self.rows, self.is_whole, self.took_s)
