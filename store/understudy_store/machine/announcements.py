"""Announcements: a slot hears that a promise of another slot has settled; see `elsewhere`."""

from __future__ import annotations

from understudy_store.commands import PromiseAnnounce, Reply
from understudy_store.machine import elsewhere, occurrences, packed
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
    branch = record.tags.get(TAG_BRANCH)
    if branch is not None and slot_of(branch) == slot:
        note_settlement(s, record, None)
    tasks = elsewhere.take_awaiters(s, record.id, slot)
    # The nodes that have their activations may have heard nothing: the promise is another broker's.
    s.settled += [Settlement(record, task.warm) for task in tasks]
    resume_awaiters(s, record.id, [task.id for task in tasks], now)
    occurrences.settled(s, record.id, slot)
    if record.state == CANCELED:
        _cancel_below(s, record.id, origin_of(record), slot, now)
    return Reply(200)


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
