"""Faults of the engine over PostgreSQL: its fence, its sessions, its takeovers."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/integration/store/postgres").mutant
_ENGINE: Final = "understudy_store.engines.postgres"
_FENCE: Final = "test_fence.py"
_LOST: Final = "test_lost_connections.py"
_STANDBYS: Final = "test_standbys.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "commits-without-fence",
        None,
        "a broker that another one has taken over writes nothing more",
        f"{_ENGINE}.statements.Statements._texts_of_fence",
        swap(
            'f"where w.id = %(writer)s and w.session = %(session)s and not w.fenced for share"',
            'f"where w.id = %(writer)s and w.session = %(session)s for share"',
        ),
        f"{_FENCE}::test_a_fenced_broker_writes_nothing",
    ),
    _mutant(
        "commits-without-share-lock",
        None,
        "a takeover waits for commits that are under way",
        f"{_ENGINE}.statements.Statements._texts_of_fence",
        swap(
            'f"where w.id = %(writer)s and w.session = %(session)s and not w.fenced for share"',
            'f"where w.id = %(writer)s and w.session = %(session)s and not w.fenced"',
        ),
        f"{_FENCE}::test_a_takeover_sees_the_commit_that_it_waited_for",
    ),
    _mutant(
        "takeover-with-old-eyes",
        None,
        "a takeover sees the commits that it waited for",
        f"{_ENGINE}.connections.Connector.open",
        swap("psycopg.IsolationLevel.READ_COMMITTED", "psycopg.IsolationLevel(3)"),
        f"{_FENCE}::test_a_takeover_sees_the_commit_that_it_waited_for",
    ),
    _mutant(
        "journal-read-before-the-fence",
        None,
        "a takeover reads the journal after nothing more can come into it",
        f"{_ENGINE}.opening.Opener._fence",
        (
            drop("memtable = self._left(connection, writer)"),
            swap(
                'connection.execute(texts.fence, {**keys, "lease": LEASE_S})',
                "memtable = self._left(connection, writer)\n"
                'connection.execute(texts.fence, {**keys, "lease": LEASE_S})',
            ),
        ),
        f"{_FENCE}::test_a_takeover_sees_the_commit_that_it_waited_for",
    ),
    _mutant(
        "commits-of-any-session",
        None,
        "a commit that was sent again is not written a second time by an old session",
        f"{_ENGINE}.statements.Statements._texts_of_fence",
        swap(
            'f"where w.id = %(writer)s and w.session = %(session)s and not w.fenced for share"',
            'f"where w.id = %(writer)s and %(session)s > 0 and not w.fenced for share"',
        ),
        f"{_LOST}::test_a_commit_that_comes_late_writes_nothing",
    ),
    _mutant(
        "follower-without-fence",
        None,
        "a takeover waits for the follower of the broker that it fences",
        f"{_ENGINE}.table.PostgresTable._write",
        swap("connection.execute(texts.unfenced, keys).fetchone() is None", "not keys"),
        f"{_FENCE}::test_a_takeover_waits_for_a_follower",
    ),
    _mutant(
        "followers-write-twice",
        None,
        "of two attempts of the follower, one counts",
        f"{_ENGINE}.table.PostgresTable._write",
        swap("connection.execute(texts.advance, advanced).rowcount != 1", "not advanced"),
        f"{_LOST}::test_a_followers_write_that_was_done_is_not_done_again",
    ),
    _mutant(
        "taken-by-the-fenced",
        None,
        "a broker that is fenced itself takes nothing over",
        f"{_ENGINE}.opening.Opener._fence",
        swap("connection.execute(texts.unfenced, keys).fetchone() is None", "not keys"),
        f"{_FENCE}::test_a_writer_that_was_fenced_takes_nothing_over",
    ),
    _mutant(
        "living-broker-fenced",
        None,
        "a broker that lives keeps its store",
        f"{_ENGINE}.writer.LEASE_S",
        swap("3.0", "0.0"),
        f"{_FENCE}::test_a_broker_that_is_alive_is_waited_for_and_named",
    ),
    _mutant(
        "lost-commits-unnoticed",
        None,
        "a database that lost acknowledged commits is noticed",
        f"{_ENGINE}.writer.check_complete",
        swap("last < acknowledged", "last < 0"),
        f"{_STANDBYS}::test_a_standby_that_lacks_commits_is_noticed",
    ),
    _mutant(
        "taken-for-another-writer",
        None,
        "a broker is not taken for another one with the same number",
        f"{_ENGINE}.statements.Statements._texts_of_fence",
        (
            swap(
                '"and session between %(session)s and %(session)s + 1000000 returning session"',
                '"and %(session)s > 0 returning session"',
            ),
            swap(
                '"where w.id = %(writer)s and w.session between %(session)s and '
                '%(session)s + 1000000"',
                '"where w.id = %(writer)s and %(session)s > 0"',
            ),
        ),
        f"{_STANDBYS}::test_a_standby_that_does_not_know_this_broker_is_noticed",
    ),
    _mutant(
        "pulse-left-behind",
        None,
        "a store that was closed in order is opened at once",
        f"{_ENGINE}.writer.resign",
        drop("connection.execute(statements.stop_pulse, writer.keys)"),
        f"{_FENCE}::test_a_store_that_was_closed_leaves_nothing_to_wait_for",
    ),
)
