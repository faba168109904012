"""Payloads come back as they came, and our functions and theirs understand each other's."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.edge.resonate.world import b64
from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.payloads import (
    ValueIn,
    shown_param,
    shown_value,
    stored_param,
    stored_value,
)
from understudy.errors import RemoteError
from understudy.values.codec import Codec
from understudy_store.records import EMPTY, PromiseRecord, PromiseState, Value

CODEC = Codec()
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip
HEADERS = st.none() | st.dictionaries(
    st.sampled_from(["fn", "v", "kind", "attempt", "x"]), st.text()
)


def of(value: Value, state: PromiseState = "resolved") -> PromiseRecord:
    return PromiseRecord("a", state, EMPTY, value, {}, 2, 1, 1)


def shown_json(shown: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(shown["data"]))


@given(HEADERS, st.none() | st.text() | PLAIN.map(b64))
def test_text_comes_back_as_it_came(headers: dict[str, str] | None, data: str | None) -> None:
    given = ValueIn(headers, data)
    expected: dict[str, Any] = {"headers": headers} if headers else {}
    if data is not None:
        expected["data"] = data
    assert shown_param(stored_param(given)) == expected
    assert shown_value(of(stored_value(given))) == expected
    assert shown_value(of(stored_value(given), "rejected")) == expected


@pytest.mark.parametrize("text", ["e30", " e30=", "e30=\n", "e31=", "not base64", "aGk=", ""])
def test_odd_texts_come_back_too(text: str) -> None:
    assert shown_param(stored_param(ValueIn(None, text))) == {"data": text}


@given(PLAIN)
def test_our_callers_read_their_values(value: Any) -> None:
    assert CODEC.decode_value(stored_value(ValueIn(None, b64(value))).data) == value


@given(st.lists(PLAIN, max_size=3), st.dictionaries(st.text(), PLAIN, max_size=3))
def test_our_functions_get_their_arguments(args: list[Any], kwargs: dict[str, Any]) -> None:
    call = {"func": "f", "args": args, "kwargs": kwargs, "version": 2}
    stored = stored_param(ValueIn(None, b64(call)))
    assert stored.headers == {"kind": "rfi", "fn": "f", "v": "2"}
    assert CODEC.decode_call(stored.data or b"") == (tuple(args), kwargs)


@pytest.mark.parametrize(
    "param",
    [
        {"func": ""}, {"func": 1}, {"func": "f", "args": "no"}, {"func": "f", "kwargs": []},
        ["func"], "func", {"args": []},
    ],
)  # fmt: skip
def test_what_is_no_call_has_no_function(param: Any) -> None:
    assert stored_param(ValueIn(None, b64(param))).headers == {}


def test_a_call_without_arguments_or_with_a_strange_version() -> None:
    stored = stored_param(ValueIn(None, b64({"func": "f", "version": 0})))
    assert stored.headers == {"kind": "rfi", "fn": "f"}
    assert CODEC.decode_call(stored.data or b"") == ((), {})


def test_their_headers_are_not_taken_for_ours() -> None:
    stored = stored_param(ValueIn({"fn": "evil", "v": "9"}, b64(1)))
    assert "fn" not in stored.headers
    assert "v" not in stored.headers


def test_they_read_our_calls() -> None:
    data = CODEC.encode_call((1, (2, 3), dt.date(2026, 11, 30)), {"k": decimal.Decimal("1.5")})
    shown = shown_param(Value({"fn": "f", "kind": "rfi", "at": "a.py:1"}, data))
    assert shown.keys() == {"data"}
    assert shown_json(shown) == {
        "func": "f", "args": [1, [2, 3], "2026-11-30"], "kwargs": {"k": "1.5"}, "version": 1,
    }  # fmt: skip
    assert shown_json(shown_param(Value({"fn": "f", "v": "3"}, data)))["version"] == 3


@given(PLAIN)
def test_they_read_our_values(value: Any) -> None:
    assert shown_json(shown_value(of(Value({}, CODEC.encode_value(value))))) == value


class Failure(Exception):
    pass


def test_they_read_our_errors() -> None:
    data = CODEC.encode_error(Failure("the well is dry"))
    shown = shown_json(shown_value(of(Value({"attempt": "2"}, data), "rejected")))
    assert shown == {"__type": "error", "name": "Failure", "message": "the well is dry"}
    inside = CODEC.encode_value([Failure("inside")])
    assert shown_json(shown_value(of(Value({}, inside)))) == [
        {"__type": "error", "name": "Failure", "message": "inside"}
    ]
    plain = CODEC.encode_value("no")
    assert shown_json(shown_value(of(Value({}, plain), "rejected")))["message"] == "no"


def test_we_read_their_errors() -> None:
    fields = {"__type": "error", "name": "TypeError", "message": "no", "stack": "at a.ts:1"}
    stored = stored_value(ValueIn(None, b64(fields)))
    error = CODEC.decode_error(stored.data)
    assert isinstance(error, RemoteError)
    assert (error.type_name, error.message) == ("resonate.TypeError", "no")
    assert error.remote_traceback == "at a.ts:1"
    # passed on by a function of ours
    again = shown_json(shown_value(of(Value({}, CODEC.encode_error(error)), "rejected")))
    assert again == {"__type": "error", "name": "TypeError", "message": "no"}


def test_an_error_without_a_name_or_with_strange_fields() -> None:
    for fields, name, message in (
        ({"__type": "error", "message": "m"}, "resonate.Error", "m"),
        ({"__type": "aggregate_error", "message": 7, "name": None}, "resonate.Error", ""),
    ):
        stored = stored_value(ValueIn(None, b64(fields)))
        error = CODEC.decode_error(stored.data)
        assert isinstance(error, RemoteError)
        assert (error.type_name, error.message) == (name, message)


def test_no_pickle_is_ever_loaded() -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was loaded",))

    theirs = {"__type": "error", "message": "m", "__py_pickle": base64.b64encode(
        __import__("pickle").dumps(Trap())).decode()}  # fmt: skip
    stored = stored_value(ValueIn(None, b64(theirs)))
    for codec in (CODEC, Codec(pickle=True)):
        assert isinstance(codec.decode_error(stored.data), RemoteError)
        assert codec.decode_value(stored.data) == theirs
    ours = Codec(pickle=True).encode_value(Trap())
    shown = shown_json(shown_value(of(Value({}, ours))))
    assert shown["name"] == "EncodingError"
    call = Codec(pickle=True).encode_call((Trap(),), {})
    assert shown_json(shown_param(Value({"fn": "f"}, call)))["name"] == "EncodingError"


@pytest.mark.parametrize("data", [None, "text", b64({"func": "f", "args": [1]}), b64([1])])
@pytest.mark.parametrize(
    "headers",
    [
        {"resonate:format-py": "x" * 100_000},
        {f"h{n}": "1" for n in range(100)},
        {"n" * 3_000: "1"},
    ],
    ids=["long", "many", "long name"],
)
def test_headers_that_a_value_cannot_have_come_back_too(
    headers: dict[str, str], data: str | None
) -> None:
    stored = stored_param(ValueIn(headers, data))
    assert shown_param(stored) == {"headers": headers} | ({} if data is None else {"data": data})
    assert len(stored.headers) <= 3
    if "fn" in stored.headers:
        assert CODEC.decode_call(stored.data or b"") == ((1,), {})
    else:
        assert CODEC.decode_value(stored.data) in (None, "text", [1])


def test_errors_for_and_of_the_older_sdks() -> None:
    data = CODEC.encode_error(Failure("the well is dry"))
    shown = shown_json(shown_value(of(Value({}, data), "rejected"), legacy=True))
    assert shown["__error__"] == "the well is dry"
    assert (shown["__exception__"], shown["args"]) == (True, ["the well is dry"])
    for fields, name in (
        ({"__error__": "no"}, "resonate.Error"),
        (
            {"__exception__": True, "type": "ValueError", "module": "m", "args": ["no"]},
            "resonate.ValueError",
        ),
    ):
        error = CODEC.decode_error(stored_value(ValueIn(None, b64(fields))).data)
        assert isinstance(error, RemoteError)
        assert (error.type_name, error.message) == (name, "no")


def test_half_a_character_is_refused() -> None:
    with pytest.raises(Refusal):
        stored_value(ValueIn(None, "\ud800"))
