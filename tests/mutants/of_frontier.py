"""Faults of what tells new ids, and of when it learns: each may have a promise made again, but for
the few that only cost memory."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Floor, Mutant

_mutant = Floor("store/understudy_store", "tests/unit/store").mutant
_FRONTIER: Final = "test_frontier.py"
_ENGINE: Final = "tests/integration/test_store_frontier.py"
_NEW: Final = "an id is taken for new only where it cannot be in the store"
_LEARNED: Final = "only of what has no descendant anywhere is it learned that it has none"

_TOLD: Final = (
    _mutant(
        "last-child-taken-for-new",
        None,
        _NEW,
        "engines/frontier.py",
        "            if most is None or number <= most:\n",
        "            if most is None or number < most:\n",
        _FRONTIER,
    ),
    _mutant(
        "unknown-taken-for-new",
        None,
        _NEW,
        "engines/frontier.py",
        "            if most is None or number <= most:\n",
        "            if most is not None and number <= most:\n",
        _FRONTIER,
    ),
    _mutant(
        "last-number-for-the-greatest",
        None,
        _NEW,
        "engines/frontier.py",
        "        elif number > before:\n",
        "        elif number != before:\n",
        _FRONTIER,
    ),
    _mutant(
        "last-number-of-a-commit",
        None,
        _NEW,
        "engines/frontier.py",
        "            if number > greatest.setdefault(parent, 0):\n                greatest",
        "            if number:\n                greatest",
        _FRONTIER,
    ),
    _mutant(
        "only-the-root-counts",
        None,
        "what is inserted is known to all that are known above it",
        "engines/frontier.py",
        "            for each in upwards:\n",
        "            for each in upwards[:1]:\n",
        _FRONTIER,
    ),
    _mutant(
        "only-the-parent-counts",
        None,
        "what is inserted is known to all that are known above it",
        "engines/frontier.py",
        "            for each in upwards:\n",
        "            for each in upwards[-1:]:\n",
        _FRONTIER,
    ),
    _mutant(
        "children-forgotten-alone",
        None,
        "what is forgotten is forgotten wholly",
        "engines/frontier.py",
        "            _, numbers = self._known.popitem(last=False)\n",
        "            known, numbers = self._known.popitem(last=False)\n"
        "            self._known[known] = {}\n",
        _FRONTIER,
    ),
    _mutant(
        "parents-not-counted",
        None,
        "no more is kept than was said",
        "engines/frontier.py",
        "            numbers[parent] = number\n            self._grow()\n",
        "            numbers[parent] = number\n",
        _FRONTIER,
    ),
    _mutant(
        "parents-still-counted",
        None,
        "what is forgotten makes room for as much",
        "engines/frontier.py",
        "            self._size -= 1 + len(numbers)\n",
        "            self._size -= 1\n",
        _FRONTIER,
    ),
    _mutant(
        "learned-at-any-length",
        None,
        "what anybody asks for takes no more room than an id",
        "engines/frontier.py",
        "        if id_ not in self._known and _may_be_learned(id_):\n",
        "        if id_ not in self._known:\n",
        _FRONTIER,
    ),
    _mutant(
        "cut-at-every-dot",
        None,
        "an id with very many dots costs no more than others",
        "engines/frontier.py",
        "    while 0 < at <= CHARS_MAX and len(ids) <= DOTS_MAX:\n",
        "    while 0 < at <= CHARS_MAX:\n",
        _FRONTIER,
    ),
)

_LEARNING: Final = (
    _mutant(
        "above-what-is-known-unseen",
        None,
        _LEARNED,
        "engines/frontier.py",
        "            above.update(upwards)\n",
        "            if not any(each in self._known for each in upwards):\n"
        "                above.update(upwards)\n",
        f"{_ENGINE}::test_a_child_that_was_there_before_its_parent",
    ),
    _mutant(
        "known-ones-not-above",
        None,
        "what is known may be forgotten while its children are on their way",
        "engines/frontier.py",
        "            above.update(upwards)\n",
        "            above.update(each for each in upwards if each not in self._known)\n",
        f"{_ENGINE}::test_what_was_known_is_forgotten_before_the_file_has_its_children",
    ),
    _mutant(
        "above-is-the-parent-alone",
        None,
        _LEARNED,
        "engines/frontier.py",
        "            above.update(upwards)\n",
        "            above.add(parent)\n",
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "above-numbers-alone",
        None,
        "what descends from an id counts, whatever it is called",
        "engines/frontier.py",
        "            if number > greatest.setdefault(parent, 0):\n",
        "            if number > greatest.get(parent, 0):\n",
        f"{_FRONTIER}::test_what_has_no_number_is_never_left_out",
    ),
    _mutant(
        "descendants-end-too-soon",
        None,
        _LEARNED,
        "engines/frontier.py",
        '    return id_ + chr(ord(".") + 1)\n',
        '    return id_ + "."\n',
        f"{_FRONTIER}::test_descendants_are_in_one_piece",
        f"{_ENGINE}::test_a_root_that_had_children_before_is_not_taken_for_new",
    ),
    _mutant(
        "learned-though-there-are-descendants",
        None,
        _LEARNED,
        "engines/sqlite.py",
        "        if first is None or first >= beyond_descendants(id_):\n",
        "        if first is None or first > id_:\n",
        f"{_ENGINE}::test_a_root_that_had_children_before_is_not_taken_for_new",
    ),
    _mutant(
        "learned-past-a-write",
        None,
        "what was brought into the file since the look at it counts",
        "engines/sqlite.py",
        "                if writes == self._writes and not self._has_pending_below(id_):\n",
        "                if not self._has_pending_below(id_):\n",
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "learned-past-a-commit",
        None,
        "what was committed since the look at the file counts",
        "engines/sqlite.py",
        "                if writes == self._writes and not self._has_pending_below(id_):\n",
        "                if writes == self._writes:\n",
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "learned-during-a-write",
        None,
        "what is on its way into the file when a find begins counts",
        "engines/sqlite.py",
        " and not self._has_pending_below(elsewhere[0])\n",
        "\n",
        f"{_ENGINE}::test_a_find_while_the_file_is_written",
    ),
    _mutant(
        "active-half-not-asked",
        None,
        "what is in the half that is written counts",
        "engines/sqlite.py",
        "        return id_ in self._active.above or id_ in self._sealed.above\n",
        "        return id_ in self._sealed.above\n",
        f"{_ENGINE}::test_a_child_that_was_there_before_its_parent",
    ),
    _mutant(
        "sealed-half-not-asked",
        None,
        "what is in the half that is brought into the file counts",
        "engines/sqlite.py",
        "        return id_ in self._active.above or id_ in self._sealed.above\n",
        "        return id_ in self._active.above\n",
        f"{_ENGINE}::test_a_child_that_was_there_before_its_parent",
    ),
    _mutant(
        "large-ones-noted-too-late",
        None,
        "what is written past the journal counts before it is in the file",
        "engines/sqlite.py",
        "                with self._view_lock:\n"
        "                    self._note(changes, self._sealed)\n"
        "                # It takes a number too: the journal is at it, and holds nothing that "
        "counts.\n"
        "                self._journal.skip()\n"
        "                self._write(joined(changes), self._journal.number)\n",
        "                self._journal.skip()\n"
        "                self._write(joined(changes), self._journal.number)\n"
        "                with self._view_lock:\n"
        "                    self._note(changes, self._sealed)\n",
        f"{_ENGINE}::test_a_find_while_the_file_is_written",
    ),
    _mutant(
        "large-ones-not-noted",
        None,
        "what is written past the journal counts",
        "engines/sqlite.py",
        "                    self._note(changes, self._sealed)\n",
        "                    pass\n",
        f"{_ENGINE}::test_finds_before_and_after_each_write_of_the_file",
    ),
    _mutant(
        "small-ones-not-noted",
        None,
        "what is committed counts",
        "engines/sqlite.py",
        "            self._note(changes, self._active)\n",
        "",
        f"{_ENGINE}::test_a_child_comes_after_the_look_at_the_file",
    ),
    _mutant(
        "no-descendants-so-new",
        None,
        "what is in the file is found",
        "engines/sqlite.py",
        "        return first != id_\n",
        "        return True\n",
        f"{_ENGINE}::test_a_root_that_had_children_before_is_not_taken_for_new",
    ),
    _mutant(
        "half-a-commit-beside-a-new-one",
        None,
        "a find sees no half of a commit, where some of it was not looked for either",
        "engines/sqlite.py",
        "len(elsewhere) == len(wanted)",
        "not found",
        f"{_ENGINE}::test_what_is_taken_for_new_is_not_missing_beside_what_came_with_it",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_TOLD, *_LEARNING)
