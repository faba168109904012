"""Faults of the engine over PostgreSQL: its fence, its sessions, its takeovers."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/integration/store/postgres").mutant
_ENGINE: Final = "understudy_store.engines.postgres"
_FENCE: Final = "test_fence.py"
_SHARED: Final = "test_shared.py"
_TAKEN: Final = "test_shared_takeover.py"
_OPENED: Final = "test_shared_openings.py"
_UPGRADED: Final = "test_upgrades.py"
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
            drop("bring_in(connection, texts, self._name, [id_ for (id_,) in fenced])"),
            swap(
                "fenced = connection.execute(",
                "bring_in(connection, texts, self._name, ids)\nfenced = connection.execute(",
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
    _mutant(
        "slots-moved-afterwards",
        None,
        "the slots of a dead broker go to others in the transaction that fences it",
        f"{_ENGINE}.keeper.Taker",
        (
            drop("give_orphans(connection, texts)"),
            swap(
                "with connection.transaction():\n"
                '    connection.execute(f"set local lock_timeout = {LOCK_MS}")\n'
                "    self._take_over(connection, dead)",
                "with connection.transaction():\n"
                '    connection.execute(f"set local lock_timeout = {LOCK_MS}")\n'
                "    self._take_over(connection, dead)\n"
                "with connection.transaction():\n"
                '    connection.execute(f"set local lock_timeout = {LOCK_MS}")\n'
                "    give_orphans(connection, self._statements)",
            ),
        ),
        f"{_TAKEN}::test_a_takeover_is_done_wholly_or_not_at_all",
    ),
    _mutant(
        "shared-taken-by-the-fenced",
        None,
        "a broker that is fenced itself takes over from no other that shares the store",
        f"{_ENGINE}.keeper.Taker._take_over",
        swap(
            "connection.execute(texts.unfenced, self._writer.keys).fetchone() is None",
            "not self._writer.keys",
        ),
        f"{_TAKEN}::test_a_fenced_broker_takes_nothing_over",
    ),
    _mutant(
        "slots-to-the-fenced",
        None,
        "slots of the dead are given to brokers that live",
        f"{_ENGINE}.statements.Statements._texts_of_slots",
        swap(
            'f"from {s}.writer where joined and not fenced and address is not null"',
            'f"from {s}.writer where joined and address is not null"',
        ),
        f"{_TAKEN}::test_nobody_is_given_slots_who_is_fenced",
    ),
    _mutant(
        "no-forgiveness",
        None,
        "a broker that was away from the database judges nobody for a lease",
        f"{_ENGINE}.keeper.Keeper._look",
        swap("now - self._beaten_at > AWAY * LEASE_S", "now < self._beaten_at"),
        f"{_TAKEN}::test_a_broker_that_was_away_itself_judges_nobody_for_a_lease",
    ),
    _mutant(
        "judged-at-once",
        None,
        "a broker that has just begun judges nobody for a lease",
        f"{_ENGINE}.keeper.Keeper.__init__",
        swap("self._beaten_at = -math.inf", "self._beaten_at = elapsed_s()"),
        f"{_TAKEN}::test_a_broker_that_has_just_begun_judges_nobody_for_a_lease",
    ),
    _mutant(
        "shared-journal-read-before-the-fence",
        None,
        "a takeover from a broker that shares the store reads the journal after the fence",
        f"{_ENGINE}.keeper.Taker._take_over",
        (
            drop("bring_in(connection, texts, self._name, [id_ for (id_,) in fenced])"),
            swap(
                "fenced = connection.execute(texts.fence, fence).fetchall()",
                "bring_in(connection, texts, self._name, dead)\n"
                "fenced = connection.execute(texts.fence, fence).fetchall()",
            ),
        ),
        f"{_TAKEN}::test_a_takeover_sees_the_commit_that_it_waited_for",
    ),
    _mutant(
        "handed-over-without-the-journal",
        None,
        "a slot takes all commits along when it is handed over",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.give_away",
        drop("self._write_memtables()"),
        f"{_SHARED}::test_a_slot_takes_all_commits_along",
    ),
    _mutant(
        "handed-over-to-the-fenced",
        None,
        "slots are handed over to brokers that live",
        f"{_ENGINE}.log.PostgresLog._hand_over",
        swap("if slots[slot] in living", "if living"),
        f"{_SHARED}::test_only_own_slots_are_handed_over_and_only_to_the_living",
    ),
    _mutant(
        "slots-of-others-handed-over",
        None,
        "a broker hands its own slots over, and no others",
        f"{_ENGINE}.statements.Statements._texts_of_slots",
        (
            swap(
                'self.epochs = f"select slot, epoch from {s}.slot where writer = %(writer)s"',
                'self.epochs = f"select slot, epoch from {s}.slot"',
            ),
            swap(
                '"where k.slot = g.slot and k.epoch = g.epoch and k.writer = %(writer)s"',
                '"where k.slot = g.slot and k.epoch = g.epoch and %(writer)s > 0"',
            ),
        ),
        f"{_SHARED}::test_only_own_slots_are_handed_over_and_only_to_the_living",
    ),
    _mutant(
        "handed-over-by-an-old-session",
        None,
        "an attempt to hand over whose connection was lost can do nothing later",
        f"{_ENGINE}.statements.Statements._texts_of_slots",
        swap(
            'f"select 1 from {s}.writer where id = %(writer)s and session = %(session)s "',
            'f"select 1 from {s}.writer where id = %(writer)s and %(session)s > 0 "',
        ),
        f"{_SHARED}::test_an_attempt_to_hand_over_that_comes_late_does_nothing",
    ),
    _mutant(
        "loaded-before-the-takeover",
        None,
        "slots are loaded once the takeover is committed",
        f"{_ENGINE}.table.PostgresTable.load_slots",
        swap(
            "connection.execute(texts.own, values).fetchone() != (len(wanted),)",
            "not wanted",
        ),
        f"{_TAKEN}::test_slots_cannot_be_loaded_while_they_are_taken_over",
    ),
    _mutant(
        "known-of-slots-that-were-away",
        None,
        "nothing is known of the ids of a slot that comes back",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.forget",
        drop("self._absent.forget(frozenset(slots))"),
        f"{_SHARED}::test_nothing_is_known_of_slots_that_were_away",
    ),
    _mutant(
        "learned-of-slots-that-left",
        None,
        "a find that was under way when a slot left learns nothing",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.forget",
        drop("self._table_writes += 1"),
        f"{_SHARED}::test_a_find_during_a_hand_over_learns_nothing",
    ),
    _mutant(
        "fresh-for-too-long",
        None,
        "memory is fresh only for a part of a lease after a beat",
        f"{_ENGINE}.keeper.FRESH",
        swap("0.8", "0.9"),
        f"{_SHARED}::test_memory_is_fresh_for_a_part_of_a_lease_after_a_beat",
    ),
    _mutant(
        "sole-beside-shared",
        None,
        "a store that is shared is not opened by a broker that wants it for itself",
        f"{_ENGINE}.opening.Opener._fence",
        swap("connection.execute(texts.mark_shared).rowcount", "False"),
        f"{_OPENED}::test_a_store_that_was_shared_is_not_opened_by_a_broker_without_a_name",
    ),
    _mutant(
        "no-beats-while-opening",
        None,
        "a broker that waits while it opens the store does not count as gone",
        f"{_ENGINE}.pulse.Pulse._run",
        swap("while not self._closed.wait(BEAT_S)", "while not self._closed.wait(3600.0)"),
        f"{_OPENED}::test_an_opening_beats_while_it_waits",
    ),
    _mutant(
        "refuses-whom-it-has-no-room-for",
        None,
        "a database that has no connection left is waited for at the start",
        f"{_ENGINE}.opening.Opener._refuse_if_up",
        swap("!= Ping.OK or means_full(message_of(error))", "!= Ping.OK"),
        "test_advice.py::test_no_connection_left_at_the_start_is_waited_for",
    ),
    _mutant(
        "every-trouble-is-an-absence",
        None,
        "a server that answers is not said to be away",
        f"{_ENGINE}.connections.trouble_of",
        swap("if PGconn.ping(conninfo.encode()) != Ping.OK:", "if True:"),
        "test_advice.py",
    ),
    _mutant(
        "migrates-under-brokers-that-live",
        None,
        "tables change only when no broker lives that does not know them",
        f"{_ENGINE}.opening.Opener._in_the_way",
        swap("self._breaks is not None", "False"),
        _UPGRADED,
    ),
    _mutant(
        "no-way-back",
        None,
        "an older broker opens a store to which a newer one has only added",
        f"{_ENGINE}.schema.revision_of",
        swap("if oldest in migrations.REVISIONS:", "if False:"),
        _UPGRADED,
    ),
    _mutant(
        "two-deployments-in-one-schema",
        None,
        "brokers of one store are of one deployment",
        f"{_ENGINE}.opening.Opener._agree",
        swap("if row is not None:", "if False:"),
        f"{_OPENED}::test_a_broker_of_another_deployment_is_refused",
    ),
    _mutant(
        "named-while-others-work",
        None,
        "a deployment gets no name while brokers work that know of none",
        f"{_ENGINE}.opening.Opener._agree",
        swap("each.joined and each.is_alive", "False"),
        f"{_OPENED}::test_a_deployment_gets_its_name_while_no_broker_works_without_one",
    ),
    _mutant(
        "read-only-is-the-end",
        None,
        "a database that takes no writes for a while is waited for",
        f"{_ENGINE}.connections._LOST",
        swap('"53300", "25006"', '"53300"'),
        "tests/integration/sdk/test_shared_trouble.py",
    ),
    _mutant(
        "standby-is-refused-beside-others",
        None,
        "of several servers the one that takes writes is waited for",
        f"{_ENGINE}.opening.Opener._refuse_if_up",
        swap("self._connector.address.has_others and is_standby(connection)", "False"),
        _STANDBYS,
    ),
    _mutant(
        "back-as-if-it-had-stayed",
        None,
        "a slot that has left and come back is not taken for one that has stayed",
        f"{_ENGINE}.shared_engine.SharedPostgresEngine.hand_over",
        swap("if not back:", "if True:"),
        f"{_SHARED}::test_a_slot_that_is_back_already_has_left_all_the_same",
    ),
)
