"""docs/interop.md and examples/interop: Python calls TypeScript calls Python, in one tree."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.page_run import EDGE_PORT, open_page
from tests.acceptance.system import until
from tests.acceptance.test_docs import blocks
from tests.services.fixture import required
from tests.services.packages import node_project

PAGE: Final = "docs/interop.md"
EXAMPLE: Final = Path(__file__).parents[2] / "examples/interop"


def shown() -> dict[str, str]:
    """Return the programs of the page, by the names of their files."""
    found: dict[str, str] = {}
    for block in blocks(PAGE):
        name = re.match(r"(?:#|//) file: (\S+)\n", block.text)
        if name is not None:
            found[name[1]] = block.text[name.end() :]
    return found


def test_the_page_shows_the_example() -> None:
    assert shown().keys() == {"orders.py", "payments.ts", "node20.ts", "buy.ts"}
    for name, text in shown().items():
        assert (EXAMPLE / name).read_text(encoding="utf-8").endswith(f"\n\n{text}"), name


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    """In a folder that has nothing but the programs of the page."""
    packages = required(lambda: node_project((EXAMPLE / "package.json").read_text()))
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    with open_page(PAGE, tmp_path) as run:
        for name, text in shown().items():
            run.write(name, text)
        for command in run.commands:
            if command.startswith("npm ") and " install " not in command:
                run.run(command)
        # What `npm install` would fetch is there already.
        [install] = [each for each in run.commands if " install " in each]
        wanted = json.loads((EXAMPLE / "package.json").read_text())["dependencies"]
        assert install == f"npm install @resonatehq/sdk@{wanted['@resonatehq/sdk']} tsx"
        (tmp_path / "node_modules").symlink_to(packages / "node_modules")
        run.start("understudy broker", f"understudy edge: http://{run.place(EDGE_PORT)}")
        run.start("understudy node orders:runtime")
        run.start("npx tsx payments.ts", "payments serves charge")
        for group in ("orders", "payments"):
            until("it serves", partial(run.nodes, group))
        invoke = run.one("understudy invoke")
        assert run.run(invoke) == run.commands[invoke]
        tree = run.one("understudy tree")
        assert columns(run.run(tree)) == columns(run.commands[tree])
        buy = run.one("npx tsx buy.ts")
        assert run.run(buy) == run.commands[buy]
        for option in ("--debug", "--legacy"):
            other = run.one(f"understudy edge {option}")
            run.start(other, f"understudy edge: http://{run.place('8011')}").kill()


def columns(tree: str) -> list[list[str]]:
    """Return a tree's cells, without its times."""
    return [re.split(r"  +", line)[:-1] for line in tree.splitlines()]
