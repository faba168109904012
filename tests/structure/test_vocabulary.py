"""One vocabulary: what people read calls a call rpc and a step run, whatever the wire says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.structure.house_rules import product_files
from tests.structure.test_house_rules import ROOT

#: Older names of begin_rpc, rpc, begin_run and run. They work, and the wire has them.
OLD = re.compile(r"\b(rfi|rfc|lfi|lfc)\b")
#: the pages that say so
ALIASES = "The older short names still work"
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
#: the page for those who know no other
PAGES.remove(ROOT / "docs" / "from-resonate.md")


def texts_with_old_names(source: str) -> list[str]:
    """Return the texts in a program that have an old name among other words."""
    constants = (
        node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)
    )
    return [
        text
        for text in constants
        if isinstance(text, str) and OLD.search(text) and OLD.sub("", text).strip()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_names_of_today(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if OLD.search(line) and ALIASES not in line] == []


def test_messages_and_docstrings_use_the_names_of_today() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {text[:110]}"
        for path in product_files(ROOT)
        for text in texts_with_old_names(path.read_text(encoding="utf-8"))
    }
    # The docstrings of the methods say that there is an older name, and one parameter its values.
    said = {text for text in found if "also known as" in text or "requests.py: One call" in text}
    assert found - said == set()


def test_the_check_sees_what_it_is_for() -> None:
    assert texts_with_old_names("raise ValueError('use ctx.rfi or so')") == ["use ctx.rfi or so"]
    assert texts_with_old_names("kind = 'rfi'") == []
