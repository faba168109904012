"""A store's files are for their owner alone, and are no links to somebody else's."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.store.journal_world import after_a_kill, insert
from understudy_store.engines.base import Opening
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.errors import StoreAccessError


@pytest.fixture(params=[0o022, 0o000], ids=["usual", "none"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_only_the_owner_may_read_or_write_them(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "x.db")) as engine:
        insert(engine, "a")
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
    names = ["x.db", "x.db-shm", "x.db-wal", "x.db.journal", "x.db.lock"]
    assert modes == dict.fromkeys(names, 0o600)


def test_a_store_that_others_may_read_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    SqliteEngine(path).close()
    path.chmod(0o644)
    told: list[str] = []
    SqliteEngine(path, Opening(tell=told.append)).close()
    [text] = told
    assert "mode is 0644" in text
    assert "chmod 600" in text
    path.chmod(0o600)
    SqliteEngine(path, Opening(tell=told.append)).close()
    assert told == [text]


@pytest.mark.parametrize("more", [".lock", ".journal", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("exists", [False, True], ids=["new", "old"])
def test_a_link_beside_the_store_is_refused_and_not_followed(
    more: str, exists: bool, tmp_path: Path
) -> None:
    path, victim = tmp_path / "x.db", tmp_path / "victim"
    if exists:
        SqliteEngine(path).close()
    beside = tmp_path / f"x.db{more}"
    beside.unlink(missing_ok=True)
    victim.write_bytes(b"precious")
    beside.symlink_to(victim)
    with pytest.raises(StoreAccessError, match="symbolic link"):
        SqliteEngine(path)
    assert victim.read_bytes() == b"precious"
    beside.unlink()
    SqliteEngine(path).close()


def test_a_pipe_in_the_place_of_the_lock_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.db.lock")
    with pytest.raises(StoreAccessError, match="no regular file"):
        SqliteEngine(tmp_path / "x.db")


@pytest.mark.parametrize("trouble", ["database or disk is full", "disk I/O error"])
def test_a_disk_that_fails_at_the_start_is_no_reason_to_restore_a_copy(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are in order, and who restored a copy would lose what was acknowledged."""
    path = tmp_path / "x.db"

    def write(_: Database, __: object) -> None:
        raise sqlite3.OperationalError(trouble)

    with closing(SqliteEngine(path)) as engine:
        insert(engine, "a")
        with monkeypatch.context() as patch:
            patch.setattr(Database, "_write", write)
            with pytest.raises(StoreAccessError) as raised, after_a_kill(engine, path):
                pass
        [killed] = tmp_path.glob("killed-*.db")
    text = str(raised.value)
    assert trouble in text
    assert "Nothing is lost" in text
    assert "copy" not in text
    with closing(SqliteEngine(killed)) as engine:
        assert [row.promise.id for row in engine.find(["a"])] == ["a"]
