"""Places in the code: qualified names, and the files of the four floors that define them."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutants.tokens import Token, names_of, tokens_of_file

ROOT: Final = Path(__file__).parents[2]
FLOORS: Final = ("sdk", "actors", "broker", "store")


class Span(NamedTuple):
    """A definition: its name within the module ('' is the module), and its tokens."""

    name: str
    start: int
    end: int


class Source:
    """The text of one file, with its tokens and definitions."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def tokens(self) -> list[Token]:
        """All tokens of the file."""
        return tokens_of_file(self.text)

    @cached_property
    def names(self) -> set[str]:
        """All names that occur in the file."""
        return names_of(self.tokens)

    @cached_property
    def spans(self) -> list[Span]:
        """The module, its classes and functions at any depth, and the variables of both."""
        lines = [0]
        for line in self.text.splitlines(keepends=True):
            lines.append(lines[-1] + len(line))
        starts = [token.start for token in self.tokens]
        return [
            Span("", 0, len(starts)),
            *(
                Span(name, bisect_left(starts, lines[first - 1]), bisect_left(starts, lines[last]))
                for name, first, last in _definitions(ast.parse(self.text).body)
            ),
        ]

    def named(self, name: str) -> list[Span]:
        """Return all definitions of a name; overloads and setters share one."""
        return [span for span in self.spans if span.name == name]

    def around(self, start: int, end: int) -> Span:
        """Return the smallest definition that contains these tokens."""
        holding = [span for span in self.spans if span.start <= start and end <= span.end]
        return min(holding, key=lambda span: span.end - span.start)


def _definitions(
    body: list[ast.stmt], within: str = "", *, variables: bool = True
) -> Iterator[tuple[str, int, int]]:
    """Yield name, first and last line of each definition; variables of functions are left out."""
    for node in body:
        last = node.end_lineno or node.lineno
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield within + node.name, first, last
            inner = isinstance(node, ast.ClassDef) and variables
            yield from _definitions(node.body, f"{within}{node.name}.", variables=inner)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            if not variables:
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield within + target.id, node.lineno, last
        else:
            for field in ("body", "orelse", "finalbody", "handlers"):
                for each in getattr(node, field, ()):
                    stmts = each.body if isinstance(each, ast.ExceptHandler) else [each]
                    yield from _definitions(stmts, within, variables=variables)


class Tree:
    """The product's files under a folder; each is read once.

    Parameters
    ----------
    root
        The folder of the four floors.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self._sources: dict[str, Source] = {}
        self._split: dict[str, tuple[str, str] | None] = {}

    def source(self, file: str) -> Source:
        """Return a file, named relative to the root."""
        if file not in self._sources:
            self._sources[file] = Source((self.root / file).read_text())
        return self._sources[file]

    def split(self, target: str) -> tuple[str, str] | None:
        """Split a qualified name into file and rest; None if there is no such module."""
        if target not in self._split:
            self._split[target] = self._found(target.split("."))
        return self._split[target]

    def _found(self, parts: list[str]) -> tuple[str, str] | None:
        for length in range(len(parts), 0, -1):
            for floor in FLOORS:
                path = "/".join((floor, *parts[:length]))
                for file in (f"{path}.py", f"{path}/__init__.py"):
                    if (self.root / file).is_file():
                        return file, ".".join(parts[length:])
        return None

    def known(self, file: str) -> set[str]:
        """Return the names in a file, and in the files that define the bases of its classes."""
        source = self.source(file)
        nodes = list(ast.walk(ast.parse(source.text)))
        bases = {
            base.id
            for node in nodes
            if isinstance(node, ast.ClassDef)
            for base in node.bases
            if isinstance(base, ast.Name)
        }
        known = set(source.names)
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and any(each.name in bases for each in node.names):
                found = self.split(node.module or "")
                if found is not None:
                    known |= self.known(found[0])
        return known

    @cached_property
    def files(self) -> list[str]:
        """All files of the four floors."""
        return [
            path.relative_to(self.root).as_posix()
            for floor in FLOORS
            for path in sorted((self.root / floor).rglob("*.py"))
        ]


def module_of(file: str) -> str:
    """Return the dotted name of a file."""
    parts = file.removesuffix(".py").split("/")[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def target_of(file: str, name: str) -> str:
    """Return the qualified name of a definition."""
    return f"{module_of(file)}.{name}" if name else module_of(file)
