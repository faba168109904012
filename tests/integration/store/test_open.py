"""Opening a store: what is made, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine

from tests.unit.store.answers import committed, found
from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.sql import migrations
from understudy_store.engines.sql.tables import APPLICATION_ID, METADATA
from understudy_store.engines.sqlite.database import LOG_BYTES, PAGE_BYTES
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.errors import (
    StoreAccessError,
    StoreAddressError,
    StoreFailedError,
    StoreFormatError,
    StoreLockedError,
    StoreVersionError,
)
from understudy_store.records import TaskRecord
from understudy_store.store import open_store


def _make(path: Path) -> None:
    open_store(str(path)).close()


def _execute(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows


def _schema(path: Path) -> list[tuple[object, ...]]:
    """All tables and indexes; those of indexes with their text."""
    return _execute(
        path,
        "SELECT type, name, tbl_name, CASE type WHEN 'table' THEN sql LIKE '%WITHOUT ROWID%' "
        "ELSE sql END FROM sqlite_master ORDER BY name",
    )


@pytest.mark.parametrize("form", ["sqlite:///x/y/p%20 é.db", "x/y/p%20 é?.db"])
def test_relative_paths(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x" / "y").mkdir(parents=True)
    store = open_store(form)
    path = tmp_path / form.removeprefix("sqlite:///")
    assert store.description == f"sqlite:///{path} (journal, wal, synchronous=full)"
    store.close()
    assert path.is_file()


def test_absolute_url(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'x.db'}")
    assert not list(store.snapshot.live)
    store.close()
    store.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.db", "x.db.lock"]


def test_memory_needs_no_database() -> None:
    script = (
        "import sys; from understudy_store.store import open_store; open_store('memory').close(); "
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/x.db",
        ":memory:",
        "sqlite:///:memory:",
        "x://y",
    ],
)
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreAddressError, match="use 'memory'"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite:///x.db?mode=ro", "takes no options after '?'"),
        ("file:x.db?mode=ro", "takes no options after '?'"),
        ("file:x.db", "For a file of this very name, write './' before it"),
        ("file:///x.db", "names no store"),
        ("sqlite:/x.db", "For a file of this very name, write './' before it"),
        ("SQLite:x.db", "For a file of this very name, write './' before it"),
        ("Memory", "'memory' is written in small letters"),
    ],
)
def test_what_looks_like_a_url_makes_no_file(
    url: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreAddressError, match=re.escape(hint)):
        open_store(url)
    assert list(tmp_path.iterdir()) == []
    if "/" not in url:
        open_store(f"./{url}").close()
        assert (tmp_path / url).is_file()


def test_a_second_owner_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = open_store(str(path))
    with pytest.raises(StoreLockedError, match=f"process {os.getpid()} on"):
        open_store(str(path))
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with pytest.raises(StoreLockedError):
        open_store(str(link))
    store.close()
    open_store(str(path)).close()


@pytest.mark.parametrize("form", ["sqlite:///daat/x.db", "daat/x.db", "daat/deeper/x.db"])
def test_a_misspelled_path_makes_no_directories(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreAccessError, match=r"there is no directory .*daat"):
        open_store(form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"hello, this is no database at all", b"SQLite", bytes(5000)])
def test_garbage_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StoreFormatError, match="not an SQLite database"):
        open_store(str(path))
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _execute(path, "CREATE TABLE promise (id TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreFormatError, match="not one that understudy made"):
        open_store(str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _make(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 20_000)
    with pytest.raises(StoreFormatError, match="is damaged"):
        open_store(str(path))


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("suffix", ["", ".journal", "-wal", "-shm", ".lock"])
def test_a_file_that_goes_away_stops_the_store(
    suffix: str, replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged that would be gone with the process."""
    monkeypatch.setattr("understudy_store.engines.sqlite.engine.FILES_CHECK_S", 0.0)
    path = tmp_path / "x.db"
    gone = tmp_path / f"x.db{suffix}"
    store = open_store(str(path))
    assert committed(store, Changes(1, inserted=[row("a")])) == []
    gone.rename(tmp_path / "moved")
    if replaced:
        shutil.copy(tmp_path / "moved", gone)
    result = committed(store, Changes(2, inserted=[row("b")]))
    store.close()
    assert isinstance(result, StoreFailedError)
    assert f"{gone} was removed or replaced" in str(result)
    assert "acknowledged is safe" not in str(result)
    gone.unlink(missing_ok=True)
    if not suffix:
        (tmp_path / "moved").rename(path)
    # what was acknowledged is in the file that was open, also if it was in the log only
    reopened = open_store(str(path))
    assert [live.row().promise.id for live in reopened.snapshot.live] == ["a"]
    reopened.close()


def test_damage_that_shows_later_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = open_store(str(path))
    rows = [row(f"p.{number}") for number in range(2000)]
    assert committed(store, Changes(1, inserted=rows)) == []
    store.close()
    store = open_store(str(path))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\xff" * (size - PAGE_BYTES))
    with pytest.raises(StoreFailedError, match="Restore them from a copy") as caught:
        found(store, [each.promise.id for each in rows])
    assert str(path) in str(caught.value)
    assert "acknowledged is safe" not in str(caught.value)
    store.close()


def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _make(path)
    _execute(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match=r"schema 9999.*upgrade understudy"):
        open_store(str(path))
    assert path.read_bytes() == before


def test_a_store_whose_making_was_cut_short_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _execute(path, f"PRAGMA application_id={APPLICATION_ID}")
    assert path.stat().st_size > 0
    _make(path)
    assert migrations.HEAD in str(_execute(path, "SELECT * FROM alembic_version"))


@contextmanager
def _without_rights() -> Iterator[None]:
    """As root, who may do all, be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_may_not_be_written_is_refused(what: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = directory / "x.db"
        if what == "file":
            _make(path)
            path.chmod(0o444)
            path.with_name("x.db.lock").chmod(0o666)
        directory.chmod(0o555 if what == "directory" else 0o777)
        with _without_rights(), pytest.raises(StoreAccessError, match="Permission denied"):
            open_store(str(path))
        directory.chmod(0o755)


def test_a_path_through_a_file_or_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.db", tmp_path):
        with pytest.raises(StoreAccessError, match="name another path"):
            open_store(str(path))


def _links_in_a_circle(path: Path) -> None:
    path.symlink_to(path)


def _socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "it is a pipe and not a file"),
        (Path.mkdir, "it is a directory and not a file"),
        (_socket, "it is a socket and not a file"),
        (lambda path: path.symlink_to("/dev/null"), "it is a device and not a file"),
        (_links_in_a_circle, "The links lead in a circle"),
    ],
)
def test_what_is_no_file_is_refused_and_not_opened(
    make: Callable[[Path], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a pipe would wait for somebody who writes to it."""
    monkeypatch.chdir(tmp_path)
    make(Path("x.db"))
    with pytest.raises(StoreAccessError, match=f"cannot use .* as a store: .*{words}"):
        open_store("x.db")
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_a_new_store_is_what_all_migrations_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, migrated = tmp_path / "new.db", tmp_path / "migrated.db"
    _make(new)
    with monkeypatch.context() as patch:
        patch.setattr(
            migrations, "create", lambda connection, facts: migrations.upgrade(connection)
        )
        _make(migrated)
    assert _schema(new) == _schema(migrated)
    for name in (*METADATA.tables, migrations.VERSION_TABLE):
        # names, types, defaults and keys; a column that was added later stands at the end
        columns = f"SELECT name, type, [notnull], dflt_value, pk FROM pragma_table_info('{name}')"
        assert set(_execute(new, columns)) == set(_execute(migrated, columns))
        everything = f"SELECT * FROM {name}"
        assert _without_name(_execute(new, everything)) == _without_name(
            _execute(migrated, everything)
        )


def _without_name(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Each store is drawn a name of its own, for its journal."""
    return [each for each in rows if each[0] != "store"]


def _make_of_that_time(path: Path) -> None:
    """An empty store as its schema was when `HEAD` was what it is now."""
    with create_engine(f"sqlite:///{path}", poolclass=NullPool).begin() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        migrations.upgrade(connection)


def test_a_store_of_each_earlier_schema_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for revision in migrations.REVISIONS[:-1]:
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "HEAD", revision)
            _make_of_that_time(tmp_path / f"{revision}.db")
    # what 0001 wrote: a held task, of which nobody counted deaths
    path = tmp_path / "0001.db"
    _execute(
        path,
        "INSERT INTO promise (id, state, param_headers, value_headers, tags, timeout_at, "
        "created_at, origin, shard, target, group_name, task_state, version, pid, ttl, "
        "expires_at, failures) VALUES ('a', 'pending', '{}', '{}', "
        """'{"understudy:target": "poll://any@g"}', """
        "5000, 1000, 'a', 1, 'poll://any@g', 'g', 'acquired', 3, 'n#1', 10, 2000, 1)",
    )
    for revision in migrations.REVISIONS[:-1]:
        _make(tmp_path / f"{revision}.db")
        versions = _execute(tmp_path / f"{revision}.db", "SELECT * FROM alembic_version")
        assert versions == [(migrations.HEAD,)]
    store = open_store(str(path))
    (kept,) = store.snapshot.live
    assert kept.row().task == TaskRecord(
        "a", "acquired", 3, "poll://any@g", "n#1", 10, 2000, None, (), 1, 0, None
    )
    store.close()


def test_the_list_of_revisions_is_that_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    script = ScriptDirectory.from_config(config)
    known = [revision.revision for revision in script.walk_revisions()]
    assert tuple(reversed(known)) == migrations.REVISIONS


@pytest.mark.parametrize("is_there", [True, False])
def test_opening_what_is_up_to_date_or_new_does_not_load_alembic(
    is_there: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.db"
    if is_there:
        _make(path)
    script = (
        "import sys; from understudy_store.store import open_store; "
        "open_store(sys.argv[1]).close(); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=30)


def test_pragmas(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "x.db")
    writer, finder = engine._database._writer, engine._database._finder
    assert writer.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert writer.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    assert finder.exec_driver_sql("PRAGMA query_only").scalar() == 1
    writer.rollback()
    engine.close()


@pytest.mark.parametrize("page_bytes", [4096, PAGE_BYTES])
def test_the_log_is_as_long_whatever_pages_the_file_has(
    page_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    with monkeypatch.context() as patch:
        patch.setattr("understudy_store.engines.sqlite.database.PAGE_BYTES", page_bytes)
        _make(path)
    engine = SqliteEngine(path)
    assert engine._database._driver.execute("PRAGMA page_size").fetchone() == (page_bytes,)
    assert engine._database._driver.execute("PRAGMA wal_autocheckpoint").fetchone() == (
        LOG_BYTES // page_bytes,
    )
    engine.close()


def test_memory_is_gone_at_close() -> None:
    engine = MemoryEngine()
    engine.commit(Changes(1, inserted=[row("a")]), [], SOLE_EPOCH)
    engine.close()
    store = open_store("memory")
    assert found(store, ["a"]) == []
    store.close()
