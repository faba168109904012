"""docs/interop.md and examples/interop: Python calls TypeScript calls Python, in one tree."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.acceptance.system import PATIENCE_S, Program, open_system, until
from tests.acceptance.test_docs import Terminal, blocks, session, terminal
from tests.integration.sdk.edge.rig import port_of
from tests.services.fixture import required
from tests.services.packages import node_project

__all__ = ["terminal"]

PAGE: Final = "docs/interop.md"
EXAMPLE: Final = Path(__file__).parents[2] / "examples/interop"
ADDRESS: Final = "127.0.0.1:8001"


def commands() -> dict[str, str]:
    """Return the commands of the page, each with what it prints."""
    console = [block for block in blocks(PAGE) if block.language == "console"]
    return dict(pair for block in console for pair in session(block.text))


def test_the_page_shows_the_example() -> None:
    shown: dict[str, str] = {}
    for block in blocks(PAGE):
        found = re.match(r"(?:#|//) file: (\S+)\n", block.text)
        if found is not None:
            shown[found[1]] = block.text[found.end() :]
    assert shown.keys() == {"orders.py", "payments.ts", "node20.ts", "buy.ts"}
    for name, text in shown.items():
        assert (EXAMPLE / name).read_text(encoding="utf-8").endswith(f"\n\n{text}"), name


def test_the_example(tmp_path: Path, terminal: Terminal) -> None:
    packages = required(lambda: node_project((EXAMPLE / "package.json").read_text()))
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    expected = commands()
    with open_system(tmp_path) as system:
        edge = system.command("edge", "--listen", "127.0.0.1:0")
        here = f"127.0.0.1:{port_of(edge)}"
        for file in EXAMPLE.iterdir():
            if file.suffix in (".py", ".ts", ".json"):
                text = file.read_text(encoding="utf-8")
                (tmp_path / file.name).write_text(text.replace(ADDRESS, here), encoding="utf-8")
        system.command(*shlex.split("node orders:runtime"))
        npx = shutil.which("npx")
        assert npx is not None
        payments = Program([npx, "tsx", "payments.ts"], tmp_path / "payments.log", {}, tmp_path)
        try:
            until("payments.ts serves", lambda: system.nodes("payments"))
            [invoke] = [text for text in expected if text.startswith("understudy invoke")]
            assert terminal.understudy(invoke, system.url) == (0, expected[invoke])
            [tree] = [text for text in expected if text.startswith("understudy tree")]
            code, printed = terminal.understudy(tree, system.url)
            assert (code, columns(printed)) == (0, columns(expected[tree]))
            [buy] = [text for text in expected if "buy.ts" in text]
            done = subprocess.run(
                [npx, *shlex.split(buy)[1:]],
                cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=True,
            )  # fmt: skip
            assert done.stdout == expected[buy]
        finally:
            payments.kill_group()
            print(payments.output)


def columns(tree: str) -> list[list[str]]:
    """Return a tree's cells, without its times."""
    return [re.split(r"  +", line)[:-1] for line in tree.splitlines()]
