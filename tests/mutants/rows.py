"""Rows of the lists as text: writing them, and replacing one in its file."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final, NamedTuple

from tests.mutants.mutant import Change

_WIDTH: Final = 100
_INDENT: Final = 8
#: Positions of target and edit among the arguments of a row.
_TARGET, _EDIT = 3, 4


class Fresh(NamedTuple):
    """The new content of a row."""

    target: str
    changes: tuple[Change, ...]


def rewritten(text: str, fresh: Mapping[str, Fresh]) -> str:
    """Return the text of a list with new targets and edits in the rows that are named."""
    lines = text.splitlines(keepends=True)
    pieces: list[tuple[int, int, str]] = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or len(node.args) <= _EDIT:
            continue
        name = node.args[0]
        row = fresh.get(str(name.value)) if isinstance(name, ast.Constant) else None
        if row is None:
            continue
        for position, new in (
            (_TARGET, string(row.target, _INDENT)),
            (_EDIT, edit(row.changes, _INDENT)),
        ):
            argument = node.args[position]
            pieces.append(
                (
                    _offset(lines, argument.lineno, argument.col_offset),
                    _offset(lines, argument.end_lineno, argument.end_col_offset),
                    new,
                )
            )
    for start, end, new in sorted(pieces, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _offset(lines: list[str], line: int | None, column: int | None) -> int:
    assert line is not None
    assert column is not None
    before = sum(map(len, lines[: line - 1]))
    # Columns of the syntax tree count bytes of UTF-8, not characters.
    return before + len(lines[line - 1].encode()[:column].decode())


def edit(changes: tuple[Change, ...], indent: int) -> str:
    """Return the source text of an edit."""
    if len(changes) == 1:
        return _change(changes[0], indent)
    inner = "".join(f"{' ' * (indent + 4)}{_change(each, indent + 4)},\n" for each in changes)
    return f"(\n{inner}{' ' * indent})"


def _change(change: Change, indent: int) -> str:
    called = "drop" if change.new is None else "swap"
    texts = [change.old] if change.new is None else [change.old, change.new]
    flat = f"{called}({', '.join(_quoted(text) for text in texts)})"
    if indent + len(flat) < _WIDTH:
        return flat
    inner = "".join(f"{' ' * (indent + 4)}{string(text, indent + 4)},\n" for text in texts)
    return f"{called}(\n{inner}{' ' * indent})"


def string(text: str, indent: int) -> str:
    """Return the source text of a string, in several pieces if it is too long for one line."""
    flat = _quoted(text)
    if indent + len(flat) < _WIDTH:
        return flat
    room = _WIDTH - indent - 4
    pieces: list[str] = []
    for line in text.splitlines(keepends=True):
        piece = ""
        for word in line.replace(" ", " \0").split("\0"):
            if piece and len(_quoted(piece + word)) > room:
                pieces.append(piece)
                piece = ""
            piece += word
        pieces.append(piece)
    return f"\n{' ' * indent}".join(map(_quoted, pieces))


def _quoted(text: str) -> str:
    """As the formatter writes it: in double quotes, unless this takes more escapes."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    if text.count('"') > text.count("'"):
        return "'" + escaped.replace("'", "\\'") + "'"
    return '"' + escaped.replace('"', '\\"') + '"'
