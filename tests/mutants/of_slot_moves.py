"""Faults between slots, and of slots that move from one broker to another."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, drop, swap

_mutant = Area("tests/unit").mutant
_ELSEWHERE: Final = "store/machine/test_elsewhere.py"
_BETWEEN: Final = "broker/core/test_between_slots.py"
_MOVES: Final = "broker/core/test_slot_moves.py"
_PLAN: Final = "broker/core/test_slot_plan.py"
_ROUTING: Final = "broker/link/test_routing.py"
_MACHINE: Final = "understudy_store.machine"
_CORE: Final = "understudy_broker.core"

_WAITS: Final = (
    _mutant(
        "awaits-stay-after-the-announcement",
        28,
        "what was announced is awaited no longer",
        f"{_MACHINE}.elsewhere.take_awaiters",
        drop("del task.awaits[awaited]"),
        _ELSEWHERE,
    ),
    _mutant(
        "awaits-outlive-the-task",
        28,
        "a task that is over awaits nothing",
        f"{_MACHINE}.task_moves.fulfill",
        drop("elsewhere.forget(s, task)"),
        _ELSEWHERE,
    ),
    _mutant(
        "asked-once-for-ever",
        None,
        "what is awaited again is asked for again",
        f"{_MACHINE}.elsewhere.take_awaiters",
        drop("s.asked.pop((awaited, slot), None)"),
        _ELSEWHERE,
    ),
    _mutant(
        "not-asked-after-a-restart",
        None,
        "a restart asks for all that tasks await",
        f"{_MACHINE}.recovery._across_slots",
        drop("elsewhere.ask(s, awaited, slot)"),
        _ELSEWHERE,
    ),
    _mutant(
        "announcement-resumes-nobody",
        None,
        "who waits elsewhere is resumed",
        f"{_MACHINE}.announcements.announce",
        drop("resume_awaiters(s, record.id, [task.id for task in tasks], now)"),
        _ELSEWHERE,
    ),
    _mutant(
        "calls-elsewhere-go-on-after-a-cancel",
        None,
        "calls are canceled with a caller in another slot",
        f"{_MACHINE}.announcements.announce",
        swap("record.state == CANCELED", "False"),
        _ELSEWHERE,
    ),
    _mutant(
        "calls-do-not-listen-to-callers",
        None,
        "the slot of a call listens to its caller",
        f"{_MACHINE}.promises.add",
        drop("elsewhere.ask_for_callers(s, promise_id, tags)"),
        _ELSEWHERE,
    ),
    _mutant(
        "schedule-waits-for-nobody",
        None,
        "a schedule goes on once its promise exists elsewhere",
        f"{_MACHINE}.schedule_runs._make_elsewhere",
        drop("s.occurring[schedule.id] = command"),
        _ELSEWHERE,
    ),
)

_REQUESTS: Final = (
    _mutant(
        "asked-for-before-the-commit",
        None,
        "nothing is asked of others before what it comes from is durable",
        f"{_CORE}.between_slots.BetweenSlots.collect",
        swap(
            "self._new += self._machine.take_requests()",
            "self._ready.extend(self._machine.take_requests())",
        ),
        _BETWEEN,
    ),
    _mutant(
        "waits-for-what-does-not-exist",
        None,
        "a task that waits for a promise that does not exist is parked",
        f"{_CORE}.between_slots.BetweenSlots._on_registered",
        drop("self._park(task_id, command.awaited, now)"),
        _BETWEEN,
    ),
    _mutant(
        "settled-before-it-was-asked-for",
        None,
        "an answer that says that the promise has settled resumes who waits",
        f"{_CORE}.between_slots.BetweenSlots._on_registered",
        drop("self._machine.apply(PromiseAnnounce(slot, promise), now)"),
        _BETWEEN,
    ),
    _mutant(
        "anybody-announces",
        None,
        "only brokers send the commands of brokers",
        f"{_CORE}.requests.RequestHandlers._apply_for_broker",
        swap('session.kind == "broker"', "True"),
        _BETWEEN,
    ),
)

_MOVING: Final = (
    _mutant(
        "given-up-and-still-served",
        None,
        "nothing is performed about slots that leave",
        f"{_CORE}.slot_moves.SlotMoves.give_up",
        drop("self._own.mine.difference_update(slots)"),
        _MOVES,
    ),
    _mutant(
        "forgotten-before-the-commit",
        None,
        "slots leave when everything about them is committed",
        f"{_CORE}.core.BrokerCore._settle_slots",
        swap("if self.committing:", "if False:"),
        _MOVES,
    ),
    _mutant(
        "no-grace-for-holders",
        None,
        "what nobody claims after a move is handed out again",
        f"{_CORE}.slot_moves.SlotMoves.admit",
        drop("self._sessions.set_away(pid, until)"),
        _MOVES,
    ),
    _mutant(
        "looked-up-for-others",
        None,
        "rows of others' slots are not taken into memory",
        f"{_CORE}.request_queue.RequestQueue.select",
        swap("self._own.map is not None and self._own.refuses(session, command)", "False"),
        _MOVES,
    ),
    _mutant(
        "refused-one-and-performed-the-next",
        None,
        "after a refusal, later requests about the slot are refused as well",
        f"{_CORE}.own_slots.OwnSlots.refuses",
        swap("(refused is None or refused.isdisjoint(slots))", "True"),
        _MOVES,
    ),
    _mutant(
        "overtaken-while-waiting",
        None,
        "requests wait behind those about the same slot",
        "understudy_broker.link.routing.Routing._send",
        swap("self._waiting_slots and self.waits_for(slots_concerned(command))", "False"),
        _ROUTING,
    ),
    _mutant(
        "loads-and-gives-at-once",
        None,
        "a broker gives nothing away while it loads",
        f"{_CORE}.slot_plan.SlotPlan.next_load",
        swap("self._loading or self._giving", "self._loading"),
        _PLAN,
    ),
    _mutant(
        "keeps-slots-when-it-leaves",
        None,
        "a broker that leaves gives everything to the others",
        f"{_CORE}.slot_plan.SlotPlan._find_gifts",
        swap("if self.is_leaving:", "if False:"),
        _PLAN,
    ),
    _mutant(
        "says-that-it-has-what-it-is-giving-away",
        None,
        "peers are told that slots which leave are nobody's",
        f"{_CORE}.slot_plan.SlotPlan._find_map",
        swap("(self.mine - self._giving.keys())", "self.mine"),
        _PLAN,
    ),
    _mutant(
        "joins-before-it-can-listen",
        None,
        "a broker that cannot listen is given no slots",
        "understudy_broker.server.daemon.run_broker",
        drop("_wait_for_address(settings.listen, stopper, log)"),
        "tests/integration/sdk/test_shared_strangers.py::test_a_broker_that_cannot_listen_is_given_no_slots",
    ),
    _mutant(
        "answers-from-memory-after-a-pause",
        None,
        "a broker that was taken over from answers nothing from memory",
        "understudy_broker.server.server.Server._turn",
        swap("self._core.held = not self._sharing.is_fresh", "self._core.held = False"),
        "tests/integration/sdk/test_shared_pauses.py",
    ),
    _mutant(
        "tells-no-map-between-a-load-and-a-gift",
        None,
        "of two maps that a broker tells in a row, the second is newer",
        "understudy_broker.server.sharing.Sharing._take_answers",
        drop("self._tell()"),
        "broker/server/test_sharing.py",
    ),
)

MUTANTS: Final = (*_WAITS, *_REQUESTS, *_MOVING)
