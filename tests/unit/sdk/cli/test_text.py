"""What the command line reads and prints: values, tables, options."""

from __future__ import annotations

import datetime as dt
import json
import pickle
import sys
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.cli import main
from understudy.cli.app import COMMANDS, _take_verbose
from understudy.cli.commands.groups import groups_json, groups_text
from understudy.cli.commands.invoke import _show, json_or_text
from understudy.cli.errors import UsageError, explain
from understudy.cli.json_data import (
    compact,
    decoded,
    notes,
    promise_json,
    reason,
    task_json,
    trouble,
)
from understudy.cli.options import pairs, seconds
from understudy.cli.tables import duration, moment, print_json, table
from understudy.errors import BrokerUnavailableError, ConfigurationError
from understudy.values import Codec
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo
from understudy_store.records import EMPTY, PromiseRecord, PromiseState, TaskRecord, Value


class Trap:
    """Unpickling one is found out."""

    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (spring, ())


def spring() -> str:
    Trap.sprung = True
    return "sprung"


def shown(value: Any) -> Any:
    return decoded(Codec().encode_value(value))


def test_plain_values_become_json() -> None:
    value = {
        "when": dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
        "sum": Decimal("1.50"),
        "id": UUID(int=5),
        "tags": {"b", "a"},
        "raw": b"\x00\xff",
        "pair": (1, 2**80),
        7: float("inf"),
    }
    assert shown(value) == {
        "when": "2026-01-31 12:00:00+00:00",
        "sum": "1.50",
        "id": "00000000-0000-0000-0000-000000000005",
        "tags": ["a", "b"],
        "raw": "AP8=",
        "pair": [1, 2**80],
        "7": "inf",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(json_values)
def test_whatever_is_encoded_can_be_shown(value: Any) -> None:
    assert isinstance(json.loads(json.dumps(shown(value), allow_nan=False)), object)


def test_numbers_of_any_length_are_read_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    # Python itself refuses more than 4,300 digits
    digits, limit = "7" * 5000, sys.get_int_max_str_digits()
    number = (10**5000 - 1) // 9 * 7
    assert json_or_text(digits) == number
    resolved = record("resolved", Value({}, Codec().encode_value(number)))
    _show(resolved, as_json=False, wait=True)
    assert capsys.readouterr().out == f"{digits}\n"
    _show(resolved, as_json=True, wait=True)
    assert f'"data": {digits}\n' in capsys.readouterr().out
    print_json(shown({number: {number}}))
    assert capsys.readouterr().out.count(digits) == 2
    assert compact(number, 10) == f"{'7' * 9}…"
    # functions of a node in this process keep the limit
    assert sys.get_int_max_str_digits() == limit


def test_pickles_are_never_loaded() -> None:
    data = Codec(pickle=True).encode_value({"inside": [Trap()]})
    assert pickle.loads(pickle.dumps(Trap())) == "sprung"
    Trap.sprung = False
    text = decoded(data)["inside"][0]
    assert text.startswith("<pickled, ")
    assert not Trap.sprung


def test_damaged_values_are_said_to_be() -> None:
    assert decoded(b"\xc1\x00") == "<not readable, 2 bytes>"
    assert decoded(None) is None


def record(state: PromiseState, value: Value = EMPTY) -> PromiseRecord:
    settled_at = None if state == "pending" else 2000
    return PromiseRecord("p", state, Value({"fn": "f"}), value, {}, 9000, 1000, settled_at)


def test_failures_in_a_few_words() -> None:
    error = Codec().encode_error(KeyError("x"))
    assert reason(record("rejected", Value({}, error))) == "KeyError: 'x'"
    assert reason(record("rejected_timedout")) == "its deadline passed"
    assert reason(record("rejected_canceled")) == "it was canceled"
    assert reason(record("resolved")) == ""
    assert reason(record("pending")) == ""
    foreign = Codec().encode_value({"code": 5})
    assert reason(record("rejected", Value({}, foreign))) == 'unknown: {"code": 5}'


def test_what_was_added_to_a_failure() -> None:
    error = ValueError("no such order")
    assert notes(record("rejected", Value({}, Codec().encode_error(error)))) == []
    error.add_note("look it up first")
    assert notes(record("rejected", Value({}, Codec().encode_error(error)))) == ["look it up first"]
    assert notes(record("rejected_canceled")) == notes(record("resolved")) == []


def test_a_failure_of_long_ago_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    failed = record("rejected", Value({}, Codec().encode_error(ValueError("no"))))
    assert _show(failed, as_json=False, wait=True) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("failed: ValueError: no")
    assert second.endswith(" ago, and the id keeps it: to try again, take another id")


def test_records_as_data() -> None:
    data = promise_json(record("rejected", Value({}, Codec().encode_error(ValueError("no")))))
    assert data["function"] == "f"
    assert data["error"]["type"] == "ValueError"
    assert "ValueError: no" in data["error"]["traceback"]
    task = task_json(TaskRecord("p", "acquired", 2, "poll://any@g", "n-1#abc", 10, 20))
    assert (task["node"], task["version"], task["expires_at"]) == ("n-1", 2, 20)
    assert (task["failures"], task["deaths"], task["cause"]) == (0, 0, None)


def test_trouble_in_words() -> None:
    assert trouble(None) == ""
    assert trouble(TaskRecord("p", "halted", 2, "poll://any@g")) == ""
    assert trouble(TaskRecord("p", "fulfilled", 2, "poll://any@g", cause="x")) == ""
    once = TaskRecord("p", "acquired", 2, "poll://any@g", "n#1", 10, 20, deaths=1, cause="n died")
    assert trouble(once) == "whoever held it vanished, once; the last: n died"


def test_long_values_are_cut() -> None:
    assert compact("x" * 100, 10) == '"xxxxxxxx…'
    assert len(compact("x" * 100, None)) == 102


def test_tables() -> None:
    text = table(("ID", "STATE"), [("a-long-id", "x"), ("b", None), ("c", "two\nlines")])
    assert text.splitlines() == [
        "ID         STATE",
        "a-long-id  x",
        "b          -",
        "c          two lines",
    ]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0 ms"),
        (840, "840 ms"),
        (1000, "1 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min 0 s"),
        (7_500_000, "2 h 5 min"),
        (273_600_000, "3 d 4 h"),
    ],
)
def test_durations(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_moments_are_in_utc() -> None:
    assert moment(0) == "1970-01-01 00:00:00"
    assert moment(None) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90.0), ("1.5s", 1.5), ("500ms", 0.5), ("10m", 600.0), ("2h", 7200.0), ("7d", 604800.0)],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text, "--timeout") == expected


@pytest.mark.parametrize("text", ["", "x", "5y", "-1", "nan", "inf", "5mm"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        seconds(text, "--timeout")


def test_pairs() -> None:
    assert pairs(["a=1", "b=x=y"], "--tag") == {"a": "1", "b": "x=y"}
    assert pairs(None, "--tag") == {}
    with pytest.raises(UsageError, match="--tag NAME=VALUE"):
        pairs(["nothing"], "--tag")


def test_arguments_are_json_or_else_text() -> None:
    given = ("7", '"7"', "seven", "[1,", "null", '{"a": [true]}')
    assert [json_or_text(text) for text in given] == [7, "7", "seven", "[1,", None, {"a": [True]}]


def test_verbose_may_stand_anywhere_before_a_double_dash() -> None:
    assert _take_verbose(["groups", "--verbose"]) == (True, ["groups"])
    assert _take_verbose(["x", "--", "--verbose"]) == (False, ["x", "--", "--verbose"])


def test_errors_and_their_exit_codes() -> None:
    text, code = explain(BrokerUnavailableError("tcp://h:1", "refused"))
    assert code == 1
    assert "understudy broker" in text
    assert "Runtime" not in text
    assert explain(ConfigurationError("x"))[1] == 2
    assert explain(CommandError(404, "no"))[1] == 1
    text, code = explain(ZeroDivisionError("oops"))
    assert (code, "--verbose" in text) == (1, True)


def test_groups_that_nothing_serves_are_named() -> None:
    node = NodeInfo("n-1", "n-1#x", 42, "host", 3, 1, 0, ("f", "g"))
    report = GroupsReport(
        (GroupInfo("busy", (node,), 0, 0), GroupInfo("lost", (), 2, 61_000)), {"commits": 1}
    )
    text = groups_text(report)
    assert "Nothing serves group lost: 2 tasks wait, the oldest for 1 min 1 s." in text
    assert "understudy node app:runtime --group lost" in text
    assert "group busy:" not in text
    data = groups_json(report)
    assert data["groups"][0]["nodes"][0]["functions"] == ["f", "g"]
    assert data["groups"][1]["queued"] == 2
    assert "no node" in groups_text(GroupsReport((), {}))


def test_every_family_is_there() -> None:
    from importlib import import_module

    for module in COMMANDS.values():
        assert import_module(module).app


def test_an_interrupt_while_it_is_imported_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupts:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "understudy.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "understudy.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    assert main(["groups"]) == 130
