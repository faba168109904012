"""The command line prints by `understudy.cli.printing` alone, so no text commands a terminal."""

from __future__ import annotations

import ast
from pathlib import Path

import understudy.cli

CLI = Path(understudy.cli.__path__[0])


def test_nothing_else_calls_print() -> None:
    found = [
        f"{path.relative_to(CLI)}:{node.lineno}"
        for path in CLI.rglob("*.py")
        if path.name not in ("printing.py", "json_data.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert found == []
