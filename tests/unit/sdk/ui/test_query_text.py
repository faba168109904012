"""Answers become files that hold what was answered, and nothing that a spreadsheet performs."""

from __future__ import annotations

import csv
import io
import json

from understudy.ui.query_text import csv_text, json_text
from understudy_store.inquiry.base import Answer

ANSWER = Answer(
    ("a", "a", "=1+1"),
    [('x,"y"\n', 1, None), ("=HYPERLINK()", -2.5, "-1"), ("@x", True, "ü")],
    False,
    0.1,
)


def test_csv_is_quoted_and_has_no_formulas() -> None:
    assert list(csv.reader(io.StringIO(csv_text(ANSWER), newline=""))) == [
        ["a", "a", "'=1+1"],
        ['x,"y"\n', "1", ""],
        ["'=HYPERLINK()", "-2.5", "'-1"],
        ["'@x", "True", "ü"],
    ]


def test_json_says_whether_it_is_whole() -> None:
    found = json.loads(json_text(ANSWER))
    assert found["is_whole"] is False
    assert found["columns"] == ["a", "a", "=1+1"]
    assert found["rows"][1] == ["=HYPERLINK()", -2.5, "-1"]
