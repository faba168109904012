"""Faults of what brokers tell one another: settlements, cancels, and the parts of fences."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/simulation").mutant
_CRASHES: Final = "test_every_step.py::test_a_crash_of_either_broker_changes_nothing"
_CALL: Final = f"{_CRASHES}[call-elsewhere]"
_PROMISE: Final = f"{_CRASHES}[promise-elsewhere]"
_CUT_OFF: Final = f"{_CRASHES}[cut-off-elsewhere]"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "announced-and-not-resumed",
        13,
        "a task that waits for a promise elsewhere is resumed when that is announced",
        "understudy_store.machine.announcements.announce",
        drop("resume_awaiters(s, record.id, [task.id for task in tasks], now)"),
        _PROMISE,
    ),
    _mutant(
        "asked-for-ever",
        18,
        "what has been announced is asked for no more",
        "understudy_store.machine.elsewhere.take_awaiters",
        drop("s.asked.pop((awaited, slot), None)"),
        _CALL,
    ),
    _mutant(
        "waits-elsewhere-are-forgotten-at-a-restart",
        18,
        "after a restart a broker asks again for what its tasks wait for elsewhere",
        "understudy_store.machine.recovery._across_slots",
        drop("elsewhere.ask(s, awaited, slot)"),
        _PROMISE,
    ),
    _mutant(
        "callers-elsewhere-are-forgotten-at-a-restart",
        18,
        "after a restart a broker asks again for the callers of its calls",
        "understudy_store.machine.recovery._across_slots",
        drop("elsewhere.ask_for_callers(s, row.id, texts_from_json(row.tags))"),
        _CUT_OFF,
    ),
    _mutant(
        "cancels-end-at-the-slot",
        18,
        "what a canceled call has made in other slots is canceled with it",
        "understudy_store.machine.announcements.announce",
        drop("_cancel_below(s, record.id, origin_of(record), slot, now)"),
        _CUT_OFF,
    ),
    _mutant(
        "announced-without-an-answer",
        13,
        "an announcement is owed until it is answered",
        "understudy_broker.core.between_slots.BetweenSlots.unblock",
        swap(
            "self._new.append(PromiseAnnounce(slot, told))",
            "(self._new.append(PromiseAnnounce(slot, told)), "
            "self._machine.acknowledge(promise.id, address))",
        ),
        _PROMISE,
    ),
    _mutant(
        "registration-that-comes-late",
        13,
        "a listener that comes after the settlement is told of it by the answer",
        "understudy_broker.core.between_slots.BetweenSlots._on_registered",
        drop("self._machine.apply(PromiseAnnounce(slot, promise), now)"),
        _PROMISE,
    ),
    _mutant(
        "fence-without-its-other-slots",
        None,
        "the part of a fence that is in other slots is sent there",
        "understudy_broker.link.split_fence.SplitFence.take_first",
        swap(
            "self._send(self._under_task(self._fence.commands[n]), partial(self._take, n))",
            "self._take(n, Response(0, Reply(201)))",
        ),
        _CALL,
    ),
    _mutant(
        "suspended-before-the-cancel",
        None,
        "a task is not suspended before its cancels in other slots are answered",
        "understudy_actors.node.fencing.Fencing.cancel",
        drop("activation.requests_open += 1"),
        "tests/unit/actors/node/test_suspension.py",
    ),
    _mutant(
        "step-of-another-slot-not-held",
        None,
        "a step of another slot begins once its create is answered",
        "understudy_actors.node.core.NodeCore._perform",
        swap("slot_of(id) != slot_of(task_id)", "False"),
        "tests/unit/actors/node/test_steps_elsewhere.py",
    ),
    _mutant(
        "step-of-another-slot-performed-again",
        None,
        "a step whose create finds another promise, or its result, is not performed",
        "understudy_actors.node.fencing.Fencing._start_held",
        swap("if taken or not reply.ok", "if not reply.ok"),
        "tests/unit/actors/node/test_steps_elsewhere.py",
    ),
)
