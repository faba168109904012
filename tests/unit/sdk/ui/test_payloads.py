"""Payloads are shown within bounds, and never loaded from pickles."""

from __future__ import annotations

import pickle

from tests.unit.sdk.ui.records import CODEC, promise
from understudy.ui.payloads import BRIEF_CHARS, TEXT_CHARS_MAX, arguments, outcome, shown
from understudy.values import Codec
from understudy_store.records import Value


def test_short_values_are_one_line_and_long_ones_open() -> None:
    assert shown(CODEC.encode_value({"a": 1}))[:2] == ('{"a": 1}', "")
    long = shown(CODEC.encode_value(list(range(100))))
    assert len(long.brief) == BRIEF_CHARS
    assert long.text.startswith("[\n  0,")


def test_a_large_value_is_only_told_of() -> None:
    found = shown(CODEC.encode_value("x" * 1_000_000))
    assert found.brief == "976.6 KiB of data, too large for a page"
    assert not found.text


def test_a_text_that_grows_when_decoded_is_cut() -> None:
    found = shown(CODEC.encode_value([0] * 30_000))
    assert len(found.text) <= TEXT_CHARS_MAX + 1
    assert not found.is_whole


class Exploding:
    """Fails the test if it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('loaded')",)


def test_pickles_are_described() -> None:
    data = Codec(pickle=True).encode_value(Exploding())
    assert b"SystemExit" in pickle.dumps(Exploding())
    assert shown(data).brief.startswith('"<pickled, ')


def test_arguments_stand_as_between_brackets() -> None:
    record = promise("a")
    assert arguments(record).brief == "1"
    named = Value({}, CODEC.encode_call(("book",), {"count": 2}))
    other = type(record)("a", "pending", named, named, {}, 9, 0)
    assert arguments(other).brief == '"book", count=2'


def test_a_failure_is_shown_with_its_traceback() -> None:
    try:
        raise ValueError("no such order\n" * 40)
    except ValueError as error:
        value = Value({}, CODEC.encode_error(error))
    found = outcome(promise("a", 0, 5, state="rejected", value=value))
    assert found.brief.startswith("ValueError: no such order no such")
    assert "Traceback" in found.text


def test_nothing_is_shown_of_what_is_pending() -> None:
    assert outcome(promise("a")).brief == ""
    assert shown(None).brief == ""
    assert shown(b"\xff\x00 no value").brief.startswith('"<not readable')
