"""Texts for people: tables, times, options, groups."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from understudy.cli.commands.groups import groups_text
from understudy.cli.errors import UsageError
from understudy.cli.options import parse_pairs, parse_value
from understudy.cli.tables import table
from understudy.cli.times import duration, moment, now_ms, parse_moment, parse_seconds
from understudy.promises import utc
from understudy.views.groups import groups_json
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo


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


@pytest.mark.parametrize("epoch_ms", [253_402_300_800_000, 10**15, 2**62, 2**63 - 1])
def test_moments_after_the_last_date_are_shown(epoch_ms: int) -> None:
    assert moment(253_402_300_799_999) == "9999-12-31 23:59:59"
    assert moment(epoch_ms) == "after 9999"
    assert utc(epoch_ms) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert utc(1500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90.0), ("1.5s", 1.5), ("500ms", 0.5), ("10m", 600.0), ("2h", 7200.0), ("7d", 604800.0)],
)
def test_times(text: str, expected: float) -> None:
    assert parse_seconds(text, "--timeout") == expected


@pytest.mark.parametrize("text", ["", "x", "5y", "-1", "nan", "inf", "5mm"])
def test_texts_that_are_not_times(text: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        parse_seconds(text, "--timeout")


def test_pairs() -> None:
    assert parse_pairs(["a=1", "b=x=y"], "--tag") == {"a": "1", "b": "x=y"}
    assert parse_pairs(None, "--tag") == {}
    with pytest.raises(UsageError, match="--tag NAME=VALUE"):
        parse_pairs(["nothing"], "--tag")


def test_arguments_are_json_or_text() -> None:
    given = ("7", '"7"', "seven", "[1,", "null", '{"a": [true]}')
    assert [parse_value(text) for text in given] == [7, "7", "seven", "[1,", None, {"a": [True]}]


def test_arguments_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "values").write_text('{"a": 1}\n')
    (tmp_path / "text").write_text("two\nlines\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert parse_value(f"@{tmp_path}/values") == {"a": 1}
    assert parse_value(f"@{tmp_path}/text") == "two\nlines"
    assert [parse_value(text) for text in ("@@ann", '"@ann"')] == ["@ann", "@ann"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1, 2]\n")))
    assert parse_value("@-") == [1, 2]
    for name, says in (("ann", "write @@ann"), (f"{tmp_path}/bytes", "no text in UTF-8")):
        with pytest.raises(UsageError, match=says):
            parse_value(f"@{name}")


def test_groups_without_nodes_are_named() -> None:
    node = NodeInfo("n-1", "n-1#x", 42, "host", 3, 1, 0, ("f", "g"), 4)
    report = GroupsReport(
        (GroupInfo("busy", (node,), 0, 0), GroupInfo("lost", (), 2, 61_000)), {"commits": 1}
    )
    text = groups_text(report)
    assert "Nothing serves group lost: 2 tasks wait, the oldest for 1 min 1 s." in text
    assert "understudy node app:runtime --group lost" in text
    assert "group busy:" not in text
    data = groups_json(report)
    shown = data["groups"][0]["nodes"][0]
    assert (shown["functions"], shown["held"], shown["concurrency"]) == (["f", "g"], 1, 4)
    assert data["groups"][1]["queued"] == 2
    assert "no node" in groups_text(GroupsReport((), {}))


@pytest.mark.parametrize(("concurrency", "running"), [(32, "7/32"), (1, "7/1"), (None, "7")])
def test_groups_say_how_busy_a_node_is(concurrency: int | None, running: str) -> None:
    node = NodeInfo("n-1", "n-1#x", 42, "host", 25, 7, 0, ("f",), concurrency)
    header, line = groups_text(GroupsReport((GroupInfo("g", (node,), 0, 0),), {})).splitlines()
    at = header.split().index("RUNNING")
    assert line.split()[at] == running


def test_groups_show_builds_where_a_node_says_one() -> None:
    node = NodeInfo("n-1", "n-1#x", 42, "host", 25, 7, 0, ("f",), 32, build="3f2a")
    other = NodeInfo("n-2", "n-2#x", 43, "host", 25, 7, 0, ("f",), 32)
    report = GroupsReport((GroupInfo("g", (node, other), 0, 0), GroupInfo("h", (), 1, 0)), {})
    header, *lines = groups_text(report).splitlines()
    at = header.index("BUILD")
    assert [line[at:].split()[0] for line in lines[:3]] == ["3f2a", "-", "-"]
    assert [node["build"] for node in groups_json(report)["groups"][0]["nodes"]] == ["3f2a", None]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31", "2026-01-31T00:00+00:00"),
        ("2026-01-31T12:00", "2026-01-31T12:00+00:00"),
        ("2026-01-31T12:00+01:00", "2026-01-31T11:00+00:00"),
    ],
)
def test_moments_are_read(text: str, at: str) -> None:
    assert parse_moment(text, "--since") == datetime.fromisoformat(at).timestamp() * 1000
    assert parse_moment(None, "--since") is None


def test_moments_may_be_so_long_ago() -> None:
    before = now_ms()
    found = parse_moment("10m", "--since")
    assert found is not None
    assert before <= found + 600_000 <= now_ms()
    with pytest.raises(UsageError, match="--since 'yesterday' is neither a moment"):
        parse_moment("yesterday", "--since")
