"""A find gives what was committed, whatever is committed, written, reopened and found meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.store.journal_world import (
    SEARCH,
    flush,
    too_large,
)
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.journaled.absent_ids import KNOWN_MAX, AbsentIds
from understudy_store.engines.journaled.journaled_table import JournaledTable
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import Row

pytestmark = pytest.mark.usefixtures("small_halves", "idle")

T = TypeVar("T")

_numbers = count()


def _seal(engine: SqliteEngine) -> None:
    """What was committed is about to be brought in, and is not yet."""
    with engine.journaled._append_lock:
        if engine.journaled.view.active and not engine.journaled.view.sealed:
            engine.journaled._seal()


class _Commit(NamedTuple):
    """Inserts and updates those of `ids` that are new and that are not."""

    ids: list[str]
    large: bool
    drained: bool


class _Seal(NamedTuple):
    """The thread behind the journal begins."""


class _Write(NamedTuple):
    """It goes on."""


class _Reopen(NamedTuple):
    """A new process."""


class _Find(NamedTuple):
    """Of `ids`, with commits just before or after it has looked at the file."""

    ids: list[str]
    meanwhile: list[_Step]
    early: bool


class _OneByOne(NamedTuple):
    """Each of `ids` is looked for: what can be learned is."""

    ids: list[str]


_Step: TypeAlias = _Commit | _Seal | _Write
_Any: TypeAlias = _Step | _Reopen | _Find | _OneByOne
_Script: TypeAlias = list[_Any]

_PLAIN: Final = ("1", "2", "3", "10")
_STRANGE: Final = ("01", "+1", "1_0", "-1", "0", "", "x", "1-", "٣", "9" * 400)
_any_ids = st.builds(
    lambda root, rest: ".".join([root, *rest]),
    st.sampled_from(["a", "a", "a", "a", "a-1", "a!", "a/", "é", ""]),
    st.lists(st.sampled_from(_PLAIN) | st.sampled_from(_STRANGE), min_size=1, max_size=3),
)


@st.composite
def _scripts(draw: st.DrawFn) -> tuple[list[str], _Script]:
    """A few ids with all that is above them, and what happens to them."""
    drawn = draw(st.lists(_any_ids, min_size=1, max_size=3))
    cut = [id_[:at] for id_ in drawn for at, each in enumerate(id_) if each == "." and at]
    universe = sorted({*drawn, *cut})
    ids = st.sampled_from(universe)
    commits = st.builds(
        _Commit,
        st.lists(ids, min_size=1, max_size=2, unique=True),
        st.sampled_from([False, False, False, True]),
        st.sampled_from([False, False, False, True]),
    )
    steps: st.SearchStrategy[_Step] = st.one_of(
        commits, commits, st.sampled_from([_Seal(), _Write()])
    )
    finds = st.builds(
        _Find,
        st.lists(ids, min_size=1, max_size=1) | st.lists(ids, min_size=1, max_size=5),
        st.lists(steps, max_size=2),
        st.booleans(),
    )
    one_by_one = st.builds(_OneByOne, st.permutations(universe))
    others: st.SearchStrategy[_Any] = st.sampled_from([_Seal(), _Write(), _Reopen()])
    anything = st.one_of(commits, commits, commits, one_by_one, one_by_one, finds, finds, others)
    return universe, draw(st.lists(anything, min_size=4, max_size=16))


class _Model:
    """An engine that does what the script says, beside what was committed."""

    def __init__(self, path: Path, known_max: int) -> None:
        self._path = path
        self._known_max = known_max
        self._rows: dict[str, Row] = {}
        #: after each commit
        self._states = [self._rows]
        self._open()

    def _open(self) -> None:
        self.engine = SqliteEngine(self._path)
        self.engine.load()
        self.engine.journaled.view._absent = AbsentIds(self._known_max)

    def play(self, step: _Any) -> None:
        engine = self.engine
        match step:
            case _Commit():
                self._commit(step)
            case _Seal():
                _seal(engine)
            case _Write():
                with engine.journaled._table_lock:
                    engine.journaled._write_sealed()
            case _Reopen():
                engine.close()
                self._open()
            case _Find():
                self._find(step)
            case _OneByOne():
                for id_ in step.ids:
                    self._find(_Find([id_], [], False))

    def _commit(self, step: _Commit) -> None:
        at = len(self._states)
        make = too_large if step.large else row
        made = [make(id_) for id_ in step.ids if id_ not in self._rows]
        known = [self._rows[id_] for id_ in step.ids if id_ in self._rows]
        changes = Changes(at, inserted=made, updated=[settled(each, at) for each in known])
        self.engine.commit(changes, SEARCH if step.drained else [], SOLE_EPOCH)
        new = {each.promise.id: each for each in (*changes.inserted, *changes.updated)}
        self._rows = self._rows | new
        self._states.append(self._rows)

    def _find(self, step: _Find) -> None:
        """What is found is what was there at some moment of the find."""
        database = self.engine._database
        with pytest.MonkeyPatch.context() as patch:
            meanwhile = iter(step.meanwhile)

            def on_first_from(id_: str) -> str | None:
                return self._looking(lambda: Database.first_from(database, id_), step, meanwhile)

            def on_find(ids: Collection[str]) -> list[Row]:
                return self._looking(lambda: Database.find(database, ids), step, meanwhile)

            patch.setattr(database, "first_from", on_first_from)
            patch.setattr(database, "find", on_find)
            before = len(self._states) - 1
            found = {each.promise.id: each for each in self.engine.find(step.ids)}
        assert found in [
            {id_: state[id_] for id_ in step.ids if id_ in state} for state in self._states[before:]
        ]

    def _looking(self, look: Callable[[], T], step: _Find, meanwhile: Iterator[_Step]) -> T:
        if step.early:
            self._play_all(meanwhile)
            return look()
        found = look()
        self._play_all(meanwhile)
        return found

    def _play_all(self, steps: Iterator[_Step]) -> None:
        for each in steps:
            self.play(each)

    def check(self, universe: list[str]) -> None:
        """At the end each is found by itself, and all of them at once: exactly what is there."""
        for ids in (*([id_] for id_ in universe), universe):
            found = {each.promise.id: each for each in self.engine.find(ids)}
            assert found == {id_: self._rows[id_] for id_ in ids if id_ in self._rows}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store that is made once, to be copied: a copy opens in milliseconds."""
    path = tmp_path_factory.mktemp("frontier") / "empty.db"
    SqliteEngine(path).close()
    yield path
    shutil.rmtree(path.parent)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=_scripts(), known_max=st.sampled_from([KNOWN_MAX, 4, 2]))
def test_a_find_gives_what_was_committed(
    script: tuple[list[str], _Script],
    known_max: int,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the ids, whatever goes where meanwhile, and however little is remembered."""
    # what the thread behind the journal does, the script does
    monkeypatch.setattr(JournaledTable, "_follow", lambda _: None)
    path = empty_store.with_name(f"{next(_numbers)}.db")
    shutil.copy(empty_store, path)
    universe, steps = script
    model = _Model(path, known_max)
    try:
        for step in steps:
            model.play(step)
        model.check(universe)
        flush(model.engine)
        model.check(universe)
    finally:
        model.engine.close()
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
