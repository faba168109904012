"""Faults of `AbsentIds`, which knows ids that cannot be in the store.

Each may let a promise be created twice, except for a few that only cost memory.
"""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/store").mutant
_ABSENT_IDS: Final = "engines/journaled/test_absent_ids.py"
_ENGINE: Final = "tests/integration/store/test_absent_ids.py"
_GAPS: Final = "engines/journaled/test_gaps.py"
_PROPERTY: Final = "tests/integration/store/test_absent_ids_property.py"
_NEW_IDS: Final = "an id counts as new only if it cannot be in the store"
_CHILDLESS_IDS: Final = "an id is noted as childless only if it has no descendant anywhere"

_KNOWN_BY_INSERTS: Final = (
    _mutant(
        "last-child-taken-for-new",
        None,
        _NEW_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds.possible",
        swap("number <= most", "number < most"),
        _ABSENT_IDS,
    ),
    _mutant(
        "unknown-taken-for-new",
        None,
        _NEW_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds.possible",
        swap("most is None or number <= most", "most is not None and number <= most"),
        _ABSENT_IDS,
    ),
    _mutant(
        "last-number-for-the-greatest",
        None,
        _NEW_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds._raise_number",
        swap("number > before", "number != before"),
        _ABSENT_IDS,
    ),
    _mutant(
        "last-number-of-a-commit",
        None,
        _NEW_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        swap("number > greatest.setdefault(parent, 0)", "number"),
        _ABSENT_IDS,
    ),
    _mutant(
        "only-the-root-counts",
        None,
        "each known ancestor of an inserted id knows of it",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        swap("in those_of_parent:", "in those_of_parent[:1]:"),
        _ABSENT_IDS,
    ),
    _mutant(
        "only-the-parent-counts",
        None,
        "each known ancestor of an inserted id knows of it",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        swap("in those_of_parent:", "in those_of_parent[-1:]:"),
        _ABSENT_IDS,
    ),
    _mutant(
        "children-forgotten-alone",
        None,
        "a forgotten id is forgotten completely",
        "understudy_store.engines.journaled.absent_ids.AbsentIds._grow",
        swap(
            "_, numbers = self._known.popitem(last=False)",
            "known, numbers = self._known.popitem(last=False)\nself._known[known] = {}",
        ),
        _ABSENT_IDS,
    ),
    _mutant(
        "parents-not-counted",
        None,
        "the number of ids in memory stays within its bound",
        "understudy_store.engines.journaled.absent_ids.AbsentIds._raise_number",
        drop("self._grow()"),
        _ABSENT_IDS,
    ),
    _mutant(
        "parents-still-counted",
        None,
        "the room of a forgotten id can be used for another",
        "understudy_store.engines.journaled.absent_ids.AbsentIds._grow",
        swap("1 + len(numbers)", "1"),
        _ABSENT_IDS,
    ),
    _mutant(
        "learned-at-any-length",
        None,
        "an unknown id of any length takes no more room than a usual id",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.learn",
        swap("id_ not in self._known and _may_be_learned(id_)", "id_ not in self._known"),
        _ABSENT_IDS,
    ),
    _mutant(
        "cut-at-every-dot",
        None,
        "an id with very many dots costs no more than others",
        "understudy_store.engines.journaled.absent_ids._ancestors",
        swap("0 < at <= CHARS_MAX and len(ids) <= DOTS_MAX", "0 < at <= CHARS_MAX"),
        _ABSENT_IDS,
    ),
)

_KNOWN_BY_FINDS: Final = (
    _mutant(
        "above-what-is-known-unseen",
        None,
        _CHILDLESS_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        swap(
            "ancestors.update(those_of_parent)\nfor",
            "if not any(each in self._known for each in those_of_parent):\n"
            "    ancestors.update(those_of_parent)\n"
            "for",
        ),
        f"{_ENGINE}::test_a_child_that_was_there_before_its_parent",
    ),
    _mutant(
        "known-ones-not-above",
        None,
        "a known id may be forgotten while its children are being stored",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        swap(
            "ancestors.update(those_of_parent)",
            "ancestors.update(each for each in those_of_parent if each not in self._known)",
        ),
        f"{_ENGINE}::test_what_was_known_is_forgotten_before_the_file_has_its_children",
    ),
    _mutant(
        "above-is-the-parent-alone",
        None,
        _CHILDLESS_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        swap("ancestors.update(those_of_parent)", "ancestors.add(parent)"),
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "above-numbers-alone",
        None,
        "a descendant of an id counts, whatever its name",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        swap("greatest.setdefault(parent, 0)", "greatest.get(parent, 0)"),
        f"{_ABSENT_IDS}::test_what_has_no_number_is_never_left_out",
    ),
    _mutant(
        "descendants-end-too-soon",
        None,
        _CHILDLESS_IDS,
        "understudy_store.engines.journaled.absent_ids.beyond_descendants",
        swap('id_ + chr(ord(".") + 1)', 'id_ + "."'),
        f"{_ABSENT_IDS}::test_descendants_are_in_one_piece",
        f"{_ENGINE}::test_a_root_that_had_children_before_is_not_taken_for_new",
    ),
    _mutant(
        "learned-though-there-are-descendants",
        None,
        _CHILDLESS_IDS,
        "understudy_store.engines.journaled.view.View.conclude",
        swap("first >= beyond_descendants(id_)", "first > id_"),
        f"{_ENGINE}::test_a_root_that_had_children_before_is_not_taken_for_new",
    ),
    _mutant(
        "learned-past-a-write",
        None,
        "rows brought into the file since the file was searched count",
        "understudy_store.engines.journaled.view.View.conclude",
        swap(
            "look.writes == self._table_writes and not self._has_descendants(id_)",
            "not self._has_descendants(id_)",
        ),
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "learned-past-a-commit",
        None,
        "rows committed since the file was searched count",
        "understudy_store.engines.journaled.view.View.conclude",
        swap(
            "look.writes == self._table_writes and not self._has_descendants(id_)",
            "look.writes == self._table_writes",
        ),
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "learned-during-a-write",
        None,
        "rows on their way into the file when a find begins count",
        "understudy_store.engines.journaled.view.View.look",
        swap(
            "len(elsewhere) == 1 and not self._has_descendants(elsewhere[0])",
            "len(elsewhere) == 1",
        ),
        f"{_ENGINE}::test_a_find_while_the_file_is_written",
    ),
    _mutant(
        "active-half-not-asked",
        None,
        "records in the half that is being written count",
        "understudy_store.engines.journaled.view.View._has_descendants",
        swap(
            "id_ in self.active.ancestors or id_ in self.sealed.ancestors",
            "id_ in self.sealed.ancestors",
        ),
        f"{_ENGINE}::test_a_child_that_was_there_before_its_parent",
    ),
    _mutant(
        "sealed-half-not-asked",
        None,
        "records in the half that is being brought into the file count",
        "understudy_store.engines.journaled.view.View._has_descendants",
        swap(
            "id_ in self.active.ancestors or id_ in self.sealed.ancestors",
            "id_ in self.active.ancestors",
        ),
        f"{_ENGINE}::test_a_child_that_was_there_before_its_parent",
    ),
    _mutant(
        "large-ones-noted-too-late",
        None,
        "a commit that bypasses the journal counts before it is in the file",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._commit_to_table",
        (
            swap("self.view.passing_by(changes)", "View(self._table).passing_by(changes)"),
            swap(
                "self._table.write(memtable, self._log.number)",
                "self._table.write(memtable, self._log.number)\nself.view.passing_by(changes)",
            ),
        ),
        f"{_ENGINE}::test_a_find_while_the_file_is_written",
    ),
    _mutant(
        "large-ones-not-noted",
        None,
        "a commit that bypasses the journal counts",
        "understudy_store.engines.journaled.view.View.passing_by",
        drop("self._note_inserts(changes, self.sealed)"),
        f"{_ENGINE}::test_finds_before_and_after_each_write_of_the_file",
    ),
    _mutant(
        "small-ones-not-noted",
        None,
        "a committed change counts",
        "understudy_store.engines.journaled.view.View.add",
        drop("self._note_inserts(changes, self.active)"),
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "no-descendants-so-new",
        None,
        "a row in the file is found",
        "understudy_store.engines.journaled.view.View.conclude",
        swap("None if first == id_ else look.found", "look.found"),
        f"{_ENGINE}::test_a_root_that_had_children_before_is_not_taken_for_new",
    ),
    _mutant(
        "half-a-commit-beside-a-new-one",
        None,
        "a find sees a commit whole or not at all, even if it does not search for all its rows",
        "understudy_store.engines.journaled.view.View.find",
        swap("len(elsewhere) == len(wanted)", "not found"),
        f"{_ENGINE}::test_what_is_taken_for_new_is_not_missing_beside_what_came_with_it",
    ),
)

_KNOWN_BY_GAPS: Final = (
    _mutant(
        "gap-around-a-new-home",
        None,
        _NEW_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        drop("self._gaps.close(id_, beyond_descendants(id_))"),
        _GAPS,
    ),
    _mutant(
        "gap-around-new-children",
        None,
        _NEW_IDS,
        "understudy_store.engines.journaled.absent_ids.AbsentIds.inserted",
        drop("self._gaps.close(parent, beyond_descendants(parent))"),
        _GAPS,
    ),
    _mutant(
        "gap-of-the-home-alone",
        None,
        _CHILDLESS_IDS,
        "understudy_store.engines.journaled.gaps.Gap.contains",
        swap("end <= self.end", "first < self.end"),
        _GAPS,
    ),
    _mutant(
        "gap-of-all-slots-for-ever",
        None,
        "ids of a slot that comes from another broker are unknown",
        "understudy_store.engines.journaled.absent_ids.AbsentIds.forget",
        drop("self._gaps.forget()"),
        _GAPS,
    ),
    _mutant(
        "gap-over-what-memory-has",
        None,
        _NEW_IDS,
        "understudy_store.engines.journaled.view.View.conclude",
        swap("Gap(id_, first), *inserted", "Gap(id_, first)"),
        _PROPERTY,
    ),
    _mutant(
        "gap-over-what-passes-by",
        None,
        "a commit that bypasses the journal counts before it is in the file",
        "understudy_store.engines.journaled.view.View.passing_by",
        drop("self._passing = {row.promise.id for row in (*changes.inserted, *changes.replaced)}"),
        f"{_ENGINE}::test_finds_before_and_after_each_write_of_the_file",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_KNOWN_BY_INSERTS, *_KNOWN_BY_FINDS, *_KNOWN_BY_GAPS)
