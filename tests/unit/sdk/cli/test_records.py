"""Promises and tasks as JSON data, and failures in words."""

from __future__ import annotations

import sys

import pytest

from understudy.cli.commands.invoke import show_call
from understudy.cli.json_data import print_json
from understudy.cli.options import parse_value
from understudy.values import Codec
from understudy.views.json_data import compact, decoded
from understudy.views.records import (
    REASON_CHARS_MAX,
    failure_notes,
    failure_reason,
    failure_text,
    promise_json,
    task_json,
)
from understudy_store.records import EMPTY, PromiseRecord, PromiseState, TaskRecord, Value


def record(state: PromiseState, value: Value = EMPTY) -> PromiseRecord:
    settled_at = None if state == "pending" else 2000
    return PromiseRecord("p", state, Value({"fn": "f"}), value, {}, 9000, 1000, settled_at)


def test_failures_in_a_few_words() -> None:
    error = Codec().encode_error(KeyError("x"))
    assert failure_reason(record("rejected", Value({}, error))) == "KeyError: 'x'"
    assert failure_reason(record("rejected_timedout")) == "its deadline passed"
    assert failure_reason(record("rejected_canceled")) == "it was canceled"
    assert failure_reason(record("resolved")) == ""
    assert failure_reason(record("pending")) == ""
    foreign = Codec().encode_value({"code": 5})
    assert failure_reason(record("rejected", Value({}, foreign))) == 'unknown: {"code": 5}'


def test_messages_of_several_lines_are_whole() -> None:
    message = "2 validation errors for Order\nqty\n  a number is needed\nname\n  a text is needed"
    failed = record("rejected", Value({}, Codec().encode_error(ValueError(message))))
    assert failure_text(failed) == f"ValueError: {message}"
    assert failure_reason(failed) == (
        "ValueError: 2 validation errors for Order qty a number is needed name a text is needed"
    )
    endless = record("rejected", Value({}, Codec().encode_error(ValueError("no\n" * 999))))
    assert len(failure_reason(endless)) == REASON_CHARS_MAX


def test_notes_of_a_failure() -> None:
    error = ValueError("no such order")
    assert failure_notes(record("rejected", Value({}, Codec().encode_error(error)))) == []
    error.add_note("look it up first")
    assert failure_notes(record("rejected", Value({}, Codec().encode_error(error)))) == [
        "look it up first"
    ]
    assert failure_notes(record("rejected_canceled")) == failure_notes(record("resolved")) == []


def test_an_old_failure_is_reported_as_old(capsys: pytest.CaptureFixture[str]) -> None:
    failed = record("rejected", Value({}, Codec().encode_error(ValueError("no"))))
    assert show_call(failed, as_json=False, wait=True) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("failed: ValueError: no")
    assert second.endswith(
        " ago, and the result of an id never changes. To try again, use a new id"
    )


def test_records_as_data() -> None:
    data = promise_json(record("rejected", Value({}, Codec().encode_error(ValueError("no")))))
    assert data["function"] == "f"
    assert data["error"]["type"] == "ValueError"
    assert "ValueError: no" in data["error"]["traceback"]
    task = task_json(TaskRecord("p", "acquired", 2, "poll://any@g", "n-1#abc", 10, 20))
    assert (task["node"], task["version"], task["expires_at"]) == ("n-1", 2, 20)
    assert (task["failures"], task["deaths"], task["cause"]) == (0, 0, None)
    assert (task["state"], data["state"]) == ("running", "rejected")
    assert promise_json(record("rejected_timedout"))["state"] == "timedout"


def test_integers_of_any_length_are_read_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    # By default Python refuses more than 4,300 digits.
    digits, limit = "7" * 5000, sys.get_int_max_str_digits()
    number = (10**5000 - 1) // 9 * 7
    assert parse_value(digits) == number
    resolved = record("resolved", Value({}, Codec().encode_value(number)))
    show_call(resolved, as_json=False, wait=True)
    assert capsys.readouterr().out == f"{digits}\n"
    show_call(resolved, as_json=True, wait=True)
    assert f'"data": {digits}\n' in capsys.readouterr().out
    print_json(decoded(Codec().encode_value({number: {number}})))
    assert capsys.readouterr().out.count(digits) == 2
    assert compact(number, 10) == f"{'7' * 9}…"
    # The limit is back, because this process may also run functions.
    assert sys.get_int_max_str_digits() == limit
