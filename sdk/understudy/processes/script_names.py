"""The names of a script that its values need in the nodes that it spawns.

Functions of a script travel to these nodes with what their code uses. Two things stay behind: the
names in annotations that are text, as with ``from __future__ import annotations``, and classes that
are used only by values, such as the attributes of exceptions.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from typing import Any

from understudy.values.pickles import dumps

_MAIN = "__main__"


def script_names() -> dict[str, Any]:
    """Return the classes of this process's script, and what its annotations name as text.

    What cannot be pickled is left out.
    """
    script = vars(sys.modules[_MAIN])
    own = {
        name: item
        for name, item in script.items()
        if inspect.isroutine(item) or inspect.isclass(item)
        if item.__module__ == _MAIN
    }
    used = {name for name, item in own.items() if inspect.isclass(item)}
    used.update(name for item in own.values() for name in _names_in_annotations(item))
    return {
        name: script[name] for name in sorted(used) if name in script and _travels(script[name])
    }


def adopt_names(names: dict[str, Any]) -> None:
    """Make the names of the script that has started this process known here."""
    script = vars(sys.modules[_MAIN])
    for name, value in names.items():
        script.setdefault(name, value)


def _names_in_annotations(owner: Any) -> Iterator[str]:
    try:
        annotations = inspect.get_annotations(inspect.unwrap(owner))
    except Exception:
        return
    for annotation in annotations.values():
        if isinstance(annotation, str):
            try:
                tree = ast.parse(annotation, mode="eval")
            except SyntaxError:
                continue
            yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _travels(value: Any) -> bool:
    try:
        dumps(value)
    except Exception:
        return False
    return True
