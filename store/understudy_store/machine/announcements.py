"""Announcements: a slot hears that a promise of another slot has settled; see `elsewhere`."""

from __future__ import annotations

from understudy_store.commands import PromiseAnnounce, Reply
from understudy_store.machine import packed
from understudy_store.machine.live import Settlement
from understudy_store.machine.settlement import cancel, note_settlement, resume_awaiters
from understudy_store.machine.state import State, children_of
from understudy_store.machine.validation import Refusal
from understudy_store.records import CANCELED, EMPTY, TAG_BRANCH, origin_of
from understudy_store.slots import SLOTS, slot_of


def announce(s: State, c: PromiseAnnounce, now: int) -> Reply:
    """Take note in a slot that a promise elsewhere has settled."""
    record, slot = c.promise, c.slot
    if record.settled_at is None:
        raise Refusal(400, f"promise {record.id!r} is pending: only settlements are announced")
    if not 0 <= slot < SLOTS:
        raise Refusal(400, f"slot {slot} is not between 0 and {SLOTS - 1}")
    s.asked.pop((record.id, slot), None)
    branch = record.tags.get(TAG_BRANCH)
    if branch is not None and slot_of(branch) == slot:
        note_settlement(s, record, None)
    awaiters = _take_awaiters(s, record.id, slot)
    for awaiter in awaiters:
        waiting = packed.get(s, awaiter)
        assert waiting is not None
        assert waiting.task is not None
        # The node that has its activation may have heard nothing: the promise is another broker's.
        s.settled.append(Settlement(record, waiting.task.warm))
        assert waiting.task.awaits is not None
        del waiting.task.awaits[record.id]
        s.dirty[awaiter] = waiting
    resume_awaiters(s, record.id, awaiters, now)
    if record.state == CANCELED:
        _cancel_below(s, record.id, origin_of(record), slot, now)
    return Reply(200)


def _take_awaiters(s: State, awaited: str, slot: int) -> list[str]:
    """Return the tasks of a slot that wait for a promise elsewhere, and forget that they do."""
    awaiters = s.awaiters_elsewhere.get(awaited)
    if awaiters is None:
        return []
    taken = [awaiter for awaiter in awaiters if slot_of(awaiter) == slot]
    for awaiter in taken:
        del awaiters[awaiter]
    if not awaiters:
        del s.awaiters_elsewhere[awaited]
    return taken


def _cancel_below(s: State, promise_id: str, origin: str, slot: int, now: int) -> None:
    """Cancel what a canceled promise elsewhere has called in this slot."""
    for child_id in list(children_of(s, promise_id)):
        child = packed.get(s, child_id)
        if (
            child is not None
            and slot_of(child_id) == slot
            and child.record.settled_at is None
            and origin_of(child.record) == origin
        ):
            cancel(s, child, EMPTY, now)
