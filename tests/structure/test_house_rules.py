"""The house rules hold in every file of the four floors, and each rule finds what breaks it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.structure.house_rules import (
    CLASS_METHODS_MAX,
    TEST_FILE_LINES_MAX,
    Finding,
    foreign_private_names,
    large_classes,
    product_files,
    riddles,
)

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = ROOT / "tests"
RULES: Final = (large_classes, foreign_private_names, riddles)
_MANY: Final = "\n".join(
    f"    def m{number}(self): pass" for number in range(CLASS_METHODS_MAX + 1)
)

BROKEN: Final = {
    large_classes: (f"class Many:\n{_MANY}\n", "class Long:\n" + "    x = 1\n" * 400),
    foreign_private_names: (
        "class A:\n    def f(self, b):\n        return b._hidden\n",
        "def f(session):\n    session._state = 1\n",
    ),
    riddles: (
        '"""What the file holds."""\n',
        'def f():\n    """Whether it rains."""\n',
    ),
}
SOUND: Final = {
    large_classes: (f"class Documented:\n    def f(self):\n        '''{chr(10) * 400}'''\n",),
    foreign_private_names: (
        (
            "class A:\n    def __init__(self):\n        self._x = 1\n"
            "    def same(self, other):\n        return self._x == other._x\n"
        ),
        "import _codes\nx = _codes._TABLE\n",
        "def f(row):\n    return row._replace(x=1)\n",
    ),
    riddles: ('def f():\n    """Return whether it rains."""\n',),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_rule(rule: Callable[[ast.Module], Iterator[Finding]]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{finding.line} {finding.text}"
        for path in product_files(ROOT)
        for finding in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "source"), [(rule, source) for rule in RULES for source in BROKEN[rule]]
)
def test_a_breach_is_found(rule: Callable[[ast.Module], Iterator[Finding]], source: str) -> None:
    assert list(rule(ast.parse(source)))


@pytest.mark.parametrize(
    ("rule", "source"), [(rule, source) for rule in RULES for source in SOUND[rule]]
)
def test_sound_code_passes(rule: Callable[[ast.Module], Iterator[Finding]], source: str) -> None:
    assert not list(rule(ast.parse(source)))


def test_a_file_of_tests_has_one_subject() -> None:
    sizes = {path: path.read_text(encoding="utf-8").count("\n") for path in TESTS.rglob("*.py")}
    long = {
        str(path.relative_to(ROOT)): size
        for path, size in sizes.items()
        if size > TEST_FILE_LINES_MAX
    }
    assert not long
