"""A message becomes a call, or the reason why it is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.sources.fakes import KIND, FakeForms, message, translator
from understudy.sources.template import IdTemplate
from understudy.sources.translator import Poison, Translator
from understudy_store.commands import PromiseCreate


def arguments(body: bytes) -> bytes | None:
    made = translator().translate(message(1, body))
    assert isinstance(made, PromiseCreate)
    return made.param.data


def test_an_array_has_the_arguments_and_an_object_the_named_ones() -> None:
    assert arguments(b'[1, "a", null]') == b"((1, 'a', None), {})"
    assert arguments(b'{"a": 1, "b": [2]}') == b"((), {'a': 1, 'b': [2]})"
    assert arguments(b" []\n") == b"((), {})"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "no-json"),
        (b"nonsense", "no-json"),
        (b"[1", "no-json"),
        (b"\xff\xfe", "no-json"),
        (b"\xef\xbb\xbf[1]", "no-json"),
        (b"[NaN]", "no-json"),
        (b"[" * 5000, "too-large"),
        (b"[" * 900, "no-json"),
        (b"7", "wrong-shape"),
        (b'"text"', "wrong-shape"),
        (b"null", "wrong-shape"),
        (b"[" + b" " * 1000 + b"]", "too-large"),
    ],
)
def test_the_poison_is_named(body: bytes, kind: str) -> None:
    made = translator().translate(message(7, body))
    assert isinstance(made, Poison)
    assert (made.kind, made.id) == (kind, "t-0-7")


@given(st.binary(max_size=200))
def test_no_body_raises(body: bytes) -> None:
    translator().translate(message(1, body))


def test_arguments_that_cannot_be_encoded_are_poison() -> None:
    def make(id: str, args: object, kwargs: object, tags: object) -> PromiseCreate:
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")

    made = Translator(IdTemplate(KIND.default_id, KIND), make).translate(message(1))
    assert isinstance(made, Poison)
    assert made.kind == "refused"


def test_a_message_without_the_parts_of_its_id_is_poison() -> None:
    made = translator("{message_id}").translate(message(1))
    assert made == Poison("no-id", "has no id: it has no message_id, of which its id is made", None)


def test_headers_become_tags_if_they_are_named() -> None:
    made = Translator(
        IdTemplate(KIND.default_id, KIND), FakeForms().call, ("tenant", "trace")
    ).translate(message(1, headers={"tenant": "acme", "other": "x"}))
    assert isinstance(made, PromiseCreate)
    assert made.tags == {"tenant": "acme"}


def test_a_call_is_linked_to_the_trace_of_its_message() -> None:
    text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = message(1)._replace(headers={"traceparent": text, "other": "1"})
    one, other = (translator().translate(each) for each in (message(1), traced))
    assert isinstance(one, PromiseCreate)
    assert isinstance(other, PromiseCreate)
    assert other.param.headers == {**one.param.headers, "tracelink": text}
    assert other.param.data == one.param.data
