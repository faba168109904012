"""The list of mutants fits the code, and the runner tells killed mutants from survivors."""

from __future__ import annotations

import ast
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.mutant import PROPERTIES, Change, Mutant, Unfit, drop, swap
from tests.mutants.places import ROOT, Tree
from tests.mutants.refresh import refresh
from tests.mutants.run import MUTANTS, chosen, main
from tests.mutants.trials import Copy, Trial

MUTANTS_MIN = 60


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


@lru_cache(maxsize=8)
def _dumped(text: str) -> str:
    return ast.dump(ast.parse(text))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_fits_once_and_changes_the_code(mutant: Mutant, tree: Tree) -> None:
    mutated = mutant.applied(tree)
    assert ast.dump(ast.parse(mutated.after)) != _dumped(mutated.before)
    for test in mutant.tests:
        path, *names = test.split("::")
        assert (ROOT / path).exists(), test
        # One case of a test that has several may be named.
        name = names[-1].partition("[")[0] if names else ""
        assert not names or f"def {name}(" in (ROOT / path).read_text(), test


def test_there_are_enough_mutants_and_each_property_is_broken() -> None:
    assert len(MUTANTS) >= MUTANTS_MIN
    assert not [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1]
    assert {m.property for m in MUTANTS} - {None} == set(PROPERTIES)
    numbered = f"\n{PROPERTIES[-1]}. "
    semantics = (ROOT / "docs/semantics.md").read_text()
    assert numbered in semantics
    assert f"\n{PROPERTIES[-1] + 1}. " not in semantics
    assert all(m.tests for m in MUTANTS)


def test_mutants_are_chosen_by_name_by_target_or_by_file() -> None:
    assert chosen([]) == list(MUTANTS)
    assert [m.name for m in chosen(["no-fsync", "no-file-*"])] == ["no-fsync", "no-file-lock"]
    target = MUTANTS[0].target
    assert {m.target for m in chosen([target])} == {target}
    file, _ = Tree().split(target) or ("", "")
    assert MUTANTS[0] in chosen([file])
    floors = {m.target.split(".")[0] for m in chosen(["store/*"])}
    assert floors == {"understudy_store"}


def test_an_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no-such-mutant"])
    assert "no mutant is named no-such-mutant" in capsys.readouterr().err


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Copy a tree with one rule and one test."""
    root = tmp_path / "root"
    package = root / "store/understudy_store"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def larger(a, b):\n    return max(a, b)\n")
    (root / "tests").mkdir()
    (root / "tests/test_larger.py").write_text(
        "import understudy_store\n\n\ndef test_larger():\n"
        "    assert understudy_store.larger(1, 2) == 2\n"
    )
    return Copy(tmp_path / "copy", root)


def test_the_verdicts_on_mutants(copy: Copy) -> None:
    tests = ("tests/test_larger.py",)
    assert copy.check(tests) is None

    def tried(edit: Change) -> Trial:
        mutant = Mutant("x", None, "", "understudy_store.larger", (edit,), tests)
        return copy.attempt(mutant, wide=False)

    killed = tried(swap("max", "min"))
    assert killed.verdict == "killed"
    assert killed.by == "tests/test_larger.py::test_larger"
    assert tried(swap("max(a, b)", "max(b, a)")).verdict == "survived"
    gone = tried(swap("max(a)", "0"))
    assert gone.verdict == "unfit"
    assert "fits nowhere" in gone.by


_QUEUE: Final = '''\
class Queue:
    def put(self, item, sizes=()):
        """Put one in."""
        if (
            self._closed
            or len(self._items) >= self._items_max
        ):
            raise QueueFull(item)
        self._items.append(item)
        self._count += 1

    def take(self):
        while self._items:
            yield self._items.pop()
        self._count = 0
'''


class Product:
    """A tree with one floor, in which a test makes its change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("queues", _QUEUE)

    def write(self, module: str, text: str) -> None:
        path = self.root / f"broker/product/{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def mutated(self, target: str, *changes: Change) -> str:
        mutant = Mutant("x", None, "", f"product.queues.{target}", changes, ())
        after = mutant.applied(Tree(self.root)).after
        ast.parse(after)
        return after


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return Product(tmp_path)


def test_layout_does_not_count(product: Product) -> None:
    after = product.mutated("Queue.put", swap("(self._closed or len", "(self._count or len"))
    assert "if (self._count or len(self._items)" in after
    after = product.mutated(
        "Queue.put", swap("QueueFull(item,)", "QueueFull(item, 1)"), swap("+= 1", "+= 2")
    )
    assert "QueueFull(item, 1)" in after
    assert "self._count += 2" in after


def test_a_renaming_costs_nothing(product: Product) -> None:
    edit = swap("len(self._items) >= self._items_max", "len(self._items) > self._items_max")
    assert "> self._items_max" in product.mutated("Queue.put", edit)
    product.write("queues", _QUEUE.replace("_items", "_waiting"))
    assert "len(self._waiting) > self._waiting_max" in product.mutated("Queue.put", edit)


def test_part_of_a_dotted_name_is_no_renaming(product: Product) -> None:
    product.write("queues", _QUEUE.replace("_closed", "_state.closed"))
    with pytest.raises(Unfit, match="fits nowhere"):
        product.mutated("Queue.put", swap("if (self._closed", "if (not self._closed"))


def test_names_are_renamed_consistently(product: Product) -> None:
    with pytest.raises(Unfit, match="fits nowhere"):
        product.mutated("Queue.put", swap("len(self._x) >= self._x", "True"))


def test_a_literal_match_wins_over_a_renamed_one(product: Product) -> None:
    product.write("queues", "def f(a, b):\n    g(a)\n    g(b)\n")
    assert product.mutated("f", swap("g(b)", "g(a)")).endswith("g(a)\n    g(a)\n")


def test_a_fragment_that_fits_twice_is_unfit(product: Product) -> None:
    with pytest.raises(Unfit, match=r"fits 2 times \(literal\)"):
        product.mutated("Queue.take", swap("self._items", "()"))
    with pytest.raises(Unfit, match=r"fits 2 times \(renamed\)"):
        product.mutated("Queue.take", swap("self._other", "()"))


def test_a_change_with_an_unknown_name_is_unfit(product: Product) -> None:
    with pytest.raises(Unfit, match="unknown there, _sizes"):
        product.mutated("Queue.put", swap("self._closed", "self._sizes"))
    known = swap("self._closed", "not sizes or self._count or self._items.copy()")
    assert "not sizes or self._count or" in product.mutated("Queue.put", known)


def test_a_target_that_is_gone_is_unfit(product: Product) -> None:
    with pytest.raises(Unfit, match=r"product/queues.py defines no Queue.offer"):
        product.mutated("Queue.offer", drop("self._count += 1"))


def test_statements_are_dropped_whole(product: Product) -> None:
    after = product.mutated("Queue.put", drop("self._items.append(item)"))
    assert after == _QUEUE.replace("        self._items.append(item)\n", "")
    after = product.mutated("Queue.take", drop("yield self._items.pop()"))
    assert after == _QUEUE.replace("yield self._items.pop()", "pass")
    after = product.mutated("Queue.take", drop("while self._items:\n    yield self._items.pop()"))
    assert "while" not in after
    for part in ("while self._items:", "self._items.pop()", "yield"):
        with pytest.raises(Unfit, match="not a whole statement"):
            product.mutated("Queue.take", drop(part))


def test_lines_are_indented_as_the_place_is(product: Product) -> None:
    edit = swap("    yield self._items.pop()\nself._count", "    yield 1\n    return\nself._count")
    assert "            yield 1\n            return\n        self._count = 0" in product.mutated(
        "Queue.take", edit
    )


_ROWS: Final = """\
A = (
    _mutant(
        "moved",
        None,
        "a rule",
        "product.queues.Queue.put",
        swap("len(self._items) >= self._items_max", "len(self._items) > self._items_max"),
        "test_it.py",
    ),
    _mutant("lost", None, "a rule", "product.queues.Queue.gone", drop("self.gone()"), "test_it.py"),
)
"""
_MOVED: Final = Mutant(
    "moved",
    None,
    "a rule",
    "product.queues.Queue.put",
    (swap("len(self._items) >= self._items_max", "len(self._items) > self._items_max"),),
    (),
)
_LOST: Final = _MOVED._replace(
    name="lost", target="product.queues.Queue.gone", changes=(drop("self.gone()"),)
)


@pytest.mark.parametrize(
    ("text", "target", "old"),
    [
        (_QUEUE, "product.moved.Queue.put", "len(self._items) >= self._items_max"),
        (
            _QUEUE.replace("class Queue", "class Lane").replace("_items", "_waiting"),
            "product.moved.Lane.put",
            "len(self._waiting) >= self._waiting_max",
        ),
        (
            _QUEUE.replace("self._items", "self._lane.items"),
            "product.moved.Queue.put",
            "len(self._lane.items) >= self._lane.items_max",
        ),
        (
            _QUEUE.replace("def put", "def add"),
            "product.moved.Queue.add",
            "len(self._items) >= self._items_max",
        ),
    ],
    ids=["moved", "class-and-names", "reached-otherwise", "function"],
)
def test_a_mutant_whose_code_has_moved_is_placed_again(
    product: Product, tmp_path: Path, text: str, target: str, old: str
) -> None:
    product.write("queues", "")
    product.write("moved", text)
    rows = tmp_path / "rows.py"
    rows.write_text(_ROWS)
    moved, lost = refresh([_MOVED, _LOST], [rows], Tree(tmp_path))
    assert moved.fresh is not None
    assert moved.fresh.target == target
    assert lost.fresh is None
    assert "nothing similar" in lost.told
    ast.parse(rows.read_text())
    assert f'"{target}",' in rows.read_text()
    assert moved.fresh.changes == (swap(old, old.replace(">=", ">")),)
    assert f'"{old}",' in rows.read_text()
    assert 'drop("self.gone()")' in rows.read_text()


def test_a_mutant_whose_code_was_renamed_is_rewritten(product: Product, tmp_path: Path) -> None:
    rows = tmp_path / "rows.py"
    rows.write_text(_ROWS)
    assert refresh([_MOVED], [rows], Tree(tmp_path)) == []
    assert rows.read_text() == _ROWS
    product.write("queues", _QUEUE.replace("_items_max", "_most"))
    (result,) = refresh([_MOVED], [rows], Tree(tmp_path))
    assert "renamed" in result.told
    assert "len(self._items) > self._most" in rows.read_text()


def test_a_mutant_that_fits_two_places_is_left_alone(product: Product, tmp_path: Path) -> None:
    product.write("queues", "")
    product.write("one", _QUEUE)
    product.write("two", _QUEUE)
    rows = tmp_path / "rows.py"
    rows.write_text(_ROWS)
    (result,) = refresh([_MOVED], [rows], Tree(tmp_path))
    assert result.fresh is None
    assert "product.one.Queue.put" in result.told
    assert "product.two.Queue.put" in result.told
    assert rows.read_text() == _ROWS


def test_the_diff_of_a_mutant_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([MUTANTS[0].name, "--show"]) == 0
    shown = capsys.readouterr().out
    assert "\n--- a/store/" in shown
    assert "\n+" in shown
