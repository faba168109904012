"""Faults of brokers that share a database, which the simulator finds; and of what it has found.

Those of the SQL itself are in `of_postgres`.
"""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_ENGINE: Final = "understudy_store.engines.postgres"
_CORE: Final = "understudy_broker.core"
_unit = Area("tests/unit").mutant
_world = Area("tests/simulation").mutant
_WORLDS: Final = "test_shared_database.py::test_brokers_that_share_a_database"
_STOPPED: Final = "test_shared_database.py::test_a_broker_that_is_stopped_at_any_moment_is_fenced"
_CALM: Final = "test_shared_database.py::test_brokers_that_live_are_left_alone"

_IN_WORLDS: Final = (
    _world(
        "worlds-without-fence",
        27,
        "a commit that the fence has refused is not acknowledged",
        f"{_ENGINE}.log._is_written",
        swap("commit.rows_written == 1", "commit.rows_written <= 1"),
        _STOPPED,
    ),
    _world(
        "worlds-outcome-guessed",
        6,
        "what became of a commit whose connection was cut is looked up in a new session",
        f"{_ENGINE}.log.PostgresLog._begin_session",
        swap(
            "self._session, self._found = next_session("
            "connection, self._statements, self._writer, self.number)",
            "self._session, self._found = next_session("
            "connection, self._statements, self._writer, self.number)\n"
            "self._found = self.number + 1",
        ),
        _WORLDS,
    ),
    _world(
        "worlds-slots-moved-afterwards",
        27,
        "the slots of a dead broker go to others in the transaction that fences it",
        f"{_ENGINE}.keeper.Taker._take_over",
        swap("give_orphans(connection, texts)", "dead or give_orphans(connection, texts)"),
        _WORLDS,
    ),
    _world(
        "worlds-handed-over-without-the-journal",
        6,
        "a slot takes all commits along when it is handed over",
        "understudy_store.engines.journaled.journaled_table.JournaledTable.give_away",
        drop("self._write_memtables()"),
        _WORLDS,
    ),
    _world(
        "worlds-no-forgiveness",
        None,
        "a broker that was away from the database judges nobody for a lease",
        f"{_ENGINE}.keeper.Keeper._look",
        swap("now - self._beaten_at > AWAY * LEASE_S", "now < self._beaten_at"),
        _CALM,
    ),
    _world(
        "worlds-expelled-before-the-commit",
        27,
        "slots leave once everything in them is committed",
        f"{_CORE}.core.BrokerCore._settle_slots",
        swap("if self.committing:", "if step.batch is not None:"),
        _WORLDS,
    ),
)

_FOUND: Final = (
    _unit(
        "leaves-unasked",
        None,
        "a broker that leaves asks the database who is there",
        "understudy_broker.server.sharing.Sharing.has_left",
        swap("self._has_said_so and", "self._plan.is_leaving and"),
        "broker/server/test_sharing.py",
    ),
    _unit(
        "gives-again-at-once",
        None,
        "slots that nobody could be given stay for a while",
        "understudy_broker.server.sharing.Sharing._take_answers",
        drop("self._rests_until = self._clock() + round(REST_S * 1000)"),
        "broker/server/test_sharing.py",
    ),
    _unit(
        "plans-at-each-turn",
        None,
        "what follows from the holdings is worked out once",
        f"{_CORE}.slot_plan.SlotPlan._all_gifts",
        swap("if self._gifts is None:", "if True:"),
        "broker/core/test_slot_plan.py",
    ),
    _unit(
        "leaver-untold",
        None,
        "peers are told of a broker that leaves while nobody else has its slots",
        f"{_CORE}.slot_plan.SlotPlan._find_map",
        swap("self._owned or not living", "not self._owned and living"),
        "broker/core/test_slot_plan.py",
    ),
    _unit(
        "spins-while-slots-leave",
        None,
        "the loop pauses while the last commit is under way",
        f"{_CORE}.core.BrokerCore._settle_slots",
        swap("return Step(step.frames, step.events, step.batch, self._ticks_at())", "return step"),
        "broker/core/test_slot_moves.py",
    ),
    _unit(
        "silent-while-slots-leave",
        None,
        "heartbeats are answered while slots leave",
        f"{_CORE}.core.BrokerCore._settle_slots",
        drop("self._tick(now)"),
        "broker/core/test_slot_moves.py",
    ),
    _unit(
        "spins-while-held",
        None,
        "a broker that may read nothing pauses although requests wait",
        f"{_CORE}.core.BrokerCore.step",
        swap(
            "return Step(self._outbox.take_urgent(), self._events.take(), None, self._ticks_at())",
            "return Step(self._outbox.take_urgent(), self._events.take(), None, self._due_at(now))",
        ),
        "broker/core/test_idle_steps.py",
    ),
    _unit(
        "lost-whatever-the-version",
        10,
        "a claim that one broker refuses says nothing of a later version",
        "understudy_actors.node.core.NodeCore.connected",
        swap("activation.version == version", "activation.version >= version"),
        "actors/node/test_reconnect.py",
    ),
    _unit(
        "warm-under-another-broker",
        None,
        "what was suspended under another broker is dropped at a join",
        "understudy_actors.node.core.NodeCore.connected",
        drop("self.disconnected(is_there)"),
        "actors/node/test_reconnect.py",
    ),
    _unit(
        "judges-claims-of-others",
        None,
        "a broker judges claims in its own slots only",
        f"{_CORE}.membership.Membership._holds",
        swap("if not self._own.has_id(id_):", "if id_ is None:"),
        "broker/core/test_slot_moves.py",
    ),
    _unit(
        "cancel-overtakes-its-create",
        None,
        "a cancel does not overtake the create in another slot",
        "understudy_actors.node.fencing.Fencing.cancel",
        swap("_creates(batch, id)", "_creates(batch, '')"),
        "actors/node/test_steps_elsewhere.py",
    ),
    Area("tests/integration/store/postgres").mutant(
        "fenced-answers",
        17,
        "a fenced broker answers no reads",
        f"{_ENGINE}.table.PostgresTable.answer",
        swap("self._is_shared", "not self._is_shared"),
        "test_shared.py::test_a_fenced_broker_answers_no_reads",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_IN_WORLDS, *_FOUND)
