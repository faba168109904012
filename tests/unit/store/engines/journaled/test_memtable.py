"""Commits that are written as one, or come out of the journal, leave what they leave one by one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.machine.strategies import batches
from tests.unit.store.samples import row, settled, targeted
from understudy_store.changes import Changes
from understudy_store.engines.journaled.journal_records import decode, encode
from understudy_store.engines.journaled.memtable import Links, Memtable, memtable_of
from understudy_store.engines.sql.rows import slotted
from understudy_store.engines.sql.tables import METADATA
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.engine import _replay
from understudy_store.errors import StoreError
from understudy_store.records import EMPTY, Row, ScheduleRecord

Content: TypeAlias = dict[str, list[tuple[Any, ...]]]

_numbers = count()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file that is made once, to be copied: a copy opens in milliseconds."""
    path = tmp_path_factory.mktemp("pending") / "empty.db"
    Database(path, exists=False).close()
    yield path
    shutil.rmtree(path.parent)


class _File:
    """A copy of the empty file."""

    def __init__(self, empty: Path) -> None:
        self.path = empty.with_name(f"{next(_numbers)}.db")
        shutil.copy(empty, self.path)
        self.database = Database(self.path, exists=True)

    def write(self, commits: Sequence[Changes]) -> None:
        """All at once."""
        pending = Memtable()
        for changes in commits:
            pending.add(changes)
        self.database.write(pending, self.database.number + len(commits))

    def replay(self, commits: Sequence[Changes]) -> None:
        """As what a process that died has left in its journal."""
        _replay([encode(changes) for changes in commits], self.database, self.path)

    def close(self) -> Content:
        """What every table holds, to the last byte; the file is gone."""
        self.database.close()
        with closing(sqlite3.connect(self.path)) as connection:
            content = {
                name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
                for name in METADATA.tables
            }
        self.path.unlink()
        return content


def _left(empty: Path, *commits: Changes) -> Content:
    """What they leave, in whatever way they are written."""
    alone, at_once, replayed, replayed_alone = (_File(empty) for _ in range(4))
    for changes in commits:
        alone.write([changes])
        replayed_alone.replay([changes])
    at_once.write(commits)
    replayed.replay(commits)
    content = alone.close()
    assert at_once.close() == content
    assert replayed.close() == content
    assert replayed_alone.close() == content
    return content


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_written_at_once_or_replayed_is_as_one_by_one(empty: Path, data: st.DataObject) -> None:
    """Cut into runs anywhere, of which each meets a file that knows those before."""
    alone, at_once, replayed = (_File(empty) for _ in range(3))
    known: dict[str, Row] = {}
    now = 10
    for length in data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)):
        run = []
        for _ in range(length):
            now += 1
            # one that changes nothing is not committed
            run.append(data.draw(batches(now, known).filter(bool)))
        for changes in run:
            alone.write([changes])
        at_once.write(run)
        replayed.replay(run)
    content = alone.close()
    assert at_once.close() == content
    assert replayed.close() == content
    assert len(content["promise"]) == len(known)


def test_updates_in_the_journal_name_only_what_changes() -> None:
    """Of what a promise was made with nothing is written twice: it may be large."""
    made = targeted("a", k="much" * 1000)
    [update] = decode(encode(Changes(1, updated=[settled(made)]))).updated
    assert update.promise.value == settled(made).promise.value
    assert (update.promise.param, update.promise.tags) == (EMPTY, {})
    assert len(encode(Changes(1, updated=[settled(made)]))) < 200
    assert decode(encode(Changes(1, inserted=[made]))) == Changes(1, inserted=[made])


def test_made_and_settled_is_one_row_with_all_of_it(empty: Path) -> None:
    made = targeted("a", k="v")
    content = _left(empty, Changes(1, inserted=[made]), Changes(2, updated=[settled(made)]))
    [promise] = content["promise"]
    assert '{"k":"v"}' in promise
    pending = memtable_of(Changes(1, inserted=[made]))
    pending.add(Changes(2, updated=[settled(made)]))
    assert pending.split() == ([settled(made)], [])
    assert (pending.commits, pending.now) == (2, 2)


def test_what_the_file_knows_is_updated() -> None:
    pending = memtable_of(Changes(1, inserted=[row("a")], updated=[row("b")]))
    pending.add(Changes(2, updated=[settled(row("b"))]))
    assert pending.split() == ([row("a")], [settled(row("b"))])


def test_links_are_added_after_those_that_go(empty: Path) -> None:
    made = Changes(1, inserted=[row("a"), row("b")], callbacks_added=[("a", "x"), ("b", "x")])
    gone = Changes(2, callbacks_removed=["a"])
    again = Changes(3, callbacks_added=[("a", "y")])
    assert _left(empty, made, gone, again)["callback"] == slotted([("a", "y"), ("b", "x")])
    links = Links()
    links.remove(["a"], set())
    links.add([("a", "y"), ("a", "y")])
    assert (list(links.removed), links.added) == (["a"], [("a", "y")])


def test_links_that_the_file_has_go_though_new_ones_follow(empty: Path) -> None:
    """The removal is of the file; what is added later in the same run stays."""
    ways: list[Content] = []
    for at_once in (False, True):
        file = _File(empty)
        file.write([Changes(1, inserted=[row("a")], listeners_added=[("a", "x")])])
        later = [
            Changes(2, listeners_added=[("a", "w")], listeners_removed=["a"]),
            Changes(3, listeners_added=[("a", "y")]),
        ]
        for run in [later] if at_once else [[each] for each in later]:
            file.write(run)
        ways.append(file.close())
    assert ways[0] == ways[1]
    assert ways[0]["listener"] == slotted([("a", "y")])


def test_of_what_the_file_does_not_know_no_links_are_removed_there() -> None:
    """That would be a search for nothing, for each call that is made and settled in one run."""
    links = Links()
    links.add([("a", "x"), ("b", "x")])
    links.remove(["a", "b"], {"a"})
    assert (list(links.removed), links.added) == (["b"], [])


def test_the_last_word_on_an_unblock_and_a_schedule_counts(empty: Path) -> None:
    def schedule(cron: str) -> ScheduleRecord:
        return ScheduleRecord("s", cron, "p", 1, EMPTY, {}, 1, 1, None)

    owed, first, second = [("a", "poll://any@g")], [schedule("1")], [schedule("2")]
    content = _left(
        empty,
        Changes(1, inserted=[row("a")], unblocks_added=owed, schedules_put=first),
        Changes(2, unblocks_removed=owed, schedules_deleted=["s"]),
        Changes(3, unblocks_added=owed, schedules_put=second),
    )
    assert content["unblock"] == slotted(owed)
    assert [each[:2] for each in content["schedule"]] == [("s", "2")]
    # of one commit the removals come last
    content = _left(
        empty,
        Changes(
            1,
            inserted=[row("a")],
            unblocks_added=owed,
            unblocks_removed=owed,
            schedules_put=first,
            schedules_deleted=["s"],
        ),
    )
    assert (content["unblock"], content["schedule"]) == ([], [])


def test_time_does_not_go_back(empty: Path) -> None:
    content = _left(empty, Changes(7, inserted=[row("a")]), Changes(5, inserted=[row("b")]))
    assert {("now", "7"), ("commit", "2")} <= set(content["meta"])


@pytest.mark.parametrize("ids", [["b", "a"], ["b", "b"]], ids=["exists", "twice"])
def test_what_is_here_already_is_refused(ids: list[str]) -> None:
    pending = memtable_of(Changes(1, inserted=[row("a")]))
    pending.check(Changes(2, inserted=[row("c")], updated=[row("a")]))
    with pytest.raises(StoreError, match="an inserted promise exists"):
        pending.check(Changes(2, inserted=[row(id_) for id_ in ids]))


def test_nothing_is_pending_before_the_first() -> None:
    assert not Memtable()
    assert memtable_of(Changes(1, unblocks_removed=[("a", "b")]))
