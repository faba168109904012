"""The lines of a call are found in files of any size, which are written to meanwhile."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from understudy.log_file import LogFile, put_away
from understudy.ui import log_files
from understudy.ui.log_entries import Wanted
from understudy.ui.log_files import LogFiles


def line(number: int, id_: str | None = "order-7", **more: object) -> str:
    """Return a line as processes write it."""
    run = {} if id_ is None else {"understudy.id": id_, "understudy.origin": id_.partition(".")[0]}
    at = f"2026-12-01T10:00:{number // 1000:02}.{number % 1000:03}Z"
    return json.dumps({**run, "event": f"line {number}", "timestamp": at, **more}) + "\n"


def texts(files: LogFiles, wanted: Wanted) -> list[str]:
    """Return the texts of the lines that are found."""
    return [entry.text for entry in files.look(wanted).entries]


def test_a_call_has_its_lines_and_those_below_it(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    path.write_text(
        line(1)
        + line(2, "order-7.1")
        + line(3, "order-70")
        + line(4, "other", **{"understudy.origin": "order-7"})
        + "no JSON with order-7\n[1]\n"
        + line(5, None, logger="understudy", event="checkout order-7: attempt 1 failed")
        + line(6, None, logger="bank", event="checkout order-7: attempt 1 failed"),
        encoding="utf-8",
    )
    files = LogFiles([path])
    failed = "checkout order-7: attempt 1 failed"
    assert texts(files, Wanted("order-7")) == ["line 1", "line 2", failed]
    assert texts(files, Wanted("order-7", is_root=True)) == ["line 1", "line 2", "line 4", failed]
    alone = frozenset(["order-7"])
    assert texts(files, Wanted("order-7", is_root=True, only=alone)) == ["line 1", failed]


def test_the_newest_lines_of_all_files_are_shown_in_the_order_of_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "_PIECE_BYTES", 64)
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    one.write_text("".join(line(number) for number in range(0, 1200, 2)), encoding="utf-8")
    (tmp_path / "two.log.1").write_text(line(1, "older") + line(1), encoding="utf-8")
    two.write_text("".join(line(number) for number in range(601, 1200, 2)), encoding="utf-8")
    found = LogFiles([one, two]).look(Wanted("order-7"))
    assert [entry.text for entry in found.entries] == [f"line {n}" for n in range(700, 1200)]
    assert not found.is_whole
    assert LogFiles([two]).look(Wanted("older")).entries[0].text == "line 1"


def test_no_more_of_a_file_is_read_than_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "node.log"
    path.write_text("".join(line(number) for number in range(100)), encoding="utf-8")
    monkeypatch.setattr(log_files, "BYTES_MAX", 3 * len(line(99)) + 10)
    found = LogFiles([path]).look(Wanted("order-7"))
    assert [entry.text for entry in found.entries] == ["line 97", "line 98", "line 99"]
    assert not found.is_whole


def test_a_second_look_reads_only_what_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, wanted = tmp_path / "node.log", Wanted("order-7")
    files = LogFiles([path])
    assert files.look(wanted).problems == (f"{path}: No such file or directory",)
    path.write_text(line(1) + line(2)[:20], encoding="utf-8")
    assert texts(files, wanted) == ["line 1"]
    # What was read is not read again.
    content = path.read_text(encoding="utf-8").replace("line 1", "LINE 1")
    path.write_text(content + line(2)[20:] + line(3), encoding="utf-8")
    assert texts(files, wanted) == ["line 1", "line 2", "line 3"]
    monkeypatch.setattr(log_files, "LINES_MAX", 2)
    assert put_away(path, 1)
    path.write_text(line(4), encoding="utf-8")
    assert texts(files, wanted) == ["line 3", "line 4"]
    path.write_text("", encoding="utf-8")
    assert texts(files, wanted) == ["line 2", "line 3"]


def test_long_lines_are_cut_and_a_page_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "node.log"
    more = {f"field {number}": "x" * 1000 for number in range(30)}
    long = [line(n, event="e" * 9000, exception="t" * 20_000 + "end", **more) for n in range(3)]
    path.write_text("".join(long), encoding="utf-8")
    entry = LogFiles([path]).look(Wanted("order-7")).entries[0]
    assert len(entry.text) == 4001
    assert entry.exception.endswith("end")
    assert len(entry.fields) == 20
    assert entry.chars < 30_000
    monkeypatch.setattr(log_files, "CHARS_MAX", 60_000)
    assert len(LogFiles([path]).look(Wanted("order-7")).entries) == 2


def test_a_file_that_is_put_away_is_begun_anew_by_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    handler = LogFile(str(path))
    record = logging.makeLogRecord({"msg": "a line of text"})
    for number in range(6):
        handler.emit(record)
        assert path.stat().st_mode & 0o777 == 0o600
        assert put_away(path, 10) is True
        assert put_away(path, 10) is False
        assert len(list(tmp_path.iterdir())) == min(number + 1, 3)
    tmp_path.rename(moved := tmp_path.with_name("moved"))
    handler.emit(record)
    moved.rename(tmp_path)
    handler.emit(record)
    handler.close()
    assert path.read_text(encoding="utf-8") == "a line of text\n"
    assert (tmp_path / "node.log.3").read_text(encoding="utf-8") == "a line of text\n"
