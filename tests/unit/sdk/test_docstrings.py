"""Public docstrings: the sections are there, and the examples print what they say."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sdk.public_docs import IN_A_PROCESS, ITEMS, TESTING, WITH_EXAMPLES, failures
from understudy import Runtime
from understudy.testing import Stage

DESCRIBED = [name for name in ITEMS if name != "understudy"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let examples write their files where nobody misses them."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [name for name in WITH_EXAMPLES if name not in IN_A_PROCESS])
def test_examples_print_what_they_say(name: str) -> None:
    if name == "understudy" or name.partition(".")[0] in TESTING:
        assert failures(name, {}) == ""  # these make runtimes of their own
        return
    runtime = Runtime("shop", "ann")
    with Stage(runtime):
        assert failures(name, {"runtime": runtime}) == ""


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_docstring_has_the_sections_that_its_reader_needs(name: str) -> None:
    thing = ITEMS[name]
    text = inspect.getdoc(thing) or ""
    assert text.partition("\n")[0].endswith((".", ":")), "the first sentence has its own line"
    assert [section for section in needed(thing) if f"\n{section}\n---" not in text] == []


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_parameter_is_explained(name: str) -> None:
    text = inspect.getdoc(ITEMS[name]) or ""
    assert [p for p in parameters(ITEMS[name]) if not explained(p, text)] == []


def needed(thing: Any) -> list[str]:
    """List the sections that a docstring must have.

    A property says everything in one sentence and its name; an error is raised, not used.
    """
    sections = []
    if parameters(thing):
        is_record = inspect.isclass(thing) and not constructed_by_users(thing)
        sections.append("Attributes" if is_record else "Parameters")
    if inspect.isfunction(thing) and str(thing.__annotations__.get("return")) != "None":
        sections.append("Returns")
    if not isinstance(thing, property) and not is_error(thing):
        sections.append("Examples")
    return sections


def parameters(thing: Any) -> list[str]:
    """List the names that a docstring must explain: parameters, or the fields of a record."""
    if isinstance(thing, property):
        return []
    if inspect.isclass(thing) and not constructed_by_users(thing):
        fields = vars(thing).get("_fields") or vars(thing).get("__dataclass_fields__") or ()
        return [name for name in fields if not name.startswith("_")]
    return [
        parameter.name
        for parameter in inspect.signature(thing).parameters.values()
        # the options of a call are named one by one
        if parameter.name not in ("self", "cls") and "Unpack" not in str(parameter.annotation)
    ]


def constructed_by_users(kind: type) -> bool:
    """Return whether users call the class; of the others the library makes all instances."""
    if is_error(kind):
        return "__init__" in vars(kind)
    return "Parameters\n---" in (inspect.getdoc(kind) or "")


def is_error(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, BaseException)


def explained(parameter: str, text: str) -> bool:
    """Find the parameter's name at the start of a line, alone or in a list."""
    for line in text.splitlines():
        if parameter in line.partition(" : ")[0].replace("*", "").split(", "):
            return True
    return False
