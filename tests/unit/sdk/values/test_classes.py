"""Instances of classes arrive whole and of their own class, or are refused where they are sent."""

# Types are made of values here, which a type checker cannot follow.
# mypy: disable-error-code="valid-type, name-defined, arg-type"

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import sys
import threading
import types
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Network
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    SupportsInt,
    TypedDict,
    TypeVar,
)

import msgspec
import pydantic
import pytest
import sqlalchemy.orm
import sqlmodel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.sdk.values.samples import CODEC, PICKLING, Color, Item, Level, Point, Row, zones
from understudy.errors import DecodingError, EncodingError
from understudy.values import CallTypes, Codec

if TYPE_CHECKING:
    from tests.unit.sdk.values.samples import Cat, Dog

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V", covariant=True)


@dataclasses.dataclass
class Returning:
    """A function, as far as the codec looks at one that returned a value."""

    result_hint: Any


def arrive(value: Any, hint: Any, codec: Codec = CODEC) -> Any:
    return codec.decode_value(codec.encode_value(value, function=Returning(hint)), hint)


def check(value: Any, hint: Any) -> None:
    got = arrive(value, hint)
    assert type(got) is type(value)
    assert got == value
    assert repr(got) == repr(value)


def refuse(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        CODEC.encode_value(value, "it", Returning(hint))


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


class DictPage(TypedDict, Generic[T]):
    first: T


class DictItems(DictPage[Item]):
    last: Item


class ModelPage(pydantic.BaseModel, Generic[T]):
    first: T
    rest: list[T] = []


class TestGenerics:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Page(Item("a"), [Item("b")]), Page[Item]),
            (Page(Page(Item("a"))), Page[Page[Item]]),
            (Page({Color.RED: Item("a")}), Page[dict[Color, Item]]),
            (Page[Item | None](None, [Item("a")]), Page[Item | None]),
            (Items(Item("a"), [Item("b")], 3), Items),
            (Items(Item("a"), [Item("b")], 3), Page[Item]),
            (Titled(Item("a"), [], Item("b")), Page[Item]),
            (StructPage(Item("a"), [Item("b")]), StructPage[Item]),
            (TuplePage(Item("a"), [Item("b")]), TuplePage[Item]),
            ({"first": Item("a")}, DictPage[Item]),
            ({"first": Item("a"), "last": Item("b")}, DictItems),
            (ModelPage[Item](first=Item("a")), ModelPage[Item]),
            (ModelPage(first=Item("a")), ModelPage[Item]),
        ],
        ids=repr,
    )
    def test_fields_have_the_types_of_the_parameters(self, value: Any, hint: Any) -> None:
        check(value, hint)

    def test_without_parameters_only_plain_data_is_kept(self) -> None:
        check(Page(1, [2]), Page)
        refuse(Page(Item("a")), Page, r"^it at \.first: .*Item")
        refuse(ModelPage(first=Item("a")), ModelPage, r"^it at \.first: .*Item")
        refuse({"first": Item("a"), "last": Item("b")}, DictPage[Item], r"^it at \.last: .*Item")


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


class TestUnions:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Right(1), Left | Right),
            ([Right(1)], list[Left] | list[Right]),
            (Square(1), Circle | Square),
            (SHIPPING.Line(1), BILLING.Line | SHIPPING.Line),
            (SHIPPING.State.OPEN, BILLING.State | SHIPPING.State),
            (SHIPPING.Spot(1), BILLING.Spot | SHIPPING.Spot),
            ([SHIPPING.Line(1)], list[BILLING.Line] | list[SHIPPING.Line]),
            ({"a": SHIPPING.State.OPEN}, dict[str, BILLING.State | SHIPPING.State]),
            ([Color.RED], list[str] | list[Color]),
        ],
        ids=repr,
    )
    def test_the_name_tells_the_members_apart(self, value: Any, hint: Any) -> None:
        check(value, hint)

    def test_a_class_that_the_annotation_does_not_name(self) -> None:
        refuse(SHIPPING.Line(1), BILLING.Line, "twin_of_shipping.Line was sent")
        refuse(SHIPPING.State.OPEN, BILLING.State, "twin_of_shipping.State was sent")
        refuse([Point(1, 2)], list[Item], r"^it at \[0\]: a .*Point was sent")
        refuse(Point(1, 2), Item | None, r"Point was sent")
        with pytest.raises(DecodingError, match=r"Point was sent"):
            CODEC.decode_value(CODEC.encode_value(Point(1, 2)), Item)

    def test_a_class_of_another_program_with_the_same_name(self) -> None:
        data = CODEC.encode_value(Item("a"))
        for module in (b"__main__", b"client.models"):
            name = module + b":Item"
            there = data.replace(b"tests.unit.sdk.values.samples:Item", name)
            there = there.replace(data[:3], bytes([0xC7, len(there) - 3, 13]))
            inner = there[3:]
            size = inner.index(b"tests") if b"tests" in inner else inner.index(name)
            fixed = inner[: size - 2] + bytes([0xA0 | len(name)]) + inner[size:]
            data_there = bytes([0xC7, len(fixed), 13]) + fixed
            assert CODEC.decode_value(data_there, Item) == Item("a")

    def test_a_subclass_that_is_not_imported_is_an_error(self) -> None:
        data = CODEC.encode_value(Items(Item("a"))).replace(b":Items", b":Itons")
        with pytest.raises(DecodingError, match="nor a subclass of it that this process has imp"):
            CODEC.decode_value(data, Page[Item])


@dataclasses.dataclass
class Computed:
    amount: int
    factor: dataclasses.InitVar[float]
    total: float = dataclasses.field(init=False)

    def __post_init__(self, factor: float) -> None:
        self.total = self.amount * factor
        self.seen = [self.amount]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    tags: tuple[str, ...]
    me: Self | None = None


@dataclasses.dataclass
class Appending:
    tags: list[str]

    def __post_init__(self) -> None:
        self.tags.append("made")


class AppendingStruct(msgspec.Struct):
    tags: list[str]

    def __post_init__(self) -> None:
        self.tags.append("made")


class Optional(msgspec.Struct):
    size: int | msgspec.UnsetType = 3


@dataclasses.dataclass
class Own:
    raw: int

    def __init__(self, text: str) -> None:
        self.raw = int(text)

    @functools.cached_property
    def lock(self) -> Any:
        return threading.Lock()


@dataclasses.dataclass
class Free:
    anything: Any
    text: str = ""


@dataclasses.dataclass
class ListLike(list[int]):
    name: str


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> int: ...


@dataclasses.dataclass
class Round(Shape):
    size: int

    def area(self) -> int:
        return 3 * self.size**2


@dataclasses.dataclass
class Drawing:
    shape: Shape


class Sized(Protocol):
    size: int


class Few(Iterable[V], Protocol[V]):
    """Some items."""


@dataclasses.dataclass
class Framed:
    content: Sized
    others: list[Sized] | None = None
    named: dict[str, tuple[Sized, int]] = dataclasses.field(default_factory=dict)


class Op(enum.Enum):
    ITEM = Item("a")
    PAIR = (1, Decimal(2))


class TestFields:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Computed(2, 1.5), Computed),
            (Frozen(("a",), Frozen(())), Frozen),
            (Appending(["a"]), Appending),
            (AppendingStruct(["a"]), AppendingStruct),
            (Own("3"), Own),
            (Drawing(Round(1)), Drawing),
            (Round(1), Shape),
            (Op.ITEM, Op),
            (Op.PAIR, Op),
            (Optional(), Optional),
        ],
        ids=repr,
    )
    def test_no_constructor_changes_them(self, value: Any, hint: Any) -> None:
        check(value, hint)

    def test_attributes_that_are_no_fields_travel_too(self) -> None:
        value = Computed(2, 1.5)
        value.seen = [1, 2, 3]
        assert vars(arrive(value, Computed)) == {"amount": 2, "total": 3.0, "seen": [1, 2, 3]}
        vars(value)["lock"] = threading.Lock()
        refuse(value, Computed, r"^it at \.lock: object of type _thread.lock is not plain data")

    def test_what_a_property_has_cached_stays_here(self) -> None:
        value = Own("3")
        assert value.lock
        assert vars(arrive(value, Own)) == {"raw": 3}

    def test_an_unset_field_with_another_default(self) -> None:
        refuse(Optional(size=msgspec.UNSET), Optional, r"^it at \.size: ")

    def test_a_class_in_a_field_that_does_not_name_it(self) -> None:
        check(Free({"a": (1, 2)}), Free)
        refuse(Free(Item("a")), Free, r"^it at \.anything: .*Annotate the field")
        refuse(Free([Color.RED]), Free, r"^it at \.anything: .*Annotate the field")
        got = arrive(Free(Item("a")), Free, PICKLING)
        assert got == Free(Item("a"))

    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Page("red"), Page[Color]),
            (Page("red", [Color.RED, "blue"]), Page[Color]),
            (Page({"sku": "a"}, [{"sku": "a", "count": 2}]), Page[Item]),  # type: ignore[misc]  # it holds what it should not
            (Page({"red": Color.RED, Color.RED: "red"}), Page[dict[Color, Color]]),
            (Page(("red", {"sku": "a"})), Page[tuple[Color, Item]]),
            (Page({"item": {"sku": "a"}, "n": 1}), Page[Row]),
            (Page("red"), Page[Color | None]),
            (Page((1,)), Page[Left]),
            (StructPage("red", [Color.RED]), StructPage[Color]),  # type: ignore[misc]
            (TuplePage("red", [{"sku": "a"}, Color.RED]), TuplePage[Color]),
            (Drawing({"size": 1}), Drawing),
            (Items({"sku": "a"}), Page[Item]),
        ],
        ids=repr,
    )
    def test_raw_data_stays_raw_where_a_class_is_annotated(self, value: Any, hint: Any) -> None:
        got = arrive(value, hint)
        assert type(got) is type(value)
        assert got == value
        assert repr(got) == repr(value)

    def test_raw_data_in_a_field_that_a_value_lacks_defaults_for(self) -> None:
        data = CODEC.encode_value(Items("red", [])).replace(b"more", b"less")
        assert CODEC.decode_value(data, Items) == Items("red", [])

    def test_raw_data_of_other_clients_becomes_the_class_on_all_levels(self) -> None:
        raw = {"first": {"first": "red", "rest": ["blue"]}}
        expected = Page(Page(Color.RED, [Color.BLUE]))
        assert CODEC.decode_value(CODEC.encode_value(raw), Page[Page[Color]]) == expected

    def test_a_protocol(self) -> None:
        """It names no class, so no instance can be rebuilt, and plain data is as it was."""
        for value in ("text", [1], {"size": 1}, None):
            check(value, Sized | None)
            check(value, Sized)
            check(Framed(value), Framed)
        refuse(Round(1), Sized, r"Round was sent, where .*Sized does not .* it is a Protocol")
        refuse([Round(1)], list[Sized], r"^it at \[0\]: a .*Round was sent.* it is a Protocol")
        refuse(Round(1), Sized | None, r"Round was sent")
        refuse(Round(1), SupportsInt, r"Round was sent")
        refuse(Framed(Round(1)), Framed, r"^it at \.content: .*Annotate the field")
        refuse(Framed(1, [Round(1)]), Framed, r"^it at \.others: .*Annotate the field")
        framed = Framed(Round(1), [Round(2)], {"a": (Round(3), 1)})
        assert arrive(framed, Framed, PICKLING) == framed
        check([Round(1)], Few[Round])
        with pytest.raises(DecodingError, match=r"Round was sent.* it is a Protocol"):
            CODEC.decode_value(CODEC.encode_value(Round(1)), Sized)

    def test_a_container_with_fields(self) -> None:
        refuse(ListLike("a"), ListLike, "is not plain data")

    def test_fields_gain_defaults(self) -> None:
        data = CODEC.encode_value(Free("a")).replace(b"text", b"past")
        assert CODEC.decode_value(data, Free) == Free("a")
        data = CODEC.encode_value(Left(1))
        assert CODEC.decode_value(CODEC.encode_value((1,)), Left) == CODEC.decode_value(data, Left)


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    color: Color
    item: Item
    numbers: tuple[int, ...]


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


class Payment(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    means: Cash | Voucher = Cash(cents=0)
    others: list[Voucher] = []
    stripped: str = ""
    site: pydantic.HttpUrl | None = None
    path: Path | None = None
    network: IPv4Network | None = None
    anything: Any = None
    hidden: int = pydantic.Field(default=1, exclude=True)
    _count: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("stripped")
    @classmethod
    def twice(cls, value: str) -> str:
        return value * 2


class TestModels:
    @pytest.mark.parametrize(
        "value",
        [
            Payment(means=Voucher(cents=5)),
            Payment(means=Gift(cents=5, giver="Ann"), others=[Gift(cents=1, giver="Bo")]),
            Payment(stripped="ab", hidden=7),
            Payment(site=pydantic.HttpUrl("https://a.b/c"), path=Path("/x")),
            Payment.model_validate({"means": Cash(cents=1), "an extra": (1, 2)}),
            Payment(network=IPv4Network("10.0.0.0/8")),
            Strict(color=Color.RED, item=Item("a"), numbers=(1, 2)),
        ],
        ids=repr,
    )
    def test_they_arrive_as_they_were(self, value: Any) -> None:
        check(value, type(value))
        got = arrive(value, type(value))
        assert got.model_fields_set == value.model_fields_set
        assert got.model_dump() == value.model_dump()

    def test_private_attributes(self) -> None:
        value = Payment()
        value._count = 5
        assert arrive(value, Payment)._count == 5

    def test_values_of_enums(self) -> None:
        value = Valued(color=Color.RED, colors=[Color.BLUE])
        assert vars(value) == {"color": "red", "colors": ["blue"]}
        check(value, Valued)
        check(Page(value), Page[Valued])

    def test_what_no_validator_has_seen(self) -> None:
        check(Strict.model_construct(color="red", item={"sku": "a"}, numbers=["1"]), Strict)

    def test_a_root(self) -> None:
        value = _ROOT({"a": Item("a")})
        check(value, _ROOT)
        assert vars(arrive(value, _ROOT)) == vars(value) == {"root": {"a": Item("a")}}
        noted = Noted([1])
        noted._note = "seen"
        assert arrive(noted, Noted)._note == "seen"

    def test_a_class_in_a_field_that_does_not_name_it(self) -> None:
        refuse(Payment(anything=Item("a")), Payment, r"^it at \.anything: ")

    def test_models_of_old_stores(self) -> None:
        # RECORD with what the model dumps, and the name without its module
        inner = msgspec.msgpack.encode(["Payment", {"means": {"cents": 5}, "stripped": "ab"}])
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(13, inner))
        assert CODEC.decode_value(data, Payment) == Payment(means=Cash(cents=5), stripped="ab")


class Noted(pydantic.RootModel[list[int]]):
    _note: str = pydantic.PrivateAttr(default="")


_ROOT = pydantic.RootModel[dict[str, Item]]


class Mapped(sqlmodel.SQLModel, registry=sqlalchemy.orm.registry()):
    """The base of tables that no other test sees."""


class Sale(Mapped, table=True):
    id: int | None = sqlmodel.Field(default=None, primary_key=True)
    color: Color
    means: Cash = sqlmodel.Field(sa_column=sqlmodel.Column(sqlmodel.JSON))
    at: datetime | None = None


class Draft(sqlmodel.SQLModel):
    color: Color
    means: Cash


class TestSQLModel:
    @pytest.mark.parametrize(
        "value",
        [
            Sale(color=Color.RED, means=Cash(cents=1), at=datetime(2024, 1, 1, tzinfo=UTC)),
            Sale(id=3, color="red", means={"cents": 1}),
            Draft(color=Color.RED, means=Cash(cents=1)),
            Draft.model_construct(color="red", means={"cents": 1}),
        ],
        ids=repr,
    )
    def test_fields_arrive_as_they_were(self, value: Any) -> None:
        got = arrive(value, type(value))
        assert type(got) is type(value)
        for name in type(value).model_fields:
            assert getattr(got, name) == getattr(value, name)
            assert type(getattr(got, name)) is type(getattr(value, name))

    @pytest.mark.parametrize("kind", [Sale, Draft])
    def test_data_of_other_clients(self, kind: Any) -> None:
        got = CODEC.decode_value(CODEC.encode_value({"color": "red", "means": {"cents": 1}}), kind)
        assert (type(got), got.color, got.means) == (kind, Color.RED, Cash(cents=1))

    def test_what_is_not_loaded_is_loaded_or_refused(self) -> None:
        engine = sqlmodel.create_engine("sqlite://")
        Mapped.metadata.create_all(engine)
        with sqlmodel.Session(engine) as session:
            made = Sale(color=Color.RED, means={"cents": 1})
            session.add(made)
            session.commit()
            got = arrive(made, Sale)
            assert (got.id, got.color, got.means) == (1, Color.RED, {"cents": 1})
            session.commit()
        refuse(made, Sale, r"attribute 'id' cannot be loaded: .*Refresh the object while")


class TestOldStores:
    @pytest.mark.parametrize(
        ("code", "name", "raw", "hint", "value"),
        [
            (13, "Item", {"sku": "a", "count": 2}, Item, Item("a", 2)),
            (13, "Renamed", {"sku": "a"}, Item, Item("a")),
            (13, "Items", {"first": {"sku": "a"}}, Page[Item], Items(Item("a"))),
            (13, "Square", {"size": 1}, Circle | Square, Square(1)),
            (12, "Color", "red", Color | Level, Color.RED),
            (13, "Free", {"anything": {"sku": "a"}}, Free, Free({"sku": "a"})),
        ],
        ids=str,
    )
    def test_names_without_modules(
        self, code: int, name: str, raw: Any, hint: Any, value: Any
    ) -> None:
        inner = msgspec.msgpack.encode([name, raw])
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, inner))
        assert CODEC.decode_value(data, hint) == value

    def test_named_tuples(self) -> None:
        assert CODEC.decode_value(CODEC.encode_value((1,)), Left) == Left(1)
        assert type(CODEC.decode_value(CODEC.encode_value((1,)), Left)) is Left


class TestArguments:
    def test_names_that_only_a_type_checker_imports(self) -> None:
        from tests.unit.sdk.values import samples

        def feed(ctx: Any, pet: Dog | Cat, others: list[Dog]) -> None:
            raise AssertionError("never called: only its signature is read")

        types_of_feed = CallTypes.of(feed)
        args = (samples.Cat("c"), [samples.Dog("d")])
        data = CODEC.encode_call(args, {}, types_of_feed.names, types_of_feed)
        assert CODEC.decode_call(data, types_of_feed) == (args, {})

    def test_an_argument_of_another_class_is_refused(self) -> None:
        def pack(ctx: Any, item: Item, *, spots: list[Point] | None = None) -> None:
            raise AssertionError("never called: only its signature is read")

        known = CallTypes.of(pack)
        with pytest.raises(EncodingError, match=r"^argument 1 \('item'\): a .*Point was sent"):
            CODEC.encode_call((Point(1, 2),), {}, known.names, known)
        with pytest.raises(EncodingError, match=r"^argument 'spots' at spots\[0\]: a .*Item was"):
            CODEC.encode_call((Item("a"),), {"spots": [Item("a")]}, known.names, known)


#: each type with a strategy for its values
Drawn = tuple[Any, st.SearchStrategy[Any]]

leaves: list[Drawn] = [
    (int, st.integers()),
    (str, st.text(max_size=5)),
    (bytes, st.binary(max_size=5)),
    (Decimal, st.decimals(allow_nan=False)),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=zones)),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (BILLING.State, st.sampled_from(BILLING.State)),
    (SHIPPING.State, st.sampled_from(SHIPPING.State)),
    (BILLING.Line, st.builds(BILLING.Line, st.integers())),
    (SHIPPING.Line, st.builds(SHIPPING.Line, st.integers())),
    (Point, st.builds(Point, st.integers(), st.integers())),
    (Left, st.builds(Left, st.integers())),
    (Right, st.builds(Right, st.integers())),
    (Circle, st.builds(Circle, st.integers())),
    (Square, st.builds(Square, st.integers())),
    (
        Valued,
        st.builds(Valued, color=st.sampled_from(Color), colors=st.lists(st.sampled_from(Color))),
    ),
    (Cash, st.builds(Cash, cents=st.integers())),
    (Voucher, st.builds(Voucher, cents=st.integers()) | st.builds(Gift, cents=st.integers())),
]

#: data of which classes could be made, where an annotation names one
raws = st.sampled_from(
    ["red", 1, {"n": 1}, {"size": 1}, {"x": 1, "y": 2}, {"cents": 1}, {"first": 1}, [1, "red"]]
)


def wider(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
    def of_one(make: Callable[[Any, st.SearchStrategy[Any]], Drawn]) -> st.SearchStrategy[Drawn]:
        return inner.map(lambda drawn: make(*drawn))

    def of_two(
        make: Callable[[Any, st.SearchStrategy[Any], Any, st.SearchStrategy[Any]], Drawn],
    ) -> st.SearchStrategy[Drawn]:
        return st.tuples(inner, inner).map(lambda drawn: make(*drawn[0], *drawn[1]))

    return st.one_of(
        of_one(lambda hint, values: (list[hint], st.lists(values, max_size=3))),
        of_one(lambda hint, values: (dict[str, hint], st.dictionaries(st.text(), values))),
        of_one(lambda hint, values: (hint | None, st.none() | values)),
        # A field holds what its object was given, whatever its annotation says.
        of_one(lambda hint, values: (Page[hint], pages(Page, values | raws))),
        of_one(lambda hint, values: (StructPage[hint], pages(StructPage, values | raws))),
        of_one(lambda hint, values: (TuplePage[hint], pages(TuplePage, values | raws))),
        of_one(
            lambda hint, values: (
                Titled[hint],
                st.builds(Titled, values, st.lists(values | raws, max_size=2), values | raws),
            )
        ),
        of_two(lambda one, ones, two, twos: (tuple[one, two], st.tuples(ones, twos))),
        of_two(lambda one, ones, two, twos: (one | two, ones | twos)),
    )


def pages(kind: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, values, st.lists(values, max_size=2))


types_and_values = st.recursive(st.sampled_from(leaves), wider, max_leaves=5).flatmap(
    lambda drawn: st.tuples(st.just(drawn[0]), drawn[1])
)


def same_types(left: Any, right: Any) -> bool:
    """Whether two equal values have the same types all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return same_types([*left.items()], [*right.items()])
    if isinstance(left, list | tuple):
        return all(map(same_types, left, right))
    if dataclasses.is_dataclass(left) or isinstance(left, pydantic.BaseModel):
        return same_types(vars(left), vars(right))
    if isinstance(left, msgspec.Struct):
        return same_types(msgspec.structs.astuple(left), msgspec.structs.astuple(right))
    if isinstance(left, datetime):
        return type(left.tzinfo) is type(right.tzinfo) and left.tzname() == right.tzname()
    return True


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(types_and_values)
def test_any_value_of_any_type(drawn: tuple[Any, Any]) -> None:
    hint, value = drawn
    got = arrive(value, hint)
    assert got == value
    assert same_types(got, value)
    # Whoever passes it on, or replays, sends the same bytes.
    assert CODEC.encode_value(got) == CODEC.encode_value(value)
