"""Classes with type parameters in brackets and ``type`` statements, from Python 3.12 on."""

# The classes are made from text, because Python 3.11 cannot read them.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.sdk.values.arrival import arrive, check, refuse

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="type parameters in brackets came with Python 3.12"
)

SOURCE = """
import dataclasses
from typing import NamedTuple, TypedDict

import msgspec
import pydantic

from tests.unit.sdk.values.samples import Item, Point


@dataclasses.dataclass
class Page[T]:
    first: T
    rest: list[T] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Items(Page[Item]):
    more: int = 0


@dataclasses.dataclass
class Titled[U](Page[U]):
    title: U | None = None


@dataclasses.dataclass
class Both[A, B: (Item, Point)]:
    one: A
    two: dict[str, B]


class StructPage[T](msgspec.Struct):
    first: T
    rest: list[T]


class TuplePage[T](NamedTuple):
    first: T
    rest: list[T]


class DictPage[T](TypedDict):
    first: T


class ModelPage[T](pydantic.BaseModel):
    first: T
    rest: list[T] = []


type Several[T] = list[T]
type Either = Item | Point
type Nested[T] = Page[T] | None


@dataclasses.dataclass
class Aliased:
    several: Several[Item]
    either: Either
    nested: Nested[Item] = None
"""


@pytest.fixture(scope="module", params=["types", "texts"])
def new(request: pytest.FixtureRequest) -> types.ModuleType:
    """The classes, with annotations that are types, and with those of a ``__future__`` import."""
    text = request.param == "texts"
    module = types.ModuleType(f"understudy_tests_of_type_parameters_in_{request.param}")
    sys.modules[module.__name__] = module
    source = f"from __future__ import annotations\n{SOURCE}" if text else SOURCE
    exec(compile(source, module.__name__, "exec", dont_inherit=True), vars(module))
    return module


CASES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "dataclass": lambda m: (m.Page(m.Item("a"), [m.Item("b")]), m.Page[m.Item]),
    "nested": lambda m: (m.Page(m.Page(m.Item("a"))), m.Page[m.Page[m.Item]]),
    "subclass": lambda m: (m.Items(m.Item("a"), [m.Item("b")], 3), m.Items),
    "subclass as its base": lambda m: (m.Items(m.Item("a"), [m.Item("b")], 3), m.Page[m.Item]),
    "passed on": lambda m: (m.Titled(m.Item("a"), [], m.Item("b")), m.Titled[m.Item]),
    "passed on, as its base": lambda m: (m.Titled(m.Item("a"), [], m.Item("b")), m.Page[m.Item]),
    "two": lambda m: (m.Both(m.Item("a"), {"p": m.Point(1, 2)}), m.Both[m.Item, m.Point]),
    "struct": lambda m: (m.StructPage(m.Item("a"), [m.Item("b")]), m.StructPage[m.Item]),
    "named tuple": lambda m: (m.TuplePage(m.Item("a"), [m.Item("b")]), m.TuplePage[m.Item]),
    "typed dict": lambda m: ({"first": m.Item("a")}, m.DictPage[m.Item]),
    "model": lambda m: (m.ModelPage[m.Item](first=m.Item("a")), m.ModelPage[m.Item]),
    "alias": lambda m: (m.Point(1, 2), m.Either),
    "alias of several": lambda m: ([m.Item("a")], m.Several[m.Item]),
    "alias of a class": lambda m: (m.Page(m.Item("a")), m.Nested[m.Item]),
    "aliases in fields": lambda m: (
        m.Aliased([m.Item("a")], m.Point(1, 2), m.Page(m.Item("b"))),
        m.Aliased,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_they_arrive_as_they_were(
    new: types.ModuleType, case: Callable[[Any], tuple[Any, Any]]
) -> None:
    check(*case(new))


def test_a_value_of_another_class_is_refused(new: types.ModuleType) -> None:
    refuse(new.Page(new.Point(1, 2)), new.Page[new.Item], r"first: a .*Point")
    assert arrive(new.Page(1, [2]), new.Page) == new.Page(1, [2])
