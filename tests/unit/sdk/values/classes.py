"""Classes for the tests of the codec: generic ones, twins of one name, and models."""

from __future__ import annotations

import dataclasses
import sys
import types
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import pydantic

from tests.unit.sdk.values.samples import Color, Item

T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass
class Page(Generic[T]):
    first: T
    rest: list[T] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Items(Page[Item]):
    more: int = 0


@dataclasses.dataclass
class Titled(Page[U], Generic[U]):
    title: U | None = None


class StructPage(msgspec.Struct, Generic[T]):
    first: T
    rest: list[T]


class TuplePage(NamedTuple, Generic[T]):
    first: T
    rest: list[T]


class Left(NamedTuple):
    number: int


class Right(NamedTuple):
    number: int


class Circle(msgspec.Struct):
    size: int


class Square(msgspec.Struct):
    size: int


def twins() -> tuple[Any, Any]:
    code = (
        "import dataclasses, enum, typing\n"
        "@dataclasses.dataclass\nclass Line:\n    n: int\n"
        "class State(enum.Enum):\n    OPEN = 1\n"
        "class Spot(typing.NamedTuple):\n    n: int\n"
    )
    made = []
    for name in ("twin_of_billing", "twin_of_shipping"):
        module = sys.modules[name] = types.ModuleType(name)
        exec(code, vars(module))
        made.append(module)
    return made[0], made[1]


BILLING, SHIPPING = twins()


@dataclasses.dataclass
class Free:
    anything: Any
    text: str = ""


class Cash(pydantic.BaseModel):
    cents: int


class Voucher(pydantic.BaseModel):
    cents: int


class Gift(Voucher):
    giver: str


class Valued(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(use_enum_values=True)
    color: Color
    colors: list[Color] = []
