"""Places of functions in the code, as people are shown them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def place_of(fn: Any) -> str:
    """Return the file and line where a function begins: ``shop/orders.py:12``.

    The path is relative to the current folder if it is inside it.
    """
    code = getattr(fn, "__code__", None) or getattr(type(fn).__call__, "__code__", None)
    if code is None:
        return "?"
    path = Path(code.co_filename)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{os.fspath(path)}:{code.co_firstlineno}"
