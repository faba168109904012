"""House rules that a syntax tree shows: size of classes, private names, start of docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

FLOORS: Final = ("store", "broker", "actors", "sdk")
CLASS_LINES_MAX: Final = 300
CLASS_METHODS_MAX: Final = 25
#: A longer file of tests has several subjects.
TEST_FILE_LINES_MAX: Final = 500
#: A sentence that begins with one of these has no verb or noun to say what the thing is or does.
_RIDDLES: Final = re.compile(r"(What|Whether|Who|Whoever|Whose|How|That|As|So|Of|Where|Which)\b")
#: Public in spite of the underscore: the methods of named tuples and enumerations.
_PUBLIC: Final = frozenset(
    {"_replace", "_fields", "_make", "_asdict", "_field_defaults", "_value_"}
)
_DEFINITIONS: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Finding(NamedTuple):
    """A place that breaks a rule."""

    line: int
    text: str


def product_files(root: Path) -> list[Path]:
    """Return every Python file of the four floors below `root`, sorted; none that is generated."""
    paths = (path for floor in FLOORS for path in (root / floor).rglob("*.py"))
    return sorted(path for path in paths if "_pb2" not in path.stem)


def large_classes(tree: ast.Module) -> Iterator[Finding]:
    """Find classes that are too long, or have too many methods, to be one subject.

    Docstrings do not count, because public ones explain parameters and give examples; nor do the
    overloads of one method.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
        names = {i.name for i in node.body if isinstance(i, ast.FunctionDef | ast.AsyncFunctionDef)}
        methods = len(names)
        if lines > CLASS_LINES_MAX or methods > CLASS_METHODS_MAX:
            yield Finding(node.lineno, f"class {node.name}: {lines} lines, {methods} methods")


def _docstring_lines(node: ast.ClassDef) -> int:
    total = 0
    for item in ast.walk(node):
        if isinstance(item, _DEFINITIONS) and ast.get_docstring(item) is not None:
            text = item.body[0]
            total += (text.end_lineno or text.lineno) - text.lineno + 1
    return total


def foreign_private_names(tree: ast.Module) -> Iterator[Finding]:
    """Find uses of another object's private names: ``other._name``.

    An object's own names (``self``, ``cls``), those of a class inside its own body, and names of
    modules are no one else's. Of one class, two instances may look at each other (``other`` in a
    comparison), which is recognized by the name being defined in the class that encloses the use.
    """
    modules = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    yield from _in_scope(tree, frozenset(), modules)


def _in_scope(node: ast.AST, own: frozenset[str], modules: set[str]) -> Iterator[Finding]:
    if isinstance(node, ast.ClassDef):
        own = own | _names_of(node)
    for child in ast.iter_child_nodes(node):
        yield from _in_scope(child, own, modules)
    if not isinstance(node, ast.Attribute) or not _is_private(node.attr):
        return
    owner = node.value
    if isinstance(owner, ast.Name) and (owner.id in ("self", "cls") or owner.id in modules):
        return
    if (
        isinstance(owner, ast.Call)
        and isinstance(owner.func, ast.Name)
        and owner.func.id == "super"
    ):
        return
    if node.attr not in own:
        yield Finding(node.lineno, f"{ast.unparse(node)}: a private name of another class")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in _PUBLIC


def _names_of(node: ast.ClassDef) -> frozenset[str]:
    names = set()
    for item in ast.walk(node):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(item.name)
        elif isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
            names.add(item.id)
        elif (
            isinstance(item, ast.Attribute)
            and isinstance(item.ctx, ast.Store)
            and isinstance(item.value, ast.Name)
            and item.value.id == "self"
        ):
            names.add(item.attr)
    slots = [
        item.value
        for item in node.body
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "__slots__"
    ]
    for value in slots:
        names.update(str(c.value) for c in ast.walk(value) if isinstance(c, ast.Constant))
    return frozenset(names)


def riddles(tree: ast.Module) -> Iterator[Finding]:
    """Find docstrings that begin with neither a verb nor a noun."""
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS):
            text = ast.get_docstring(node)
            if text and _RIDDLES.match(text):
                line = 1 if isinstance(node, ast.Module) else node.lineno
                yield Finding(line, text.splitlines()[0])
