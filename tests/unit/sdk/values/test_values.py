"""The codec: what goes in comes out, or an error says why not."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import subprocess
import sys
import zoneinfo
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DecodingError, EncodingError, PayloadTooLargeError
from understudy.values import CallTypes, Codec

CODEC = Codec()
PICKLING = Codec(pickle=True)


def round_trip(value: Any, hint: Any = None) -> Any:
    return CODEC.decode_value(CODEC.encode_value(value), hint)


def same(left: Any, right: Any) -> bool:
    """Equal, of the same types all the way down, with NaN equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return bool(left == right) or (math.isnan(left) and math.isnan(right))
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left), list(right)) and same([*left.values()], [*right.values()])
    if isinstance(left, datetime | time):
        return (left, left.fold, left.utcoffset()) == (right, right.fold, right.utcoffset())
    return bool(left == right)


zones = st.none() | st.sampled_from(
    [UTC, timezone(timedelta(hours=-3, minutes=-30)), zoneinfo.ZoneInfo("Europe/Berlin")]
)
hashables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=zones)
    | st.times(timezones=st.none() | st.just(UTC))
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    hashables | st.just(math.nan) | st.just(Decimal("NaN")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(hashables, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
    ),
    max_leaves=12,
)


class TestRoundTrip:
    @settings(max_examples=200, deadline=None)
    @given(values)
    def test_any_plain_value(self, value: Any) -> None:
        assert same(round_trip(value), value)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(values, max_size=3).map(tuple), st.dictionaries(st.text(), values, max_size=3))
    def test_any_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        got_args, got_kwargs = CODEC.decode_call(CODEC.encode_call(args, kwargs))
        assert same(got_args, args)
        assert same(got_kwargs, kwargs)

    @settings(max_examples=60, deadline=None)
    @given(values)
    def test_a_hint_that_names_other_classes_changes_nothing(self, value: Any) -> None:
        assert same(round_trip(value, hint=Item | Any), value)

    @pytest.mark.parametrize(
        "value",
        [
            2**63,
            2**64 - 1,
            2**64,
            -(2**63),
            -(2**63) - 1,
            1 << 20_000,
            -0.0,
            math.inf,
            -math.inf,
            datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
            datetime(2024, 1, 1, 12, 0, 0, 1),  # noqa: DTZ001 - naive ones too
            time(1, 2, 3, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
            date.min,
            timedelta.min,
            Decimal("-0.00"),
            Decimal("sNaN"),
            UUID(int=5),
            {True: 1, 2: "b", None: 3, (1, "x"): [4], b"k": {5}},
            {1: {2: {3: []}}},
            {2**70: 1},
            [[], (), set(), frozenset(), {}],
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_corner_cases(self, value: Any) -> None:
        assert same(round_trip(value), value)
        assert same(round_trip([{"deep": (value,)}]), [{"deep": (value,)}])

    def test_zone_keys_survive(self) -> None:
        when = datetime(2024, 6, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
        assert round_trip(when).tzinfo is zoneinfo.ZoneInfo("Europe/Berlin")

    def test_an_unknown_zone_leaves_the_instant(self) -> None:
        when = datetime(2024, 6, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
        data = CODEC.encode_value(when).replace(b"Europe/Berlin", b"Europe/Nerlib")
        assert CODEC.decode_value(data) == when

    def test_plain_data_is_plain_msgpack(self) -> None:
        value = {"id": "a", "n": [1, 2.5, None, True], "b": b"x"}
        assert CODEC.encode_value(value) == msgspec.msgpack.encode(value)
        assert CODEC.encode_call((1,), {}) == msgspec.msgpack.encode([[1], {}])

    def test_no_data_is_none(self) -> None:
        assert CODEC.decode_value(None, Item) is None


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Item:
    sku: str
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclasses.dataclass
class Animal:
    name: str


@dataclasses.dataclass
class Dog(Animal):
    pass


@dataclasses.dataclass
class Cat(Animal):
    pass


@dataclasses.dataclass
class Order:
    id: UUID
    items: list[Item]
    colors: dict[Color, set[Level]]
    pet: Dog | Cat | None = None
    parent: Order | None = None
    total: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.total = sum(item.count for item in self.items)


class Pair(msgspec.Struct, frozen=True):
    left: Item
    right: Pair | None = None
    size: int | msgspec.UnsetType = msgspec.UNSET


class Address(pydantic.BaseModel):
    street: str
    site: pydantic.HttpUrl | None = None


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName")
    addresses: list[Address] = []
    color: Color = Color.RED
    born: date | None = None


class Tags(pydantic.RootModel[list[str]]):
    pass


class Spot(NamedTuple):
    at: Point
    color: Color


class Row(TypedDict):
    item: Item
    n: int


ItemId = NewType("ItemId", Item)
ITEMS = [Item("a", 2), Item("b")]


class TestHints:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Color.RED, Color),
            (Level.LOW, Level),
            (Access.READ | Access.WRITE, Access),
            (Item("a"), Item),
            (ITEMS, list[Item]),
            ((ITEMS[0], 1, "x"), tuple[Item, int, str]),
            (tuple(ITEMS), tuple[Item, ...]),
            ({"k": Item("a")}, dict[str, Item]),
            ({Color.RED: [Level.LOW]}, dict[Color, list[Level]]),
            ({Point(1, 2): Color.BLUE}, dict[Point, Color]),
            ({Point(1, 2), Point(3, 4)}, set[Point]),
            (frozenset({Color.RED}), frozenset[Color]),
            (Item("a"), Item | None),
            (None, Item | None),
            (Dog("d"), Dog | Cat),
            (Cat("c"), Dog | Cat),
            (Cat("c"), Animal),
            ([Cat("c"), Dog("d"), None], list[Animal | None]),
            ("red", Color | str),
            (Color.RED, str | Color),
            (Level.LOW, int | Level),
            (1, int | Level),
            ({"sku": "a"}, Item | dict[str, str]),
            (Item("a"), Annotated[Item, ["not hashable"]]),
            (Item("a"), ItemId),
            (Color.RED, Literal[Color.RED, "x"]),
            ("x", Literal[Color.RED, "x"]),
            (Spot(Point(1, 2), Color.RED), Spot),
            ({"item": Item("a"), "n": 1}, Row),
            (Pair(Item("a"), Pair(Item("b"), size=4)), Pair),
            (Person(fullName="A", addresses=[Address(street="s")], color=Color.BLUE), Person),
            (Address(street="s", site=pydantic.HttpUrl("https://example.org/x")), Address),
            (Person(fullName="B", born=date(2000, 1, 2)), Person | None),
            (Tags(["a", "b"]), Tags),
            (
                Order(UUID(int=1), ITEMS, {Color.RED: {Level.LOW}}, Cat("c"), None),
                Order,
            ),
            (
                Order(UUID(int=1), [], {}, None, Order(UUID(int=2), ITEMS, {}, Dog("d"))),
                Order,
            ),
        ],
        ids=repr,
    )
    def test_classes_are_rebuilt(self, value: Any, hint: Any) -> None:
        got = round_trip(value, hint)
        assert got == value
        assert type(got) is type(value)
        assert repr(got) == repr(value) or isinstance(value, set)

    @pytest.mark.parametrize(
        ("value", "raw"),
        [
            (Color.RED, "red"),
            (Item("a"), {"sku": "a", "count": 1}),
            ([Point(1, 2), Color.RED], [{"x": 1, "y": 2}, "red"]),
            (Address(street="s"), {"street": "s", "site": None}),
            (Pair(Item("a")), {"left": {"sku": "a", "count": 1}, "right": None}),
            (Spot(Point(1, 2), Color.RED), ({"x": 1, "y": 2}, "red")),
        ],
        ids=repr,
    )
    def test_without_a_hint_they_are_raw(self, value: Any, raw: Any) -> None:
        for hint in (None, Any, int, "Item", list[str]):
            assert same(round_trip(value, hint), raw)

    def test_dicts_of_other_clients_are_rebuilt_too(self) -> None:
        assert round_trip({"sku": "a", "news": 1}, Item) == Item("a", 1)
        assert round_trip("blue", Color | None) is Color.BLUE
        assert round_trip({"fullName": "A"}, Person) == Person(fullName="A")

    def test_hints_do_not_validate(self) -> None:
        assert round_trip("text", int) == "text"
        assert round_trip(3, Item) == 3
        assert round_trip([1, "x"], list[Item]) == [1, "x"]

    def test_what_the_constructor_computes_does_not_replace_what_was_sent(self) -> None:
        order = Order(UUID(int=1), ITEMS, {})
        order.total = 99
        assert round_trip(order, Order).total == 99

    @pytest.mark.parametrize(
        ("value", "hint", "message"),
        [
            ({"count": 1}, Item, r"the value: cannot be made a .*Item: .*'sku'"),
            ("green", Color, r"the value: 'green' is no value of .*Color"),
            ([{"x": 1}], list[Point], r"the value at \[0\]: cannot be made a .*Point"),
            ({"k": [{}]}, dict[str, list[Item]], r"the value at \['k'\]\[0\]: .*Item"),
            ((1, 2, 3), tuple[Item, int], "3 items where"),
            ({"fullName": 3}, Person, r"cannot be made a .*Person"),
        ],
    )
    def test_what_does_not_suit_is_named(self, value: Any, hint: Any, message: str) -> None:
        with pytest.raises(DecodingError, match=message):
            round_trip(value, hint)

    def test_records_that_need_a_hash_need_a_hint(self) -> None:
        with pytest.raises(DecodingError, match="Annotate"):
            round_trip({Point(1, 2)})

    def test_arguments_by_function(self) -> None:
        def f(
            ctx: Any, a: Item, b: int, *rest: Color, c: Point | None = None, **others: Cat
        ) -> None:
            raise AssertionError("only its signature counts")

        types = CallTypes.of(f)
        args = (Item("a"), 2, Color.RED, Color.BLUE)
        kwargs = {"c": Point(1, 2), "d": Cat("d")}
        data = CODEC.encode_call(args, kwargs, types.names)
        assert CODEC.decode_call(data, types) == (args, kwargs)
        assert types.names == ("a", "b")

    def test_arguments_that_do_not_suit_are_named(self) -> None:
        def f(ctx: Any, order: list[Point]) -> None:
            raise AssertionError("only its signature counts")

        data = CODEC.encode_call(([{"x": 1}],), {})
        with pytest.raises(DecodingError, match=r"^argument 1 \('order'\) at order\[0\]: "):
            CODEC.decode_call(data, CallTypes.of(f))

    def test_an_annotation_that_cannot_be_resolved_does_not_spoil_the_others(self) -> None:
        def f(ctx: Any, a: Nowhere, b: Item) -> None:  # type: ignore[name-defined]  # noqa: F821
            raise AssertionError("only its signature counts")

        data = CODEC.encode_call((Item("a"), Item("b")), {})
        args, _ = CODEC.decode_call(data, CallTypes.of(functools.partial(f)))
        assert args == ({"sku": "a", "count": 1}, Item("b"))


class Opaque:
    def __repr__(self) -> str:
        raise AssertionError("a message must not depend on repr")


class TestRefusals:
    @pytest.mark.parametrize(
        ("args", "kwargs", "message"),
        [
            ((1, Opaque()), {}, r"^argument 2 \('when'\): object of type .*Opaque is not plain"),
            ((1, 2, Opaque()), {}, r"^argument 3: object"),
            ((), {"order": Opaque()}, r"^argument 'order': object"),
            (([1, {"a": (1, Opaque())}],), {}, r"^argument 1 \('id'\) at id\[1\]\['a'\]\[1\]: "),
            ((), {"o": Item("a", Opaque())}, r"^argument 'o' at o\.count: "),  # type: ignore[arg-type]
            (({(Opaque(),): 1},), {}, r"at id\[<tuple>\]\[0\]: "),
            (({1 << 20_000: Opaque()},), {}, r"at id\[<int>\]: "),
            ((1, OrderedDict(a=1)), {}, r"object of type collections\.OrderedDict"),
            ((bytearray(b"x"),), {}, "object of type bytearray"),
            ((len,), {}, "object of type builtin_function_or_method"),
            ((Item,), {}, "object of type type is"),
            ((["ok", "bad \udc80"],), {}, r"id\[1\]: text with a lone surrogate at position 4"),
            ((), {"k": {"\udc80": 1}}, r"lone surrogate"),
        ],
    )
    def test_the_argument_and_the_place_are_named(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(EncodingError, match=message):
            CODEC.encode_call(args, kwargs, names=("id", "when"))

    def test_the_message_says_what_to_do(self) -> None:
        with pytest.raises(EncodingError, match=r"^result of foo: .*Pass plain data.*pickle=True"):
            CODEC.encode_value(Opaque(), "result of foo")

    @pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"k": x}, lambda x: (x,)])
    def test_depth(self, wrap: Any) -> None:
        value: Any = 1
        for _ in range(100):
            value = wrap(value)
        assert round_trip(value) == value
        for _ in range(5000):
            value = wrap(value)
        with pytest.raises(EncodingError, match="deeper than 100 levels"):
            CODEC.encode_value(value)

    def test_cycles(self) -> None:
        cycle: list[Any] = []
        cycle.extend([cycle, cycle, {"k": cycle}])
        with pytest.raises(EncodingError, match="contains itself"):
            CODEC.encode_call((cycle,), {})
        item = Item("a")
        item.sku = item  # type: ignore[assignment]
        with pytest.raises(EncodingError, match="contains itself"):
            PICKLING.encode_value(item)

    @pytest.mark.parametrize("wrap", [lambda x: [x, x], lambda x: (x, x)])
    def test_repeats_that_would_never_end(self, wrap: Any) -> None:
        value: Any = []
        for _ in range(60):
            value = wrap(value)
        with pytest.raises(PayloadTooLargeError, match="more when encoded"):
            Codec(payload_bytes_max=1000).encode_value(value)

    def test_size(self) -> None:
        small = Codec(payload_bytes_max=1000)
        with pytest.raises(PayloadTooLargeError, match=r"2,003 bytes .* 1,000 bytes") as caught:
            small.encode_value("x" * 2000)
        assert (caught.value.size, caught.value.size_max) == (2003, 1000)
        with pytest.raises(PayloadTooLargeError, match="the arguments"):
            small.encode_call((b"x" * 2000, (1,)), {})
        assert small.encode_value("x" * 997)
        with pytest.raises(PayloadTooLargeError, match="1,001 bytes"):
            small.encode_value("x" * 998)

    def test_secrets_stay_at_home(self) -> None:
        class Login(pydantic.BaseModel):
            password: pydantic.SecretStr

        with pytest.raises(EncodingError, match=r"\.password: .*is a secret"):
            CODEC.encode_value(Login(password=pydantic.SecretStr("x")))


class TestPickle:
    def test_anything_else_goes_by_pickle_where_allowed(self) -> None:
        value = {"f": functools.partial(int, base=2), "o": OrderedDict(a=1), "t": (1,)}
        got = PICKLING.decode_value(PICKLING.encode_value(value))
        assert got["f"]("101") == 5
        assert same(got["o"], value["o"])
        assert got["t"] == (1,)

    def test_functions_travel_by_value(self) -> None:
        secret = 42
        ((f,), _) = PICKLING.decode_call(PICKLING.encode_call((lambda: secret,), {}))
        assert f() == 42

    def test_plain_data_and_records_are_the_same_with_pickle_on(self) -> None:
        value = (Item("a"), [Color.RED], 2**70)
        assert PICKLING.encode_value(value) == CODEC.encode_value(value)

    def test_pickled_data_is_refused_where_not_allowed(self) -> None:
        data = PICKLING.encode_call((OrderedDict(a=1),), {})
        with pytest.raises(DecodingError, match=r"it is pickled.*pickle=True"):
            CODEC.decode_call(data)
        with pytest.raises(DecodingError, match="it is pickled"):
            CODEC.decode_value(PICKLING.encode_value(OrderedDict()), Item)

    def test_what_cannot_be_pickled_is_named(self) -> None:
        with pytest.raises(
            EncodingError, match=r"argument 'g' at g\[0\]: .*generator cannot be pick"
        ):
            PICKLING.encode_call((), {"g": [(i for i in "")]})

    def test_damaged_pickles(self) -> None:
        data = PICKLING.encode_value(OrderedDict(a=1))
        with pytest.raises(DecodingError, match="cannot be unpickled"):
            PICKLING.decode_value(data.replace(b"OrderedDict", b"DisorderDic"))


class TestHostileData:
    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=60))
    def test_random_bytes(self, data: bytes) -> None:
        self.check(data)

    @settings(max_examples=300, deadline=None)
    @given(values, st.data())
    def test_damaged_values(self, value: Any, data: st.DataObject) -> None:
        good = bytearray(CODEC.encode_call((value,), {}))
        for _ in range(data.draw(st.integers(1, 3))):
            good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        self.check(bytes(good[: data.draw(st.integers(0, len(good)))]))

    @settings(max_examples=300, deadline=None)
    @given(st.integers(-128, 127), st.binary(max_size=40))
    def test_damaged_extensions(self, code: int, data: bytes) -> None:
        self.check(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data)))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xc1",
            b"\x91" * 100_000,
            b"\xdd\xff\xff\xff\xff",
            b"\xa1\xff",
            b"\x01\x01",
            CODEC.encode_value([1, 2]),
            CODEC.encode_value([[], {1: 2}]),
            CODEC.encode_value({}),
        ],
    )
    def test_what_is_no_call(self, data: bytes) -> None:
        self.check(data)
        with pytest.raises(DecodingError):
            CODEC.decode_call(data)

    def test_extensions_inside_extensions(self) -> None:
        data = b"\x90"
        for _ in range(3000):
            data = msgspec.msgpack.encode([msgspec.msgpack.Ext(2, data)])
        with pytest.raises(DecodingError):
            CODEC.decode_value(data)

    @staticmethod
    def check(data: bytes) -> None:
        """Decodes, or raises DecodingError, and nothing else."""

        def f(ctx: Any, order: Order, *rest: Person | Color) -> None:
            raise AssertionError("only its signature counts")

        types = CallTypes.of(f)
        for attempt in (
            lambda: CODEC.decode_value(data),
            lambda: CODEC.decode_value(data, dict[Color, list[Order]] | Order),
            lambda: CODEC.decode_call(data),
            lambda: CODEC.decode_call(data, types),
            lambda: CODEC.decode_error(data),
        ):
            try:
                attempt()
            except DecodingError:
                continue


def test_importing_it_is_light() -> None:
    heavy = {"trio", "zmq", "asyncio", "pydantic", "cloudpickle", "sqlmodel", "sqlalchemy"}
    code = (
        "import sys, understudy.values, understudy.errors, understudy.retry, understudy.options, "
        f"understudy.registry; print(sorted({heavy!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
