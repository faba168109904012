"""Execution of plans, batch after batch, as a conversation. Pure."""

from __future__ import annotations

from typing import Final

from understudy.repairs.conversation import Conversation
from understudy.repairs.plan import Outcome, Plan, Tally, Target, command_for, outcome_of, refusal
from understudy.repairs.restarts import restart_of, restarted
from understudy_actors.errors import CommandError
from understudy_store.commands import PromiseCreate, PromiseGet
from understudy_store.records import EMPTY, PromiseRecord, Value

#: commands that are under way at once
BATCH: Final = 64
#: restarts that are under way at once, each of which may have large arguments
RESTARTS_BATCH: Final = 16


def execute(plan: Plan, tally: Tally, now_ms: int, value: Value = EMPTY) -> Conversation[Tally]:
    """Do what a plan says, and count what comes of it in `tally`.

    Between two batches it may be ended, or fail, at any time: each call has then been dealt with,
    and is counted, or is as it was.

    Parameters
    ----------
    now_ms
        The broker's time, from which the deadlines of restarted calls count.
    value
        What ``resolve`` settles with.
    """
    size = RESTARTS_BATCH if plan.action == "restart" else BATCH
    for start in range(0, len(plan.targets), size):
        batch = plan.targets[start : start + size]
        if plan.action == "restart":
            yield from _restart(batch, tally, now_ms)
            continue
        answers = yield [command_for(plan.action, each.id, value) for each in batch]
        for target, answer in zip(batch, answers, strict=True):
            tally.add(target, outcome_of(plan.action, answer, value))
    return tally


def _restart(batch: tuple[Target, ...], tally: Tally, now_ms: int) -> Conversation[None]:
    creates: list[tuple[Target, PromiseRecord, PromiseCreate]] = []
    for target, answer in zip(batch, (yield [PromiseGet(each.id) for each in batch]), strict=True):
        if isinstance(answer, CommandError):
            tally.add(target, refusal(answer))
            continue
        record = answer.promise
        assert record is not None
        found = restart_of(record, now_ms)
        if isinstance(found, Outcome):
            tally.add(target, found)
        else:
            creates.append((target, record, found))
    if not creates:
        return
    answers = yield [create for _, _, create in creates]
    for (target, record, _), answer in zip(creates, answers, strict=True):
        tally.add(target, restarted(record, answer))
