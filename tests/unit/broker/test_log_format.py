"""Lines of logs: text, or one JSON object in each line, whatever a record holds."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy_broker.log_format import (
    LINE_CHARS_MAX,
    ForPeople,
    ForPrograms,
    LogSettingError,
    chosen_format,
    chosen_level,
    extras,
)


class Nasty:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def record(text: str = "sent", **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("shop", logging.WARNING, "shop.py", 1, text, (), None)
    made.__dict__.update(more)
    return made


def line(made: logging.LogRecord) -> dict[str, Any]:
    text = ForPrograms().format(made)
    assert "\n" not in text
    assert len(text) <= LINE_CHARS_MAX
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_record_is_an_object_with_what_it_was_given() -> None:
    made = line(record(parcel=7, understudy_id="order-7", fields={"pid": "a"}))
    made.pop("timestamp")
    assert made == {
        "pid": "a",
        "parcel": 7,
        "understudy.id": "order-7",
        "event": "sent",
        "level": "warning",
        "logger": "shop",
    }


def test_a_traceback_is_a_part_of_the_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        made = line(record(exc_info=sys.exc_info()))
    assert made["exception"].endswith("ValueError: two\nlines")


def test_attributes_for_the_command_line_are_left_out() -> None:
    made = record(name="understudy", left_s=3.0, understudy_id="a", trace_id="f")
    assert extras(made) == {"understudy.id": "a", "trace_id": "f"}


circular: list[Any] = []
circular.append(circular)


@pytest.mark.parametrize(
    "value", [Nasty(), {Nasty()}, {(1, 2): 3}, circular, b"\xff", "\ud800", float("nan"), None]
)
def test_no_value_breaks_a_line(value: Any) -> None:
    assert line(record(value=value))["event"] == "sent"
    assert "\n" not in ForPeople(colors=False).format(record(value=value))


@given(st.dictionaries(st.sampled_from("abcdef"), st.text(min_size=0) | st.integers()), st.text())
def test_any_record_is_one_line(fields: dict[str, Any], text: str) -> None:
    assert line(record(text, **fields))["event"] == text


@pytest.mark.parametrize("letter", ["x", "\x00", "😀", "\n"])
def test_a_long_line_is_shortened_so_that_nobody_splits_it(letter: str) -> None:
    made = line(record(letter * 50_000, exc_text=f"{letter * 50_000}the end", more=letter * 50_000))
    assert made["shortened"] is True
    assert made["event"].startswith(letter)
    assert made["event"].endswith("…")
    assert made["exception"].endswith("the end")
    many = line(record(**{f"field_{number}": "x" * 100 for number in range(1_000)}))
    assert (many["event"], many["shortened"], many["field_0"]) == ("sent", True, "x" * 100)


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_LOG_FORMAT", raising=False)
    assert (chosen_format(), chosen_level()) == (None, None)
    monkeypatch.setenv("UNDERSTUDY_LOG_FORMAT", "json")
    monkeypatch.setenv("UNDERSTUDY_LOG_LEVEL", "debug")
    assert (chosen_format(), chosen_level()) == ("json", "debug")
    monkeypatch.setenv("UNDERSTUDY_LOG_FORMAT", "xml")
    with pytest.raises(LogSettingError, match="UNDERSTUDY_LOG_FORMAT='xml': choose one of text"):
        chosen_format()
