"""Moves of slots between real stores: complete, cut short at any point, refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.forked import forker
from tests.integration.broker.slot_stores import (
    Rows,
    both,
    check_complete,
    fill,
    make_stores,
    now_in,
    path_of,
    placement_in,
    put_placement,
    rows_in,
)
from understudy_broker.server.placement import PlacementError, sole_placement
from understudy_broker.server.slot_moves import (
    ALL,
    SlotMoveError,
    SlotMoves,
    SlotMoveUsageError,
    all_of,
)
from understudy_store.engines.sqlite import slot_rows
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.errors import StoreLockedError
from understudy_store.slots import SLOTS, slot_of

#: Makes a move and dies at a point of it, without any farewell.
DIES = """
import os, sys
from pathlib import Path
from understudy_broker.server.slot_moves import ALL, SlotMoves
from understudy_store.engines.sqlite import facts, slot_rows

slot_rows.CHUNK_ROWS = 40
directory, point = Path(sys.argv[1]), sys.argv[2]
paths = {name: directory / f"understudy-{name}.db" for name in "ab"}
reports = 0

def die(*_):
    os._exit(9)

def on_progress(source, copied):
    global reports
    reports += 1
    if point == f"copying {reports}":
        die()

put, puts = facts.put, 0

def put_and_count(*args):
    global puts
    put(*args)
    puts += 1
    if point == f"before commit {puts}":
        die()

facts.put = put_and_count
with SlotMoves(paths) as moves:
    [part] = moves.plan(ALL, "a", "b")
    for number, _ in enumerate(moves.steps(part, "b", on_progress), 1):
        if point == f"after step {number}":
            die()
print("done")
"""
POINTS = (
    "before commit 1",
    "after step 1",
    "copying 1",
    "copying 3",
    "before commit 2",
    "after step 2",
    "before commit 3",
    "before commit 4",
    "after step 3",
)


def paths_of(directory: Path, names: str = "ab") -> dict[str, Path]:
    return {name: path_of(directory, name) for name in names}


def move(directory: Path, slots: object, source: str | None, to: str, names: str = "ab") -> int:
    """Move slots; return how many promises were."""
    with SlotMoves(paths_of(directory, names)) as moves:
        parts = moves.plan(slots, source, to)  # type: ignore[arg-type]  # ALL, or a list
        return sum(moves.move(part, to, lambda *_: None) for part in parts)


@pytest.fixture
def before(tmp_path: Path) -> Rows:
    make_stores(tmp_path)
    return both(*(rows_in(path_of(tmp_path, name)) for name in "ab"))


# Complete ----------------------------------------------------------------------------------------


def test_everything_of_slots_moves_and_nothing_else(tmp_path: Path, before: Rows) -> None:
    own = placement_in(path_of(tmp_path, "a")).own
    there = rows_in(path_of(tmp_path, "a"), set(own[:5]))
    assert all(there.values())
    assert move(tmp_path, own[:5], None, "b") == len(there["promise"])
    check_complete(tmp_path, before)
    assert rows_in(path_of(tmp_path, "b"), set(own[:5])) == there
    a, b = (placement_in(path_of(tmp_path, name)) for name in "ab")
    assert (a.own, b.owners) == (own[5:], a.owners)
    assert a.version == b.version == 3
    assert not b.arrivals


def test_back_and_forth(tmp_path: Path, before: Rows) -> None:
    for source, to in ("ab", "ba", "ab"):
        move(tmp_path, ALL, source, to)
        check_complete(tmp_path, before)
        assert len(placement_in(path_of(tmp_path, to)).own) == SLOTS


def test_slots_of_several_brokers_come_together(tmp_path: Path) -> None:
    make_stores(tmp_path, "abc", 300)
    rows = [rows_in(path_of(tmp_path, name)) for name in "abc"]
    with SlotMoves(paths_of(tmp_path, "abc")) as moves:
        parts = moves.plan(range(SLOTS), None, "c")
        assert [part.source for part in parts] == ["a", "b"]
        others = [slot for name in "ab" for slot in placement_of_open(moves, name)]
        assert all_of(parts).startswith(str(min(others)))
        for part in parts:
            assert moves.count(part) > 0
            moves.move(part, "c", lambda *_: None)
    check_complete(tmp_path, both(both(rows[0], rows[1]), rows[2]), "abc")


def placement_of_open(moves: SlotMoves, name: str) -> list[int]:
    [part] = moves.plan(ALL, name, "c")
    return part.slots


def test_slots_are_found_although_the_target_does_not_know_who_has_them(tmp_path: Path) -> None:
    make_stores(tmp_path, "abc", 300)
    [slot, *_] = placement_in(path_of(tmp_path, "a")).own
    move(tmp_path, [slot], "a", "b", "abc")
    assert placement_in(path_of(tmp_path, "c")).owners[slot] == "a"
    with SlotMoves(paths_of(tmp_path, "abc")) as moves:
        [part] = moves.plan([slot], None, "c")
        assert (part.source, part.slots) == ("b", [slot])


def test_the_time_of_the_target_is_not_before_that_of_the_source(tmp_path: Path) -> None:
    make_stores(tmp_path)
    assert (now_in(path_of(tmp_path, "a")), now_in(path_of(tmp_path, "b"))) == (1000, 1001)
    move(tmp_path, ALL, "b", "a")
    assert now_in(path_of(tmp_path, "a")) == 1001
    move(tmp_path, ALL, "a", "b")
    assert now_in(path_of(tmp_path, "b")) == 1001


def test_rows_that_the_target_has_of_such_slots_are_replaced(tmp_path: Path, before: Rows) -> None:
    own = placement_in(path_of(tmp_path, "a")).own
    homes = (f"stale-{number}" for number in range(10_000))
    fill(path_of(tmp_path, "b"), [next(h for h in homes if slot_of(h) == own[0])], 7)
    move(tmp_path, own[:2], "a", "b")
    check_complete(tmp_path, before)


def test_slots_that_are_there_already_are_left_alone(tmp_path: Path, before: Rows) -> None:
    own = placement_in(path_of(tmp_path, "b")).own
    version = placement_in(path_of(tmp_path, "b")).version
    assert move(tmp_path, own, None, "b") == 0
    assert placement_in(path_of(tmp_path, "b")).version == version
    check_complete(tmp_path, before)


# Cut short ---------------------------------------------------------------------------------------


def die(directory: Path, point: str) -> None:
    script, log = directory / "dies.py", directory / "dies.log"
    script.write_text(DIES)
    words = [str(script), str(directory), point]
    process = forker().python(words, os.environ, directory, log)
    assert (process.wait(60), process.output) == (9, "")


@pytest.mark.parametrize("point", POINTS)
def test_a_move_that_dies_loses_and_doubles_nothing(
    tmp_path: Path, before: Rows, point: str
) -> None:
    die(tmp_path, point)
    a, b = (placement_in(path_of(tmp_path, name)) for name in "ab")
    assert not set(a.own) & set(b.own)
    # Whoever owns a slot, or is leaving it, has all of its rows.
    here = rows_in(path_of(tmp_path, "b"), set(b.own))
    rest = {*a.own, *(slot for slot in a.leaving if slot not in b.own)}
    assert both(here, rows_in(path_of(tmp_path, "a"), rest)) == before
    move(tmp_path, ALL, "a", "b")
    check_complete(tmp_path, before)
    assert len(placement_in(path_of(tmp_path, "b")).own) == SLOTS


@pytest.mark.parametrize(("first", "second"), [(1, 5), (1, 1), (5, 6), (4, 6), (5, 5)])
def test_a_move_that_dies_twice(tmp_path: Path, before: Rows, first: int, second: int) -> None:
    die(tmp_path, POINTS[first])
    # Points are counted anew: the second run makes fewer steps.
    die(tmp_path, {1: "copying 2", 5: "before commit 1", 6: "before commit 1"}[second])
    move(tmp_path, ALL, "a", "b")
    check_complete(tmp_path, before)


@pytest.mark.parametrize("point", ["after step 1", "after step 2", "before commit 3"])
def test_a_move_that_was_cut_short_is_completed_without_the_name_of_the_source(
    tmp_path: Path, before: Rows, point: str
) -> None:
    own = placement_in(path_of(tmp_path, "a")).own
    die(tmp_path, point)
    move(tmp_path, own, None, "b")
    check_complete(tmp_path, before)


def test_slots_that_were_passed_on_do_not_come_back_old(tmp_path: Path) -> None:
    """The source still has old rows of slots that have left the target again."""
    make_stores(tmp_path, "abc", 300)
    rows = [rows_in(path_of(tmp_path, name)) for name in "abc"]
    own = placement_in(path_of(tmp_path, "a")).own
    die(tmp_path, "after step 2")
    move(tmp_path, own, "b", "c", "abc")
    assert move(tmp_path, ALL, "a", "b", "abc") == 0
    check_complete(tmp_path, both(both(rows[0], rows[1]), rows[2]), "abc")
    assert placement_in(path_of(tmp_path, "a")).owners[own[0]] == "c"


def test_slots_that_come_back_before_their_move_was_completed(tmp_path: Path, before: Rows) -> None:
    own = placement_in(path_of(tmp_path, "a")).own
    die(tmp_path, "after step 2")
    move(tmp_path, own[:9], "b", "a")
    assert placement_in(path_of(tmp_path, "a")).own == own[:9]
    move(tmp_path, own[9:], None, "b")
    check_complete(tmp_path, before)


def test_a_failed_copy_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    make_stores(tmp_path)
    rows = rows_in(path_of(tmp_path, "b"))

    def fail(_: int) -> None:
        raise RuntimeError("no more")

    source, target = (SqliteEngine(path_of(tmp_path, name)) for name in "ab")
    try:
        with pytest.raises(RuntimeError):
            slot_rows.copy(source, target, ALL, ("k", "text"), fail)
        assert target.fact("k") is None
        # It is usable, and the other file is not attached any more.
        assert slot_rows.copy(source, target, [], ("k", "text")) == 0
        assert target.fact("k") == "text"
    finally:
        source.close()
        target.close()
    assert rows_in(path_of(tmp_path, "b")) == rows


# Refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", "ab")
def test_a_store_that_is_open_is_not_touched(tmp_path: Path, before: Rows, name: str) -> None:
    engine = SqliteEngine(path_of(tmp_path, name))
    try:
        with pytest.raises(StoreLockedError, match="is open in"):
            move(tmp_path, ALL, "a", "b")
    finally:
        engine.close()
    check_complete(tmp_path, before)


def test_slots_of_others_are_not_moved_under_a_false_name(tmp_path: Path) -> None:
    make_stores(tmp_path, "abc", 30)
    [slot, *_] = placement_in(path_of(tmp_path, "a")).own
    with pytest.raises(SlotMoveError, match=f"'b' does not have slot {slot}.* a has it"):
        move(tmp_path, [slot], "b", "c", "abc")
    with pytest.raises(SlotMoveUsageError, match=r"both 'a': name another broker.*are: b, c"):
        move(tmp_path, [slot], "a", "a", "abc")


def test_a_broker_that_is_named_must_exist_also_if_there_is_nothing_to_do(tmp_path: Path) -> None:
    make_stores(tmp_path, "ab", 30)
    [slot, *_] = placement_in(path_of(tmp_path, "a")).own
    assert move(tmp_path, [slot], "b", "a") == 0
    with pytest.raises(SlotMoveUsageError, match=r"--from: .* the name 'x'; there are: a, b"):
        move(tmp_path, [slot], "x", "a")


def test_two_stores_with_the_same_slot_are_not_taken_for_nothing_to_do(tmp_path: Path) -> None:
    make_stores(tmp_path, "ab", 30)
    [slot, *_] = placement_in(path_of(tmp_path, "a")).own
    copy = path_of(tmp_path, "copy")
    shutil.copy(path_of(tmp_path, "a"), copy)
    move(tmp_path, [slot], "a", "b")
    copy.replace(path_of(tmp_path, "a"))
    with pytest.raises(SlotMoveError, match=f"'a' and 'b' both say that they have slot {slot}:"):
        move(tmp_path, [slot], "a", "b")


def test_slots_on_their_way_elsewhere_are_not_moved(tmp_path: Path) -> None:
    make_stores(tmp_path, "abc", 30)
    [slot, *_] = placement_in(path_of(tmp_path, "a")).own
    die(tmp_path, "after step 1")
    for slots, source in ((ALL, "a"), ([slot], "a"), ([slot], None)):
        with pytest.raises(SlotMoveError, match="complete that move first, with --to b"):
            move(tmp_path, slots, source, "c", "abc")
    with pytest.raises(SlotMoveError, match=r"from 'a' to 'b'.*--to b"):
        move(tmp_path, [slot], None, "a", "abc")


def test_a_store_must_know_its_slots(tmp_path: Path) -> None:
    make_stores(tmp_path, homes=5)
    with pytest.raises(SlotMoveError, match=r"no .* table of the file .*; there are: a, b"):
        move(tmp_path, ALL, "a", "x")
    with pytest.raises(SlotMoveError, match="there is no store of the broker 'c'"):
        move(tmp_path, ALL, "a", "c", "abc")
    assert not path_of(tmp_path, "c").exists()
    SqliteEngine(path_of(tmp_path, "c")).close()
    with pytest.raises(SlotMoveError, match="does not say which slots it has"):
        move(tmp_path, ALL, "a", "c", "abc")
    put_placement(path_of(tmp_path, "c"), sole_placement("shop", "b", "ab"))
    with pytest.raises(SlotMoveError, match="that of the broker 'b', and not of 'c'"):
        move(tmp_path, ALL, "a", "c", "abc")
    put_placement(path_of(tmp_path, "c"), sole_placement("other", "c", "c"))
    with pytest.raises(SlotMoveError, match="different deployments, 'shop' and 'other'"):
        move(tmp_path, ALL, "a", "c", "abc")
    engine = SqliteEngine(path_of(tmp_path, "c"))
    engine.put_fact("placement", "{}")
    engine.close()
    with pytest.raises(PlacementError, match="in a form that is unknown"):
        move(tmp_path, ALL, "a", "c", "abc")


def test_slots_that_nobody_is_known_to_have_need_the_name_of_their_broker(tmp_path: Path) -> None:
    make_stores(tmp_path, "abc", 30)
    [slot, *_] = placement_in(path_of(tmp_path, "a")).own
    placement = placement_in(path_of(tmp_path, "c"))
    owners = tuple(None if s == slot else name for s, name in enumerate(placement.owners))
    put_placement(path_of(tmp_path, "c"), replace(placement, owners=owners))
    with pytest.raises(SlotMoveError, match=r"nobody has slot .* --from"):
        move(tmp_path, [slot], None, "c", "abc")
    move(tmp_path, [slot], "a", "c", "abc")
    assert slot in placement_in(path_of(tmp_path, "c")).own


def test_a_wait_of_a_single_broker_across_slots_goes_along(tmp_path: Path) -> None:
    """Until the move one machine had both ends of it, and a callback alone said so."""
    make_stores(tmp_path)
    waits, awaited = "p0", "p2"
    with sqlite3.connect(path_of(tmp_path, "a")) as driver:
        for id_, task in ((waits, ("g", "g", "suspended", 1)), (awaited, (None,) * 4)):
            driver.execute(
                "INSERT INTO promise (id, state, param_headers, value_headers, tags, timeout_at, "
                "created_at, origin, slot, target, group_name, task_state, version) "
                "VALUES (?, 'pending', '{}', '{}', '{}', 9000, 1, ?, ?, ?, ?, ?, ?)",
                (id_, id_, slot_of(id_), *task),
            )
        driver.execute("INSERT INTO callback VALUES (?, ?, ?)", (awaited, waits, slot_of(awaited)))
    driver.close()
    move(tmp_path, [slot_of(awaited)], None, "b")
    with sqlite3.connect(path_of(tmp_path, "a")) as driver:
        [(awaits,)] = driver.execute("SELECT awaits FROM promise WHERE id = ?", (waits,))
    driver.close()
    assert awaits == '["p2"]'
