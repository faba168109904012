"""Arguments, values and failures as text for the pages: decoded, never unpickled, and bounded.

Pure.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from understudy.values.seals import is_sealed
from understudy.views.json_data import compact, decoded, sealed_text
from understudy.views.long_integers import unlimited_digits
from understudy.views.records import failure, failure_text, has_failed
from understudy_store.records import PromiseRecord

#: bytes of a payload that are decoded for a page; of a larger one only the size is told
DECODED_BYTES_MAX: Final = 64 * 1024
#: characters of a text on a page
TEXT_CHARS_MAX: Final = 32 * 1024
#: characters of a value in a row
BRIEF_CHARS: Final = 110


class Shown(NamedTuple):
    """A payload as a page shows it.

    Attributes
    ----------
    brief
        One line.
    text
        All of it, indented; empty if the line says everything.
    size
        Bytes of the data; 0: there are none.
    is_whole
        Whether `text` is all of it.
    """

    brief: str
    text: str = ""
    size: int = 0
    is_whole: bool = True


NOTHING: Final = Shown("")


def size_text(size: int) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> size_text(900), size_text(1_500_000)
    ('900 B', '1.4 MiB')
    """
    if size < 1024:
        return f"{size} B"
    if size < 1024 * 1024:
        return f"{size / 1024:.1f} KiB"
    return f"{size / 1024 / 1024:.1f} MiB"


def shown(data: bytes | None) -> Shown:
    """Return stored data as a page shows them."""
    if data is None:
        return NOTHING
    if is_sealed(data):
        return Shown("sealed", sealed_text(data), len(data), is_whole=False)
    if len(data) > DECODED_BYTES_MAX:
        text = f"{size_text(len(data))} of data, too large for a page"
        return Shown(text, "", len(data), is_whole=False)
    return _of_value(decoded(data), len(data))


def arguments(record: PromiseRecord) -> Shown:
    """Return the arguments of a call, as they stand between the brackets."""
    data = record.param.data
    if data is None or is_sealed(data) or len(data) > DECODED_BYTES_MAX:
        return shown(data)
    found = decoded(data)
    if not isinstance(found, list) or len(found) != 2 or not isinstance(found[1], dict):
        return _of_value(found, len(data))
    args, kwargs = found
    if not args and not kwargs:
        return NOTHING
    texts = [compact(each, None) for each in args]
    texts += [f"{name}={compact(each, None)}" for name, each in kwargs.items()]
    whole = ", ".join(texts)
    if len(whole) <= BRIEF_CHARS:
        return Shown(whole, "", len(data))
    return Shown(_cut(whole, BRIEF_CHARS), *_bounded("\n".join(texts), len(data)))


def outcome(record: PromiseRecord) -> Shown:
    """Return the value of a promise, or its failure with its traceback."""
    if not record.settled:
        return NOTHING
    if not has_failed(record):
        return shown(record.value.data)
    data = record.value.data or b""
    if len(data) > DECODED_BYTES_MAX:
        return shown(data)
    line = " ".join(failure_text(record).split())
    found = failure(record) or {}
    text = str(found.get("traceback", "")).rstrip() or failure_text(record)
    notes = [str(each) for each in found.get("notes", ())]
    whole = "\n".join([text, *notes])
    if whole == line and len(line) <= BRIEF_CHARS:
        return Shown(line, "", len(data))
    return Shown(_cut(line, BRIEF_CHARS), *_bounded(whole, len(data)))


def _of_value(value: Any, size: int) -> Shown:
    line = compact(value, None)
    if len(line) <= BRIEF_CHARS:
        return Shown(line, "", size)
    with unlimited_digits():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return Shown(_cut(line, BRIEF_CHARS), *_bounded(text, size))


def _bounded(text: str, size: int) -> tuple[str, int, bool]:
    is_whole = len(text) <= TEXT_CHARS_MAX
    return (text if is_whole else f"{text[:TEXT_CHARS_MAX]}…"), size, is_whole


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
