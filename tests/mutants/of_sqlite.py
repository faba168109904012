"""Faults of the engine above the journal: its memtables, its follower, locks, opening."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/store").mutant
_MEMTABLE: Final = "engines/journaled/test_memtable.py"
_FOLLOWER: Final = "tests/integration/store/test_follower.py"
_FAILURES: Final = "tests/integration/store/test_failing.py"
_OPEN: Final = "tests/integration/store/test_open.py"
_LOCKS: Final = "tests/integration/store/test_locks.py"
_PAUSES: Final = "tests/integration/store/test_pauses.py"

_MEMTABLES: Final = (
    _mutant(
        "links-added-before-those-that-go",
        None,
        "an entry that is added after a removal stays",
        "understudy_store.engines.sqlite.database.Database._write",
        swap(
            "links.removed:\n"
            "    remove.run(driver, [(id_,) for id_ in links.removed])\n"
            "if added := links.added:\n"
            "    add.run(driver, slotted(added))",
            "added := links.added:\n"
            "    add.run(driver, slotted(added))\n"
            "if links.removed:\n"
            "    remove.run(driver, [(id_,) for id_ in links.removed])",
        ),
        f"{_MEMTABLE}::test_links_that_the_file_has_go_though_new_ones_follow",
    ),
    _mutant(
        "links-that-the-file-keeps",
        None,
        "links that are consumed are gone, also where the file has them",
        "understudy_store.engines.journaled.memtable.Links.remove",
        drop("self.removed[awaited] = None"),
        f"{_MEMTABLE}::test_links_that_the_file_has_go_though_new_ones_follow",
    ),
    _mutant(
        "links-of-one-run-stay",
        None,
        "links that are added and consumed in one run never reach the file",
        "understudy_store.engines.journaled.memtable.Links.remove",
        drop("self._added.pop(awaited, None)"),
        f"{_MEMTABLE}::test_of_what_the_file_does_not_know_no_links_are_removed_there",
    ),
    _mutant(
        "removals-for-nothing",
        None,
        "the file is not searched for links of promises that it does not hold",
        "understudy_store.engines.journaled.memtable.Links.remove",
        swap("awaited not in new", "awaited"),
        f"{_MEMTABLE}::test_of_what_the_file_does_not_know_no_links_are_removed_there",
    ),
    _mutant(
        "acknowledged-before-it-was-owed",
        None,
        "within a commit, removals are applied last",
        "understudy_store.engines.journaled.memtable.Memtable.add",
        swap(
            "self.unblocks.update(dict.fromkeys(changes.unblocks_added, True))",
            "self.unblocks.update(dict.fromkeys(changes.unblocks_removed, False))\n"
            "self.unblocks.update(dict.fromkeys(changes.unblocks_added, True))\n"
            "return",
        ),
        f"{_MEMTABLE}::test_the_last_word_on_an_unblock_and_a_schedule_counts",
    ),
)

_FOLLOWING: Final = (
    _mutant(
        "replayed-without-the-rest",
        None,
        "commits that are replayed after a kill are as complete as when they were made",
        "understudy_store.engines.journaled.replay.replayed",
        swap("_completed(decode(data), memtable.rows)", "decode(data)"),
        f"{_MEMTABLE}::test_made_and_settled_is_one_row_with_all_of_it",
        f"{_FOLLOWER}::test_what_a_kill_left_is_whole_when_it_is_brought_in",
    ),
    _mutant(
        "not-replayed",
        None,
        "commits that a process left in the journal are brought into the file",
        "understudy_store.engines.sqlite.engine.SqliteEngine._open",
        drop("_replay(left, database, path)"),
        f"{_FOLLOWER}::test_what_a_kill_left_is_whole_when_it_is_brought_in",
    ),
    _mutant(
        "file-said-to-hold-more",
        None,
        "the file states exactly the last commit that it holds",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._write_sealed",
        swap(
            "self._table.write(self.view.sealed, self._sealed_number)",
            "self._table.write(self.view.sealed, self._log.number)",
        ),
        f"{_FOLLOWER}::test_find_sees_the_last_state_wherever_it_is",
    ),
    _mutant(
        "halves-change-too-soon",
        None,
        "a half is overwritten only when its records are in the file",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._commit",
        swap("self._write_sealed()", "self.view.sealed = Memtable()"),
        f"{_FOLLOWER}::test_a_half_that_is_full_goes_to_the_file",
    ),
    _mutant(
        "older-state-first",
        None,
        "a find sees the latest state of each row",
        "understudy_store.engines.journaled.view.View._find_in_memory",
        swap("row = active.get(id_)", "row = sealed.get(id_) or active.get(id_)"),
        f"{_FOLLOWER}::test_find_sees_the_last_state_wherever_it_is",
    ),
    _mutant(
        "purged-but-still-found",
        None,
        "what is purged is not found, wherever it was before",
        "understudy_store.engines.journaled.view.View._find_in_memory",
        swap("id_ not in purged_before", "True"),
        "tests/unit/store/engines/test_purges.py::test_a_file_does_what_memory_does",
    ),
    _mutant(
        "unseen-while-it-is-written",
        None,
        "an acknowledged change is visible at all times",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._write_sealed",
        swap(
            "self._table.write(self.view.sealed, self._sealed_number)\nself.view.written()",
            "sealed = self.view.sealed\nself.view.written()\n"
            "self._table.write(sealed, self._sealed_number)",
        ),
        f"{_FOLLOWER}::test_what_is_being_written_to_the_file_is_seen_meanwhile",
    ),
    _mutant(
        "half-a-commit-found",
        None,
        "a find sees a commit whole or not at all",
        "understudy_store.engines.journaled.view.View.find",
        swap(
            "not rest or len(elsewhere) == len(wanted) or look.writes == self._table_writes",
            "look.writes >= 0",
        ),
        f"{_FOLLOWER}::test_a_find_sees_no_half_of_what_is_written_meanwhile",
    ),
    _mutant(
        "half-a-commit-found-among-many",
        None,
        "a find of any size sees a commit whole or not at all",
        "understudy_store.engines.sqlite.database.Database.find",
        swap("len(keys) <= CHUNK_ROWS", "keys"),
        f"{_FOLLOWER}::test_a_find_of_many_sees_no_half_of_what_is_written_meanwhile",
    ),
    _mutant(
        "never-brought-in",
        None,
        "the file lags by at most about a second",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._follow_once",
        swap("self._flush_now.wait(LAG_S)", "self._flush_now.wait()"),
        f"{_FOLLOWER}::test_the_file_has_a_commit_soon_without_being_asked",
    ),
    _mutant(
        "brought-in-one-by-one",
        None,
        "several commits are brought into the file together",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._follow_once",
        swap("self._flush_now.wait(LAG_S)", "self._flush_now.wait(0)"),
        f"{_FOLLOWER}::test_the_file_is_not_written_for_each_commit",
    ),
    _mutant(
        "many-rows-wait-too",
        None,
        "many rows are brought into the file sooner",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._add",
        swap(
            "self.view.active.size >= LAG_ROWS and not self.view.sealed",
            "not self.view.active.rows",
        ),
        f"{_FOLLOWER}::test_many_rows_are_brought_in_sooner",
    ),
    _mutant(
        "large-without-a-number",
        None,
        "a commit that bypasses the journal has a number, too",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._commit_to_table",
        drop("self._log.skip()"),
        f"{_FOLLOWER}::test_what_is_too_large_for_a_record_goes_to_the_file_at_once",
    ),
    _mutant(
        "large-before-the-small",
        None,
        "a commit that bypasses the journal does not overtake earlier commits",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._commit_to_table",
        drop("self._write_memtables()"),
        f"{_FOLLOWER}::test_what_is_too_large_for_a_record_goes_to_the_file_at_once",
    ),
    _mutant(
        "failure-behind-is-not-told",
        None,
        "after a failure of the file no commit is acknowledged",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._follow",
        drop(
            "self.failure = _as_store_error(error)\nself.searcher.end(self.failure)\n"
            "self._on_failure(self.failure)"
        ),
        f"{_FAILURES}::test_after_a_failure_in_the_background_nothing_is_acknowledged",
    ),
    _mutant(
        "commits-after-the-close",
        None,
        "a closed journal is not written to, because its descriptor may belong to another file",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.commit",
        drop("self._check_open()"),
        f"{_FAILURES}::test_after_a_clean_close_all_is_in_the_file",
    ),
    _mutant(
        "failure-behind-is-told-late",
        None,
        "a failure in the background is told at once",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._follow",
        drop("self._on_failure(self._failure)"),
        f"{_FAILURES}::test_a_failure_in_the_background_is_told_at_once",
        "tests/integration/broker/test_idle_store.py",
    ),
    _mutant(
        "journal-removed-too-soon",
        None,
        "the journal is removed only when its records are in the file",
        "understudy_store.engines.sqlite.engine.SqliteEngine.close",
        swap("complete and (", "("),
        f"{_FAILURES}::test_a_disk_that_fails_at_close_leaves_the_journal",
    ),
    _mutant(
        "journal-removed-after-a-failure",
        None,
        "a failed commit is left for the next open to examine",
        "understudy_store.engines.sqlite.engine.SqliteEngine.close",
        swap("failure is None or isinstance(failure, StoreGoneError)", "complete"),
        f"{_FAILURES}::test_a_commit_whose_outcome_is_unknown_is_left_to_the_next_open",
    ),
    _mutant(
        "all-rows-at-once",
        None,
        "under low load, rows are brought into the file a few at a time",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._write_sealed_with_pauses",
        swap("self.view.sealed.size <= PAUSED_ROWS_MAX", "not self.view.sealed.rows"),
        _PAUSES,
    ),
    _mutant(
        "many-rows-with-pauses",
        None,
        "under high load, rows are brought into the file without pauses",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._write_sealed_with_pauses",
        swap("self.view.sealed.size <= PAUSED_ROWS_MAX", "self.view.sealed.rows"),
        f"{_PAUSES}::test_many_rows_are_brought_in_without_pauses",
    ),
    _mutant(
        "rows-not-parted",
        None,
        "only few rows are written between two pauses",
        "understudy_store.engines.sqlite.database.Database._chunks",
        swap("_CHUNK_ROWS if pause is None else _PAUSED_CHUNK_ROWS", "_CHUNK_ROWS"),
        _PAUSES,
    ),
    _mutant(
        "pauses-for-good",
        None,
        "the follower does not pause while another thread waits for the file",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._write_sealed_with_pauses",
        drop("self._table.pause = None"),
        f"{_PAUSES}::test_who_writes_in_its_own_cause_does_not_pause",
    ),
    _mutant(
        "hurries-for-ever",
        None,
        "a thread that had to hurry once does not end the pauses for good",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._follow_once",
        drop("self._table_wanted.clear()"),
        _PAUSES,
    ),
    _mutant(
        "nobody-hurries",
        None,
        "a thread that waits for the file ends the pauses",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.between_writes",
        drop("self._table_wanted.set()"),
        f"{_PAUSES}::test_who_waits_for_the_file_ends_the_pause",
    ),
    _mutant(
        "the-end-waits",
        None,
        "a store that is closed does not wait for pauses",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.close",
        drop("self._table_wanted.set()"),
        _PAUSES,
    ),
    _mutant(
        "journal-not-watched",
        None,
        "a journal that is removed stops the store",
        "understudy_store.engines.sqlite.engine.SqliteEngine._open",
        swap("[self._path, path, *beside]", "[self._path, *beside]"),
        f"{_OPEN}::test_a_file_that_goes_away_stops_the_store",
    ),
)

_LOCKING: Final = (
    _mutant(
        "one-name-locked",
        None,
        "a store is one under all names of its file",
        "understudy_store.engines.sqlite.files.FileLock.hold_file",
        swap("if not self._lock(fd):", "if fd < 0:"),
        f"{_LOCKS}::test_a_store_is_one_under_all_names_of_its_file",
    ),
    _mutant(
        "second-owner-touches-the-file",
        None,
        "a second owner in one process does not drop SQLite's locks of the first",
        "understudy_store.engines.sqlite.engine.SqliteEngine.__init__",
        drop("check_not_open_here(path)"),
        f"{_LOCKS}::test_a_second_owner_in_one_process_does_not_harm_the_first",
    ),
    _mutant(
        "lock-inherited",
        None,
        "a forked child does not keep a store's lock",
        "understudy_store.engines.sqlite.files._after_fork",
        drop("for lock in list(_locks):\n    lock.forget()"),
        f"{_LOCKS}::test_a_forked_child_does_not_keep_the_lock",
    ),
    _mutant(
        "locks-not-waited-for",
        None,
        "another program's lock does not stop the store",
        "understudy_store.engines.sqlite.lock_wait._is_busy",
        swap("== sqlite3.SQLITE_BUSY", "== -1"),
        f"{_LOCKS}::test_a_lock_of_another_program_is_waited_for_and_the_program_is_named",
    ),
    _mutant(
        "loop-waits-for-others",
        None,
        "a commit that may have to wait for another program is not made on the owner's loop",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.commits_at_once",
        swap("not self.view.sealed or self._log.has_room", "True"),
        f"{_LOCKS}::test_the_journal_takes_what_it_can_and_then_commits_wait_elsewhere",
    ),
)

_OPENING: Final = (
    _mutant(
        "start-that-cannot-be-stopped",
        None,
        "a signal ends a start that waits for another program's lock",
        "understudy_store.engines.sqlite.lock_wait.LockWait.until_free",
        swap("self._is_unwanted()", "False"),
        "tests/integration/broker/test_daemon.py::"
        "test_a_signal_ends_a_start_that_waits_for_another_program",
    ),
    _mutant(
        "stop-that-gives-up-its-commits",
        None,
        "the end of a start that is not wanted is none of the waits of an open store",
        "understudy_store.engines.sqlite.lock_wait.LockWait.opened",
        swap("self._is_unwanted = None", "self._is_unwanted = lambda: True"),
        "tests/integration/store/test_locks.py",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_MEMTABLES, *_FOLLOWING, *_LOCKING, *_OPENING)
