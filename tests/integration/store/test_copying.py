"""Copies of a store's file, of one that is open and of one that is not."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.store.answers import committed, found
from tests.unit.store.samples import row
from understudy.cli import main
from understudy_store.changes import Changes
from understudy_store.engines.sqlite.copying import copy_store
from understudy_store.errors import StoreAccessError, StoreFormatError
from understudy_store.store import Store, open_store


def opened(path: Path) -> closing[Store]:
    return closing(open_store(f"sqlite:///{path}"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that was closed in order, in which there is one promise."""
    path = tmp_path / "calls.db"
    with opened(path) as store:
        committed(store, Changes(1, inserted=[row("p")]))
    return path


def test_a_copy_is_whole_and_for_its_owner(path: Path, tmp_path: Path) -> None:
    copy = copy_store(path, tmp_path / "copy.db")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in tmp_path.glob("*copy*")} == {"copy.db"}
    with opened(copy) as store:
        assert found(store, ["p"])


@pytest.mark.parametrize("kind", ["file", "link"])
def test_nothing_is_written_over(path: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "copy.db"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreAccessError, match="exists already"):
        copy_store(path, target)
    assert kind == "link" or target.read_text() == "mine"


def test_what_cannot_be_copied_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreAccessError, match="there is no store"):
        copy_store(tmp_path / "other.db", tmp_path / "copy.db")
    with pytest.raises(StoreAccessError, match="there is no directory"):
        copy_store(path, tmp_path / "folder/copy.db")
    (tmp_path / "text.db").write_text("no store, but a text of some length" * 100)
    with pytest.raises(StoreFormatError):
        copy_store(tmp_path / "text.db", tmp_path / "copy.db")
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 2 : 4096 * 4] = bytes(4096 * 2)
    (tmp_path / "damaged.db").write_bytes(damaged)
    with pytest.raises(StoreFormatError, match="damaged"):
        copy_store(tmp_path / "damaged.db", tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))


def test_the_command_says_what_is_wrong(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = str(tmp_path / "copy.db")
    for words, code, text in (
        (["postgresql://me@host/calls", copy], 2, "pg_dump"),
        ([str(path), copy, "--http", "x"], 2, "x"),
        ([str(path), copy, "--http", "none"], 2, "name the address"),
        ([str(path), copy, "--http", "127.0.0.1:1"], 1, "does not answer"),
    ):
        assert main(["backup", *words]) == code
        assert text in capsys.readouterr().err
    (tmp_path / "calls.db.journal").touch()
    assert main(["backup", f"sqlite:///{path}", copy]) == 0
    assert "--http" in capsys.readouterr().err


def test_a_store_that_is_open_is_copied_by_another_process(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    command = [sys.executable, "-m", "understudy", "backup", str(path), str(copy)]
    with opened(path) as store:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        committed(store, Changes(1, inserted=[row("q")]))
        assert found(store, ["p", "q"])
    assert copy.exists()
