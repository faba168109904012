"""Faults of slots in stores: who has which, at the start of a broker and while they move."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker/server").mutant
_START: Final = "test_start.py"
_PLACEMENT: Final = "test_placement.py"
_MOVES: Final = "tests/integration/broker/test_slot_moves.py"
_COMMAND: Final = "tests/integration/cli/test_slots_move.py"
_FACTS: Final = "tests/unit/store/test_facts.py"

_STARTS: Final = (
    _mutant(
        "new-broker-does-not-wait",
        None,
        "a new broker hears from all others before it shares the slots out",
        "understudy_broker.server.start.of_new",
        swap("if silent:", "if not answers:"),
        _START,
    ),
    _mutant(
        "each-new-broker-founds",
        None,
        "one broker alone begins a deployment",
        "understudy_broker.server.start.of_new",
        swap("if founder != wanted.name:", "if not founder:"),
        _START,
    ),
    _mutant(
        "empty-store-has-all-slots",
        None,
        "a broker with an empty store does not guess",
        "understudy_broker.server.start.at_start",
        swap("if is_empty:", "if not wanted.addresses:"),
        _START,
    ),
    _mutant(
        "part-starts-alone",
        None,
        "a single broker does not have a part of the slots",
        "understudy_broker.server.start.at_start",
        drop("if len(names) < 2:\n    _check_alone(wanted, stored)"),
        _START,
    ),
    _mutant(
        "broker-leaves-with-its-slots",
        None,
        "a broker without a table has no slots",
        "understudy_broker.server.start.at_start",
        drop("if gone(stored, names):\n    return None"),
        _START,
    ),
    _mutant(
        "placement-not-written",
        None,
        "the store says which slots a broker has",
        "understudy_broker.server.daemon._placed",
        swap("placement != stored", "placement == stored"),
        f"{_COMMAND}::test_a_dry_run_says_how_many_promises_would_move",
    ),
    _mutant(
        "leaving-slots-in-memory",
        None,
        "nobody settles what is leaving",
        "understudy_broker.server.daemon._placed",
        drop("store.keep_only(placement.own)"),
        f"{_COMMAND}::test_between_the_steps_of_a_move_calls_wait",
    ),
    _mutant(
        "snapshot-with-other-slots",
        None,
        "a snapshot of some slots has nothing of the others",
        "understudy_store.changes.within",
        swap(
            "callbacks=_Within(snapshot.callbacks, slots, _first)", "callbacks=snapshot.callbacks"
        ),
        _FACTS,
    ),
    _mutant(
        "fact-beside-commits",
        None,
        "facts are put before the store is at work",
        "understudy_store.store.Store.put_fact",
        swap("if self._at_work:", "if self._closed:"),
        _FACTS,
    ),
)

_STEPS: Final = (
    _mutant(
        "leaving-slots-served",
        None,
        "nobody owns slots that are leaving",
        "understudy_broker.server.placement.left_behind",
        swap("dict.fromkeys(slots, version), None", "dict.fromkeys(slots, version), source.broker"),
        _PLACEMENT,
    ),
    _mutant(
        "old-rows-come-back",
        None,
        "slots that the target has passed on do not come back",
        "understudy_broker.server.placement.not_arrived",
        swap("target.since[slot] < source.leaving[slot].version", "slot not in target.own"),
        f"{_MOVES}::test_slots_that_were_passed_on_do_not_come_back_old",
    ),
    _mutant(
        "slots-come-back-and-are-deleted",
        None,
        "a slot that has come back is not leaving",
        "understudy_broker.server.placement.arrived",
        swap("replace(target, leaving=leaving)", "target"),
        f"{_MOVES}::test_slots_that_come_back_before_their_move_was_completed",
    ),
    _mutant(
        "slots-by-the-version-of-the-map",
        None,
        "of two maps each slot counts by itself",
        "understudy_broker.protocol.placement.merged",
        swap("its > mine for", "other.version > known.version for"),
        f"{_PLACEMENT}::test_moves_of_which_different_brokers_know_are_all_found",
    ),
    _mutant(
        "copy-of-a-store-goes-on",
        None,
        "two brokers do not have the same slot",
        "understudy_broker.server.placement.conflict",
        swap("its_version == my_version and its_owner != broker", "False"),
        f"{_PLACEMENT}::test_two_brokers_with_the_stores_of_single_ones_are_found_out",
    ),
    _mutant(
        "copy-of-a-store-whose-slots-came-back-goes-on",
        None,
        "a broker that knows less of its own slots than another one does has an old store",
        "understudy_broker.server.placement.conflict",
        swap(
            "its_version > my_version or",
            "(its_version > my_version and its_owner != broker) or",
        ),
        f"{_PLACEMENT}::test_a_copy_of_a_store_from_before_a_move_is_found_out",
    ),
    _mutant(
        "deleted-before-copied",
        None,
        "the source has the rows until the target has them",
        "understudy_broker.server.slot_moves.SlotMoves.steps",
        swap(
            "if part.staying:",
            "slot_rows.drop(self._opened(part.source).engine, part.slots, (KEY, KEY))\n"
            "if part.staying:",
        ),
        f"{_MOVES}::test_everything_of_slots_moves_and_nothing_else",
    ),
    _mutant(
        "copied-without-the-placement",
        None,
        "rows and placement change together",
        "understudy_store.engines.sqlite.slot_rows.copy",
        drop("facts.put(driver, *fact)"),
        f"{_MOVES}::test_everything_of_slots_moves_and_nothing_else",
    ),
    _mutant(
        "copied-beside-older-rows",
        None,
        "what the target had of the slots is replaced",
        "understudy_store.engines.sqlite.slot_rows.copy",
        drop("_delete(driver, slots)"),
        f"{_MOVES}::test_rows_that_the_target_has_of_such_slots_are_replaced",
    ),
    _mutant(
        "copied-without-schedules",
        None,
        "everything in a slot moves",
        "understudy_store.engines.sqlite.slot_rows._OTHERS",
        swap("Unblock, Schedule, Attempt)", "Unblock, Attempt)"),
        f"{_MOVES}::test_everything_of_slots_moves_and_nothing_else",
    ),
    _mutant(
        "time-goes-back-with-a-slot",
        None,
        "the target's time is not before the source's",
        "understudy_store.engines.sqlite.slot_rows.copy",
        drop(
            "driver.execute(\n"
            '    "UPDATE main.meta SET value = source.value FROM source.meta AS source "\n'
            "    \"WHERE main.meta.key = 'now' AND source.key = 'now' \"\n"
            '    "AND CAST(source.value AS INTEGER) > CAST(main.meta.value AS INTEGER)"\n'
            ")"
        ),
        f"{_MOVES}::test_the_time_of_the_target_is_not_before_that_of_the_source",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_STARTS, *_STEPS)
