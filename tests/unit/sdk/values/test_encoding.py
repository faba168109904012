"""Values that cannot be encoded: the message names the place and says what to do."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import pydantic
import pytest

from tests.unit.sdk.values.samples import (
    CODEC,
    PICKLING,
    Item,
    round_trip,
)
from understudy.errors import EncodingError, PayloadTooLargeError
from understudy.values import Codec


class Opaque:
    def __repr__(self) -> str:
        raise AssertionError("an error message must not call repr")


class TestRefused:
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
    def test_nesting_is_bounded(self, wrap: Any) -> None:
        value: Any = 1
        for _ in range(100):
            value = wrap(value)
        assert round_trip(value) == value
        for _ in range(5000):
            value = wrap(value)
        with pytest.raises(EncodingError, match="deeper than 100 levels"):
            CODEC.encode_value(value)

    def test_cycles_are_refused(self) -> None:
        cycle: list[Any] = []
        cycle.extend([cycle, cycle, {"k": cycle}])
        with pytest.raises(EncodingError, match="contains itself"):
            CODEC.encode_call((cycle,), {})
        item = Item("a")
        item.sku = item  # type: ignore[assignment]
        path = re.escape(f"it at {'.sku' * 10}…{'.sku' * 10}: ")
        with pytest.raises(EncodingError, match=rf"^{path}.*contains itself"):
            PICKLING.encode_value(item, "it")

    @pytest.mark.parametrize("wrap", [lambda x: [x, x], lambda x: (x, x)])
    def test_exponential_repetition_is_refused(self, wrap: Any) -> None:
        value: Any = []
        for _ in range(60):
            value = wrap(value)
        with pytest.raises(PayloadTooLargeError, match="more when encoded"):
            Codec(payload_bytes_max=1000).encode_value(value)

    def test_the_size_is_bounded(self) -> None:
        small = Codec(payload_bytes_max=1000)
        with pytest.raises(PayloadTooLargeError, match=r"2,003 bytes .* 1,000 bytes") as caught:
            small.encode_value("x" * 2000)
        assert (caught.value.size, caught.value.size_max) == (2003, 1000)
        with pytest.raises(PayloadTooLargeError, match="the arguments"):
            small.encode_call((b"x" * 2000, (1,)), {})
        assert small.encode_value("x" * 997)
        with pytest.raises(PayloadTooLargeError, match="1,001 bytes"):
            small.encode_value("x" * 998)

    def test_secrets_are_refused(self) -> None:
        class Login(pydantic.BaseModel):
            password: pydantic.SecretStr

        with pytest.raises(EncodingError, match=r"\.password: .*is a secret"):
            CODEC.encode_value(Login(password=pydantic.SecretStr("x")))
