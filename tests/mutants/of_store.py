"""Faults of the store around its rules: batches, restarts, packing, engines."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/store").mutant
_PROMISES: Final = "machine/test_promises.py"
_TASKS: Final = "machine/test_tasks.py"
_FENCES: Final = "machine/test_fence_and_suspend.py"
_CALLBACKS: Final = "machine/test_callbacks_and_listeners.py"
_BATCHES: Final = "machine/test_batches.py"
_SWEEP: Final = "machine/test_sweep.py"
_EDGES: Final = "machine/test_edges.py"
_PACKED: Final = "machine/test_packed.py"
_SEARCHES: Final = "engines/test_searches.py"
_SEARCHING_TESTS: Final = "tests/integration/store/test_searching.py"
_OPEN: Final = "tests/integration/store/test_open.py"
_LOCKS: Final = "tests/integration/store/test_locks.py"
_ATTENDED: Final = "test_attended.py"
_WRITER: Final = "tests/integration/store/test_writer.py"

_BATCHES_AND_RESTARTS: Final = (
    _mutant(
        "time-goes-back",
        4,
        "time in the store never goes backwards",
        "understudy_store.machine.machine.Machine.apply",
        swap("if now > s.now:\n    s.now = now\ntry", "s.now = now\ntry"),
        _PROMISES,
        _CALLBACKS,
        _TASKS,
        _FENCES,
        _SWEEP,
    ),
    _mutant(
        "pending-promise-forgotten",
        6,
        "promises never vanish: only history leaves the memory",
        "understudy_store.machine.batches.committed",
        swap("row.promise.settled_at is not None", "row is not None"),
        _BATCHES,
    ),
    _mutant(
        "history-dropped-under-a-command",
        6,
        "rows that a command of this batch needs stay until it is done",
        "understudy_store.machine.batches.committed",
        swap("row.promise.id in pinned", "row.promise.id in ()"),
        _BATCHES,
    ),
    _mutant(
        "snapshot-without-children",
        6,
        "after a restart, a cancel still finds the calls that the canceled one waits for",
        "understudy_store.machine.recovery._restore_link",
        drop("link(s, row.id, {TAG_BRANCH: branch})"),
        _BATCHES,
        _PROMISES,
        _CALLBACKS,
    ),
    _mutant(
        "version-lost-at-restart",
        10,
        "a restart of the broker issues no version twice",
        "understudy_store.machine.live.Task.restored",
        swap("record.version", "min(record.version, 1)"),
        _BATCHES,
    ),
    _mutant(
        "callbacks-not-stored",
        12,
        "callbacks are in the batch that suspends",
        "understudy_store.machine.batches.take",
        swap(
            "[(awaited, awaiter) for awaited, new in s.callbacks_new.items() for awaiter in new]",
            "[]",
        ),
        _BATCHES,
        _TASKS,
        _FENCES,
    ),
    _mutant(
        "callbacks-lost-at-restart",
        12,
        "a waiting task still waits after a restart",
        "understudy_store.machine.recovery.admit",
        swap("awaiters = callbacks.pop(promise_id, ())", "awaiters: Sequence[str] = ()"),
        _BATCHES,
        _TASKS,
        _FENCES,
    ),
    _mutant(
        "unblocked-twice",
        13,
        "a consumed listener is owed exactly one unblock",
        "understudy_store.machine.machine.Machine.take_unblocks",
        swap("new, s.unblocks_new = s.unblocks_new, {}", "new = dict(s.unblocks_new)"),
        _PROMISES,
        _CALLBACKS,
        _BATCHES,
    ),
    _mutant(
        "unblocks-lost-at-restart",
        13,
        "messages that are owed are still owed after a restart",
        "understudy_store.machine.recovery.admit",
        drop("s.unblocks[record.id, address] = record"),
        _BATCHES,
        _PROMISES,
        _CALLBACKS,
    ),
    _mutant(
        "offer-of-a-version-to-come",
        15,
        "an execute names a version that was issued",
        "understudy_store.machine.live.execute_of",
        swap("task.version", "task.version + 1"),
        _TASKS,
        _FENCES,
        _SWEEP,
    ),
    _mutant(
        "execute-to-another-group",
        15,
        "an execute goes to the target of its promise",
        "understudy_store.machine.live.execute_of",
        swap("task.version, task.target", 'task.version, "poll://any@elsewhere"'),
        _EDGES,
    ),
)

_PACKING: Final = (
    _mutant(
        "cold-callbacks-lost",
        12,
        "a suspended task is also on the callbacks of a packed promise",
        "understudy_store.machine.packed.pack",
        swap("callbacks or None", "None"),
        _PACKED,
    ),
    _mutant(
        "cold-resumes-lost",
        13,
        "the resumes of a task survive packing",
        "understudy_store.machine.live.Task.restored",
        swap("dict.fromkeys(record.resumes) if record.resumes else None", "None"),
        _PACKED,
        _BATCHES,
    ),
    _mutant(
        "cold-node-forgotten",
        None,
        "a node that may still have the activation gets the task back",
        "understudy_store.machine.packed.pack",
        swap("(*promise, warm, *", "(*promise, None, *"),
        _PACKED,
    ),
    _mutant(
        "looked-into-and-kept-as-bytes",
        None,
        "a promise is in memory once: as objects, or packed",
        "understudy_store.machine.packed.get",
        swap(
            "unpack(promise_id, s.packed.pop(promise_id))",
            "unpack(promise_id, s.packed[promise_id])",
        ),
        _PACKED,
    ),
    _mutant(
        "cold-before-it-is-stored",
        None,
        "a promise is not packed before its changes are written",
        "understudy_store.machine.packed.pack_idle",
        swap("promise_id not in s.dirty and _may_be_packed", "_may_be_packed"),
        _PACKED,
    ),
    _mutant(
        "cold-in-the-hands-of-a-node",
        None,
        "a task that a node works on is not idle",
        "understudy_store.machine.packed.is_idle",
        swap("task_state not in HOLDS", 'task_state != "pending"'),
        _PACKED,
    ),
    _mutant(
        "cold-after-one-round",
        None,
        "only a promise that two rounds have found idle is packed",
        "understudy_store.machine.packed._pack_if_unchanged",
        swap("s.idle_before.get(promise_id)", "s.idle_before.get(promise_id, version)"),
        _PACKED,
    ),
    _mutant(
        "cold-though-it-ran-between",
        None,
        "a task that ran between two rounds has not been idle",
        "understudy_store.machine.packed._pack_if_unchanged",
        swap("s.idle_before.get(promise_id) != version", "promise_id not in s.idle_before"),
        f"{_PACKED}::test_what_ran_between_two_rounds_stays_warm",
    ),
)

_ENGINES: Final = (
    _mutant(
        "no-fsync",
        None,
        "rows in the file are on the disk, so the journal may be overwritten",
        "understudy_store.engines.sqlite.database._WRITER_PRAGMAS",
        swap('"PRAGMA synchronous=FULL"', '"PRAGMA synchronous=OFF"'),
        f"{_OPEN}::test_pragmas",
    ),
    _mutant(
        "no-file-lock",
        10,
        "a store has one owner, so a version has one issuer",
        "understudy_store.engines.sqlite.files.FileLock._lock",
        drop("fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"),
        f"{_LOCKS}::test_a_forked_child_does_not_keep_the_lock",
    ),
    _mutant(
        "commit-error-swallowed",
        None,
        "a commit that failed is not reported as done",
        "understudy_store.store.Store._commit",
        swap("Exception as error:\n    return self._fail(error)", "Exception:\n    return []"),
        _WRITER,
    ),
    _mutant(
        "going-on-after-a-failed-commit",
        None,
        "after a failed commit nothing more is written",
        "understudy_store.store.Store._commit",
        drop("if self._failure is not None:\n    return self._failure"),
        _WRITER,
    ),
    _mutant(
        "half-a-commit-kept",
        None,
        "a batch is written wholly or not at all",
        "understudy_store.engines.sqlite.database.Database.transaction",
        swap('driver.execute("ROLLBACK")', 'driver.execute("COMMIT")'),
        f"{_SEARCHES}::test_what_the_file_refuses_is_said_later_and_again",
    ),
    _mutant(
        "none-bound-as-a-number",
        5,
        "an absent value is absent when it is read again",
        "understudy_store.engines.sql.statements.BatchStatement.__init__",
        swap("c.nullable or place == 0", "place == 0"),
        f"{_SEARCHES}::test_empty_data_is_not_the_same_as_none",
    ),
    _mutant(
        "none-read-as-nothing-written",
        5,
        "empty bytes are not the same as none",
        "understudy_store.pending_row.value_from_json",
        swap("data is None", "not data"),
        f"{_SEARCHES}::test_empty_data_is_not_the_same_as_none",
    ),
    _mutant(
        "update-without-its-value",
        5,
        "a settled promise's value is on the disk with its state",
        "understudy_store.engines.sql.rows.UPDATE_COLUMNS",
        swap(
            '"value_headers", "value_data"',
            '"param_headers", "param_data"',
        ),
        f"{_SEARCHES}::test_reads_see_their_own_commit",
    ),
    _mutant(
        "attended-overtakes",
        None,
        "commits are done in the order in which they are asked for",
        "understudy_store.store.Store.commit",
        swap("self._writer.idle", "True"),
        f"{_ATTENDED}::test_a_commit_does_not_overtake_those_of_the_writer_thread",
    ),
    _mutant(
        "begun-after-a-failure",
        None,
        "after a commit has failed nothing more is committed",
        "understudy_store.store.Store._begin",
        swap("self._failure is not None", "False"),
        f"{_ATTENDED}::test_a_commit_that_fails_while_it_is_completed_is_the_last",
    ),
    _mutant(
        "closed-before-it-is-complete",
        None,
        "a store that closes does all that it was asked for",
        "understudy_store.store.Store.close",
        drop("self.attended_commit.leave()"),
        f"{_ATTENDED}::test_close_completes_it",
    ),
    _mutant(
        "attended-beside-the-reader",
        None,
        "the reader thread and the loop do not wait for each other",
        "understudy_store.store.Store.lookup",
        swap("attended and self._reader.idle", "attended"),
        f"{_ATTENDED}::test_no_lookup_is_attended_to_beside_what_the_reader_thread_does",
    ),
    _mutant(
        "closed-in-the-middle-of-a-lookup",
        None,
        "a store that closes answers all that it was asked",
        "understudy_store.store.Store.close",
        drop("self.attended_lookup.leave()"),
        f"{_ATTENDED}::test_close_completes_a_lookup",
    ),
    _mutant(
        "handed-over-in-front-of-a-commit",
        None,
        "slots are handed over after all commits to them, also if one of these is cut",
        "understudy_store.store.Store.hand_over",
        drop("self.attended_commit.leave()"),
        "tests/integration/store/postgres/test_attended.py"
        "::test_slots_are_handed_over_after_a_commit_that_is_cut_meanwhile",
    ),
    _mutant(
        "preload-without-the-settled",
        None,
        "a preload holds the settled children, or they would run again",
        "understudy_store.engines.sql.queries.Queries.preload",
        swap("_promise.c.branch == command.id", "_promise.c.branch == command.id, _PENDING"),
        f"{_SEARCHES}::test_reads_see_their_own_commit",
    ),
    _mutant(
        "preload-without-the-detached",
        None,
        "a preload holds detached calls, or one whose id changes would be made twice",
        "understudy_store.engines.sql.queries.Queries.preload",
        swap("_promise.c.id != origin", "_promise.c.id == origin"),
        f"{_SEARCHES}::test_reads_see_their_own_commit",
    ),
    _mutant(
        "preload-not-projected",
        17,
        "a preload is projected",
        "understudy_store.engines.sql.answers.answer",
        swap(
            "Reply(200, promises=[projected(row.promise, now) for row in rows])",
            "Reply(200, promises=[row.promise for row in rows])",
        ),
        f"{_SEARCHES}::test_preloads_see_the_projection",
    ),
    _mutant(
        "time-not-stored",
        4,
        "after a restart, time continues from that of the store, whatever the clock says",
        "understudy_store.engines.sqlite.database.Database.write",
        swap("memtable.now > self._now", "memtable.now > self._now and self._now < 0"),
        f"{_WRITER}::test_close_does_all_that_is_queued",
    ),
    _mutant(
        "updates-of-nothing",
        6,
        "an update of an absent row stops the store",
        "understudy_store.engines.sqlite.database.Database._update",
        swap("updated != len(rows)", "updated > len(rows)"),
        f"{_SEARCHES}::test_what_the_file_refuses_is_said_later_and_again",
    ),
)

_SEARCHING: Final = (
    _mutant(
        "page-without-bound",
        None,
        "a page ends at a bound in bytes, whatever limit is asked for",
        "understudy_store.engines.searches.page",
        swap("left < 0", "left < -(10**9)"),
        f"{_SEARCHES}::test_pages_together_are_everything",
    ),
    _mutant(
        "first-of-a-page-skipped",
        None,
        "all pages together are everything",
        "understudy_store.engines.searches.page",
        swap("return items, key(items[-1])", "return items, key(item)"),
        f"{_SEARCHES}::test_pages_together_are_everything",
    ),
    _mutant(
        "page-measured-without-values",
        None,
        "a page counts the bytes of values as well as of params",
        "understudy_store.engines.sql.queries._PROMISE_SIZES",
        swap('"value_data", "param_headers"', '"param_headers"'),
        f"{_SEARCHES}::test_pages_end_at_a_bound_in_bytes",
    ),
    _mutant(
        "search-behind-commits",
        None,
        "a search sees every commit that was done before it",
        "understudy_store.engines.journaled.searcher.Searcher.search",
        swap("self._written >= wanted", "self._written <= wanted"),
        f"{_SEARCHING_TESTS}::test_a_search_sees_every_commit_before_it[sqlite]",
    ),
    _mutant(
        "search-waits-for-ever",
        None,
        "a search does not wait for a table that gets no more commits",
        "understudy_store.engines.journaled.journaled_table.JournaledTable._follow",
        drop("self.searcher.end(self.failure)"),
        f"{_SEARCHING_TESTS}::test_a_search_does_not_wait_for_a_table_that_gets_no_more[sqlite]",
    ),
    _mutant(
        "search-of-many-moments",
        None,
        "a search sees the store as of one moment",
        "understudy_store.engines.sqlite.database.connect_reader",
        swap('"BEGIN"', "None"),
        f"{_SEARCHING_TESTS}::test_commits_and_finds_go_on_during_a_search[sqlite]",
    ),
    _mutant(
        "search-after-the-end",
        None,
        "the end of a store ends a search",
        "understudy_store.engines.sqlite.searcher.FileSearcher.stop",
        swap("self._stopped = True", "pass"),
        f"{_SEARCHING_TESTS}::test_the_end_of_a_store_ends_a_search[sqlite]",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (
    *_BATCHES_AND_RESTARTS,
    *_PACKING,
    *_ENGINES,
    *_SEARCHING,
)
