"""Public docstrings: the sections are there, and the examples print what they say."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import understudy
import understudy.testing
from understudy import Runtime
from understudy.processes.spawn import Spawned
from understudy.testing import Stage
from understudy_broker.server.embedded import EmbeddedBroker

PATIENCE_S: Final = 60

#: They start processes or wait for signals, so each runs in a process of its own.
IN_A_PROCESS: Final = {"Runtime.serve", "Runtime.spawn", "Spawned"}

#: Python's own protocols need no example.
_INHERITED: Final = (BaseException, tuple, dict)


class Item(NamedTuple):
    """A public class, function, method or property."""

    name: str
    thing: Any


def items() -> Iterator[Item]:
    """Find everything that the two public modules export, with the public members of classes."""
    exported = [
        getattr(module, name)
        for module in (understudy, understudy.testing)
        for name in module.__all__
        if not name.startswith("__")
    ]
    for thing in (*exported, Spawned):
        name = getattr(thing, "__name__", type(thing).__name__)
        yield Item(name, thing)
        if inspect.isclass(thing):
            yield from members(thing)


def members(kind: type) -> Iterator[Item]:
    seen = set()
    for owner in kind.__mro__:
        if owner.__module__.partition(".")[0].startswith("understudy"):
            for name, member in vars(owner).items():
                thing = getattr(member, "__func__", member)
                public = not name.startswith("_") and name not in seen
                if public and isinstance(thing, types.FunctionType | property):
                    yield Item(f"{kind.__name__}.{name}", thing)
                seen.add(name)


ITEMS: Final = {item.name: item.thing for item in items()}
WITH_EXAMPLES: Final = [
    name for name, thing in ITEMS.items() if ">>>" in (inspect.getdoc(thing) or "")
]


def parameters(thing: Any) -> list[str]:
    """Return the names that a Parameters section must explain."""
    if isinstance(thing, property):
        return []
    signature = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing)
    return [name for name in signature.parameters if name != "self"]


def is_error(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, BaseException)


@pytest.mark.parametrize("name", ITEMS)
def test_a_docstring_has_the_sections_that_its_reader_needs(name: str) -> None:
    thing = ITEMS[name]
    text = inspect.getdoc(thing) or ""
    first = text.partition("\n")[0]
    assert first.endswith((".", ":")), "the first sentence stands in the first line"
    missing = []
    if not is_error(thing) and not is_old_name(name):
        if "Examples\n--------" not in text and not is_field(thing):
            missing.append("Examples")
        returns = inspect.isfunction(thing) and inspect.signature(thing).return_annotation
        if returns not in (False, "None", None) and "Returns\n-------" not in text:
            missing.append("Returns")
    if own_parameters(thing) and not any(s in text for s in ("Parameters\n---", "Attributes\n---")):
        missing.append("Parameters")
    assert not missing


@pytest.mark.parametrize("name", ITEMS)
def test_every_parameter_is_explained(name: str) -> None:
    thing = ITEMS[name]
    text = inspect.getdoc(thing) or ""
    unexplained = [p for p in own_parameters(thing) if not explained(p, text)]
    assert not unexplained


def own_parameters(thing: Any) -> list[str]:
    """Return parameters that users pass: objects that the library makes have none."""
    if inspect.isclass(thing) and made_by_the_library(thing):
        return []
    return [name for name in parameters(thing) if not name.startswith("_")]


def made_by_the_library(kind: type) -> bool:
    if is_error(kind):
        return "__init__" not in vars(kind)
    text = inspect.getdoc(kind) or ""
    return "Parameters\n---" not in text and "Attributes\n---" not in text


def explained(parameter: str, text: str) -> bool:
    """Find the parameter's name at the start of a line, alone or in a list."""
    for line in text.splitlines():
        names = line.partition(" : ")[0].replace("*", "").split(", ")
        if parameter in names:
            return True
    return False


def is_field(thing: Any) -> bool:
    """True for a property whose name and one sentence say everything."""
    return isinstance(thing, property)


def is_old_name(name: str) -> bool:
    """True for names that go away with the next release."""
    return name in {
        "Group.waiting_ms",
        "Node.silent_ms",
        "Schedule.promise_param",
        "Schedule.promise_tags",
        "Schedule.promise_timeout",
        "StoredPromise.record",
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let examples write their files where nobody misses them."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [name for name in WITH_EXAMPLES if name not in IN_A_PROCESS])
def test_examples_print_what_they_say(name: str) -> None:
    runtime = Runtime("shop", "ann")
    with Stage(runtime):
        assert failures(name, {"runtime": runtime}) == ""


def test_the_example_of_the_package_prints_what_it_says() -> None:
    ITEMS["understudy"] = understudy
    assert failures("understudy", {}) == ""


@pytest.mark.parametrize("name", sorted(IN_A_PROCESS))
def test_examples_that_need_a_process_of_their_own(name: str) -> None:
    with EmbeddedBroker() as broker:
        done = subprocess.run(
            [sys.executable, "-m", "tests.unit.sdk.test_docstrings", name],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "UNDERSTUDY_URL": broker.endpoint},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def failures(name: str, namespace: dict[str, Any]) -> str:
    """Run the examples of one docstring; return what doctest says is wrong."""
    text = inspect.getdoc(ITEMS[name]) or ""
    names = {each: getattr(understudy, each) for each in understudy.__all__}
    names |= {each: getattr(understudy.testing, each) for each in understudy.testing.__all__}
    parsed = doctest.DocTestParser().get_doctest(text, names | namespace, name, name, 0)
    said: list[str] = []
    doctest.DocTestRunner().run(parsed, out=said.append)
    return "".join(said)


if __name__ == "__main__":
    problems = failures(sys.argv[1], {})
    print(problems, end="")
    sys.exit(1 if problems else 0)
