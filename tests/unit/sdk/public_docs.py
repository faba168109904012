"""The public docstrings: finding them, and running their examples.

``python -m tests.unit.sdk.public_docs Runtime.serve`` runs those of one name in this process.
"""

from __future__ import annotations

import doctest
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import understudy
import understudy.logs
import understudy.testing
import understudy.tracing
from understudy.processes.spawn import Spawned

#: Methods that other parts of the library call; users do not.
INTERNAL: Final = {
    "Promise.not_yielded",
}

#: Names that go away with the next release.
OLD: Final = {
    "Group.waiting_ms",
    "Node.silent_ms",
    "Schedule.promise_param",
    "Schedule.promise_tags",
    "Schedule.promise_timeout",
    "StoredPromise.record",
}

#: Their examples start processes or wait for signals, so they run in a process of their own.
IN_A_PROCESS: Final = {
    "Runtime.serve",
    "Runtime.spawn",
    "Spawned",
    "Spawned.check",
    "Spawned.stop",
}

TESTING: Final = {*understudy.testing.__all__, "CrashEverywhere"}


class Item(NamedTuple):
    """A public class, function, method or property."""

    name: str
    thing: Any


def _items() -> Iterator[Item]:
    yield Item("understudy", understudy)
    exported = [
        getattr(module, name)
        for module in (understudy, understudy.logs, understudy.testing, understudy.tracing)
        for name in module.__all__
        if not name.startswith("__")
    ]
    for thing in (*exported, Spawned):
        public = thing if inspect.isclass(thing) or inspect.isfunction(thing) else type(thing)
        yield Item(public.__name__, public)
        if inspect.isclass(public):
            yield from _members(public)


def _members(kind: type) -> Iterator[Item]:
    seen = set()
    for owner in kind.__mro__:
        if owner.__module__.partition(".")[0].startswith("understudy"):
            for name, member in vars(owner).items():
                thing = getattr(member, "__func__", member)
                public = not name.startswith("_") and name not in seen
                if public and isinstance(thing, types.FunctionType | property):
                    yield Item(f"{kind.__name__}.{name}", thing)
                seen.add(name)


ITEMS: Final = {i.name: i.thing for i in _items() if i.name not in INTERNAL | OLD}
WITH_EXAMPLES: Final = [n for n, thing in ITEMS.items() if ">>>" in (inspect.getdoc(thing) or "")]


def failures(name: str, namespace: dict[str, Any]) -> str:
    """Run the examples of one docstring, with all public names; return what doctest finds wrong."""
    text = inspect.getdoc(ITEMS[name]) or ""
    names = {each: getattr(understudy, each) for each in understudy.__all__}
    names |= {each: getattr(understudy.testing, each) for each in understudy.testing.__all__}
    parsed = doctest.DocTestParser().get_doctest(text, names | namespace, name, name, 0)
    said: list[str] = []
    doctest.DocTestRunner().run(parsed, out=said.append)
    return "".join(said)


if __name__ == "__main__":
    problems = "".join(failures(name, {}) for name in sys.argv[1:])
    print(problems, end="")
    sys.exit(1 if problems else 0)
