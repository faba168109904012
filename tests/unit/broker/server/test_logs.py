"""A broker's log is one line for each thing that it says, whatever that holds."""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import Any

import pytest

from understudy_broker.server.logs import make_log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("value", ["x", "two words", "line\nbreak", "", 7, None, b"\xff", {"a": 1}])
@pytest.mark.parametrize("for_people", [True, False])
def test_one_line_for_each_text(value: Any, for_people: bool) -> None:
    stream = io.StringIO()
    log = make_log(stream, for_people=for_people, level="info")
    log("info", "100 % of it", {"name": value})
    log("warning", "again", {})
    first, second = stream.getvalue().splitlines()
    assert "100 % of it" in first
    assert "again" in second


def test_programs_get_an_object_with_all_fields() -> None:
    stream = io.StringIO()
    make_log(stream, for_people=False, level="info")("error", "it broke", {"pid": "a", "count": 2})
    line = json.loads(stream.getvalue())
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {"event": "it broke", "level": "error", "pid": "a", "count": 2}


def test_people_see_names_and_quoted_values() -> None:
    stream = io.StringIO()
    make_log(stream, for_people=True, level="info")("info", "joined", {"pid": "a", "why": "a b"})
    assert stream.getvalue().rstrip().endswith("] joined pid=a why='a b'")
    assert "\x1b" not in stream.getvalue()


def test_only_a_terminal_gets_colors() -> None:
    stream = Terminal()
    make_log(stream, for_people=True, level="info")("error", "it broke", {})
    assert "\x1b[31merror" in stream.getvalue()


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    log = make_log(stream, for_people=True, level="warning")
    log("info", "quiet", {})
    log("warning", "loud", {})
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
