"""Mutants: small, named faults, as data."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from tests.mutants.matches import (
    Match,
    Mode,
    indented,
    matches,
    unknown_names,
    written,
)
from tests.mutants.places import Source, Span, Tree
from tests.mutants.tokens import LAYOUT, Token, tokens_of_fragment

#: the numbered properties of docs/semantics.md
PROPERTIES: Final = range(1, 31)


class Unfit(ValueError):
    """A fault cannot be put into the code as it is now; the text says why."""


class Change(NamedTuple):
    """A replacement of a fragment of the target; `new` is None to remove a statement.

    A fragment may begin and end anywhere in a line. White space within a line, line breaks within
    brackets, comments and trailing commas do not count. If the code has renamed things since, the
    fragment still fits, and `new` is written with the new names.
    """

    old: str
    new: str | None


Edit: TypeAlias = Change | tuple[Change, ...]


def swap(old: str, new: str) -> Change:
    """Replace `old` with `new`."""
    return Change(old, new)


def drop(statement: str) -> Change:
    """Remove whole statements; a block that would be empty gets ``pass``."""
    return Change(statement, None)


class Mutated(NamedTuple):
    """The text of a file before and after."""

    file: str
    before: str
    after: str

    def diff(self) -> str:
        """Return a unified diff."""
        return "".join(
            difflib.unified_diff(
                self.before.splitlines(keepends=True),
                self.after.splitlines(keepends=True),
                f"a/{self.file}",
                f"b/{self.file}",
            )
        )


class Mutant(NamedTuple):
    """A fault that the tests must notice.

    Fields
    ------
    property
        The number of the property in docs/semantics.md that it breaks; None if the rule has no
        number.
    breaks
        The rule, in words.
    target
        The qualified name of the function, class, variable or module that it is put into.
    changes
        The fault: each of them fits one place in the target.
    tests
        Files or single tests, the quickest first. One of them must fail.
    """

    name: str
    property: int | None
    breaks: str
    target: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]

    def located(self, tree: Tree) -> tuple[str, Source, list[Span]]:
        """Return the file of its target, and the spans of the target in it.

        Raises
        ------
        Unfit
            There is no such definition.
        """
        found = tree.split(self.target)
        if found is None:
            raise Unfit(f"{self.name}: there is no module of {self.target}")
        file, name = found
        source = tree.source(file)
        spans = source.named(name)
        if not spans:
            raise Unfit(f"{self.name}: {file} defines no {name}")
        return file, source, spans

    def applied(self, tree: Tree) -> Mutated:
        """Put the fault into the file of its target.

        Raises
        ------
        Unfit
            The target is gone, or a fragment fits no place in it, or several.
        """
        file, source, spans = self.located(tree)
        try:
            found = [placed(change, source, spans)[1] for change in self.changes]
            after = spliced(
                source, list(zip(self.changes, found, strict=True)), lambda: tree.known(file)
            )
        except Unfit as error:
            raise Unfit(f"{self.name}: in {self.target} {error}: rewrite the fault") from None
        return Mutated(file, source.text, after)


def placed(change: Change, source: Source, spans: list[Span]) -> tuple[Mode, Match]:
    """Find the one place within `spans` that a fragment fits, literally or else by renaming.

    Raises
    ------
    Unfit
        There is none, or there are several.
    """
    fragment = tokens_of_fragment(change.old)
    modes: tuple[Mode, Mode] = ("literal", "renamed")
    for mode in modes:
        found = {
            match.start: match
            for span in spans
            for match in matches(fragment, source.tokens, span.start, span.end, mode)
        }
        if len(found) == 1:
            (match,) = found.values()
            return mode, match
        if found:
            raise Unfit(f"{change.old!r} fits {len(found)} times ({mode}), not once")
    raise Unfit(f"{change.old!r} fits nowhere")


def spliced(
    source: Source,
    placed_changes: list[tuple[Change, Match]],
    known: Callable[[], set[str]],
) -> str:
    """Return the text with all changes made.

    Raises
    ------
    Unfit
        A change would write a name that is not `known`, or remove part of a statement.
    """
    text = source.text
    begin = len(text) + 1
    for change, match in sorted(placed_changes, key=lambda pair: -pair[1].start):
        start, end, new = _replacement(source, change, match, known)
        if end > begin:
            raise Unfit(f"{change.old!r} overlaps another change")
        text, begin = text[:start] + new + text[end:], start
    return text


def _replacement(
    source: Source, change: Change, match: Match, known: Callable[[], set[str]]
) -> tuple[int, int, str]:
    tokens, text = source.tokens, source.text
    start, end = tokens[match.start].start, tokens[match.end - 1].end
    line = text.rfind("\n", 0, start) + 1
    whole_line = not text[line:start].strip()
    if change.new is None:
        return _removed(source, change, match, line)
    unknown = unknown_names(change.old, change.new, source.names)
    # The names of base classes are looked up only if needed, because that is slow.
    unknown = [name for name in unknown if name not in known()] if unknown else []
    if unknown:
        raise Unfit(f"{change.new!r} has a name that is unknown there, {', '.join(unknown)}")
    new = indented(
        written(change.new, match),
        change.old,
        _indent_of_statement(source, match.start),
        whole_line=whole_line,
    )
    return (line if whole_line else start), end, new


def _indent_of_statement(source: Source, position: int) -> int:
    """Return the indentation of the statement to which a token belongs."""
    while position and source.tokens[position - 1].kind not in LAYOUT:
        position -= 1
    start = source.tokens[position].start
    return start - source.text.rfind("\n", 0, start) - 1


def _removed(source: Source, change: Change, match: Match, line: int) -> tuple[int, int, str]:
    tokens, text = source.tokens, source.text
    before = tokens[match.start - 1] if match.start else None
    rest = match.end
    depth = 0
    for token in tokens[match.start : match.end]:
        depth += (token.kind == "in") - (token.kind == "out")
    ends = _kind(tokens, rest) == "line"
    rest += 1
    while depth and _kind(tokens, rest) == "out":
        rest += 1
        depth -= 1
    begins = before is None or before.kind in LAYOUT
    if not (begins and ends) or depth or _kind(tokens, rest) == "in":
        raise Unfit(f"{change.old!r} is not a whole statement there")
    end = text.find("\n", tokens[match.end - 1].end) + 1 or len(text)
    alone = before is not None and before.kind == "in" and _kind(tokens, rest) == "out"
    indent = " " * (tokens[match.start].start - line)
    return line, end, f"{indent}pass\n" if alone else ""


def _kind(tokens: list[Token], position: int) -> str:
    """Return the kind of a token; beyond the end of the file, that of the end of a block."""
    return tokens[position].kind if position < len(tokens) else "out"


class Area(NamedTuple):
    """The folder of an area's tests, which makes its rows short."""

    folder: str

    def mutant(
        self, name: str, property: int | None, breaks: str, target: str, edit: Edit, *by: str
    ) -> Mutant:
        """Make a mutant; the tests `by` are named relative to the folder, or to the root."""
        named = tuple(each if each.startswith("tests/") else f"{self.folder}/{each}" for each in by)
        changes = (edit,) if isinstance(edit, Change) else edit
        return Mutant(name, property, breaks, target, changes, named)
