"""The list of mutants fits the code, and the runner tells the dead from the living."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.mutant import PROPERTIES, Mutant
from tests.mutants.run import MUTANTS, chosen, main
from tests.mutants.trying import ROOT, Copy

MUTANTS_MIN = 60


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_old_text_stands_once_and_the_new_one_is_python(mutant: Mutant) -> None:
    before = (ROOT / mutant.file).read_text()
    after = mutant.applied(before)
    assert after != before
    ast.parse(after)
    for test in mutant.tests:
        path, *names = test.split("::")
        assert (ROOT / path).exists(), test
        assert not names or f"def {names[-1]}(" in (ROOT / path).read_text(), test


def test_there_are_enough_and_each_property_is_broken() -> None:
    assert len(MUTANTS) >= MUTANTS_MIN
    assert not [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1]
    assert {m.property for m in MUTANTS} - {None} == set(PROPERTIES)
    numbered = f"\n{PROPERTIES[-1]}. "
    semantics = (ROOT / "docs/semantics.md").read_text()
    assert numbered in semantics
    assert f"\n{PROPERTIES[-1] + 1}. " not in semantics
    assert all(m.tests for m in MUTANTS)


def test_they_are_chosen_by_name_or_by_file() -> None:
    assert chosen([]) == list(MUTANTS)
    assert [m.name for m in chosen(["no-fsync", "no-file-*"])] == ["no-fsync", "no-file-lock"]
    assert {m.file for m in chosen(["store/*/holding.py"])} == {
        "store/understudy_store/machine/holding.py"
    }


def test_an_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no-such-mutant"])
    assert "no mutant is named no-such-mutant" in capsys.readouterr().err


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Of a tree with one rule and one test."""
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


def test_what_becomes_of_one(copy: Copy) -> None:
    tests = ("tests/test_larger.py",)
    assert copy.check(tests) is None
    file = "store/understudy_store/__init__.py"
    found = {
        new: copy.attempt(Mutant("x", None, "", file, "max(a, b)", new, tests), wide=False)
        for new in ("min(a, b)", "max(b, a)")
    }
    assert {new: trial.verdict for new, trial in found.items()} == {
        "min(a, b)": "killed",
        "max(b, a)": "survived",
    }
    assert found["min(a, b)"].by == "tests/test_larger.py::test_larger"
    gone = copy.attempt(Mutant("x", None, "", file, "max(a)", "0", tests), wide=False)
    assert gone.verdict == "unfit"
    assert "stands 0 times" in gone.by
