"""Faults of homes and slots: where things live, and what leaves with a slot."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/store").mutant
_SLOTS: Final = "test_slots.py"
_STORED: Final = "tests/integration/store/test_slots.py"
_ROWS: Final = f"{_STORED}::test_each_row_has_the_slot_of_its_home"
_OLDER: Final = f"{_STORED}::test_a_migration_that_is_killed_half_way_begins_anew"
_MACHINE: Final = "machine/test_slots.py"
_OF_CALLS: Final = "tests/unit/actors/interpreter/test_homes.py"
_ABSENT_IDS: Final = "engines/journaled/test_absent_ids.py"

_HOMES: Final = (
    _mutant(
        "home-is-the-whole-id",
        26,
        "everything below a root lives where the root does",
        "understudy_store.slots.home_of",
        swap('id_.partition(".")[0]', "id_"),
        _SLOTS,
    ),
    _mutant(
        "home-up-to-the-last-dot",
        26,
        "the home of an id ends at the first dot",
        "understudy_store.slots.slot_of",
        swap('id_.partition(".")[0]', 'id_.rpartition(".")[0]'),
        _SLOTS,
    ),
    _mutant(
        "slot-of-the-row-before",
        26,
        "each of many rows has the slot of its own home",
        "understudy_store.slots.slots_of",
        swap("home != last", "last is None"),
        _SLOTS,
    ),
    _mutant(
        "slot-from-the-last-byte",
        26,
        "slots never change: they are stored, and others work them out too",
        "understudy_store.slots.slot_of",
        swap(">> _SHIFT", "& 255"),
        _SLOTS,
    ),
    _mutant(
        "slot-stored-from-the-origin",
        26,
        "a child with an id of its own is stored in the slot of that id",
        "understudy_store.engines.sql.rows.insert_values",
        swap("row.promise.id for row", "row.promise.tags.get(TAG_ORIGIN, row.promise.id) for row"),
        _ROWS,
    ),
    _mutant(
        "callback-in-the-slot-of-its-awaiter",
        26,
        "callbacks are in the slot of what is awaited",
        "understudy_store.engines.sql.rows.slotted",
        swap("[id_ for id_, _ in pairs]", "[other for _, other in pairs]"),
        _ROWS,
    ),
    _mutant(
        "older-rows-keep-their-shard",
        26,
        "a migrated store has the slots that a new one would have",
        "understudy_store.engines.sql.migrations.versions.0006_slots.upgrade",
        drop('op.execute("UPDATE promise SET slot = slot_of(id)")'),
        _OLDER,
    ),
)

_MOVES: Final = (
    _mutant(
        "expelled-timers-ring",
        27,
        "the deadlines of a slot leave with it",
        "understudy_store.machine.expulsion._forget",
        drop("s.deadlines.disarm(record.timeout_at, record.id)"),
        _MACHINE,
    ),
    _mutant(
        "expelled-schedules-run",
        27,
        "the schedules of a slot run elsewhere",
        "understudy_store.machine.schedule_runs.remove",
        drop("occurrences.disarm(s, schedule.id)"),
        _MACHINE,
    ),
    _mutant(
        "expelled-callbacks-stay",
        27,
        "callbacks leave with the promise that is awaited",
        "understudy_store.machine.expulsion.expel",
        swap(
            "_within(wanted, s.promises)",
            "[i for i in _within(wanted, s.promises) if not getattr(s.promises[i], 'callbacks')]",
        ),
        _MACHINE,
    ),
    _mutant(
        "expelled-sleepers-stay",
        27,
        "packed promises leave with their slot",
        "understudy_store.machine.expulsion.expel",
        swap("_within(wanted, s.packed)", "_within((), s.packed)"),
        _MACHINE,
    ),
    _mutant(
        "expelled-unblocks-are-owed",
        27,
        "an unblock is owed by the machine that has its promise",
        "understudy_store.machine.expulsion.expel",
        drop("del s.unblocks[key]"),
        _MACHINE,
    ),
    _mutant(
        "expelled-children-are-canceled",
        27,
        "nothing is left among the children of what stays",
        "understudy_store.machine.expulsion._forget",
        drop("unlink(s, record.id, record.tags)"),
        _MACHINE,
    ),
    _mutant(
        "expelled-tasks-are-held",
        27,
        "a node holds here only what is here",
        "understudy_store.machine.expulsion._forget_task",
        drop("del s.holders[task.pid].held[task.id]"),
        _MACHINE,
    ),
    _mutant(
        "expelled-holders-are-watched",
        27,
        "a node without a lease here has no timer here",
        "understudy_store.machine.expulsion.expel",
        drop("_forget_holders(s)"),
        _MACHINE,
    ),
    _mutant(
        "expelled-tasks-are-offered",
        27,
        "what has left is not handed out",
        "understudy_store.machine.expulsion._forget_task",
        drop("s.offers.pop(task.id, None)"),
        _MACHINE,
    ),
    _mutant(
        "expelled-promises-are-counted",
        27,
        "counts are those of what is here",
        "understudy_store.machine.expulsion._forget",
        drop("s.pending -= 1"),
        _MACHINE,
    ),
    _mutant(
        "expelled-before-the-commit",
        27,
        "what leaves is what the engine has",
        "understudy_store.machine.expulsion._check_settled",
        drop(
            "assert not s.in_flight, "
            '"slots are expelled when no batch is in flight: wait for its commit"'
        ),
        _MACHINE,
    ),
    _mutant(
        "admitted-twice",
        27,
        "a slot that is here is not admitted",
        "understudy_store.machine.recovery.admit",
        swap("if at_work:", "if False:"),
        _MACHINE,
    ),
    _mutant(
        "absent-ids-outlive-their-slot",
        None,
        "what another broker inserts is not taken for absent",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.forget",
        swap("if slot in slots", "if slot < 0"),
        _ABSENT_IDS,
    ),
    _mutant(
        "forgotten-ids-keep-their-places",
        None,
        "what is forgotten makes room",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.forget",
        swap("1 + len(self._known.pop(id_))", "len(self._known.pop(id_))"),
        _ABSENT_IDS,
    ),
)

_CALLS: Final = (
    _mutant(
        "home-without-its-place",
        26,
        "a call at another home is found by its place",
        "understudy.context_calls._place",
        swap("None if spec.id == place else place", "None"),
        _OF_CALLS,
    ),
    _mutant(
        "home-that-differs-from-the-id",
        26,
        "a call with a chosen id lives at the home of that id",
        "understudy.options.check_home",
        swap("home_of(id) != home", "not home"),
        _OF_CALLS,
    ),
    _mutant(
        "home-forgets-the-chosen-id",
        None,
        "a chosen id stays when the home is named later",
        "understudy.context_calls._place",
        swap("id is None and spec.id not in (", "id is None and spec.id in (None, "),
        _OF_CALLS,
    ),
    _mutant(
        "home-of-a-root-unchecked",
        26,
        "a call from outside lives at the home of its id",
        "understudy.client.caller.Caller._create",
        swap("self.options.home is not None", "self.options.home == ''"),
        "tests/integration/sdk/test_homes.py",
    ),
    _mutant(
        "home-cut-by-a-long-id",
        26,
        "an id that is too long keeps its home",
        "understudy_actors.interpreter.child_ids._shortened",
        swap('f"{id[:KEPT_CHARS]}~{digest.hexdigest()}"', 'f"{id[:9]}~{digest.hexdigest()}"'),
        "tests/unit/actors/interpreter/test_child_ids.py",
    ),
    _mutant(
        "step-at-another-home",
        None,
        "a step is a part of the function that makes it",
        "understudy.context_calls._MEANINGLESS_FOR_LOCAL_CALLS",
        swap('"home", "target"', '"target"'),
        _OF_CALLS,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_HOMES, *_MOVES, *_CALLS)
