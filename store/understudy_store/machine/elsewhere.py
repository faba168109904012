"""Between slots: what a promise of another slot means to the tasks and promises of this one.

Where slots are shared out over brokers (`MachineConfig.sharded`), a command concerns one slot, and
a promise of another slot is *elsewhere*, even if this machine has that slot as well: either may
leave at any time.

Two things depend on a promise elsewhere: a suspended task that waits for it, and a call that its
function has made, which is to be canceled with it. One rule serves both: **the slot of what depends
is a listener of the promise, and its owner sees to that.** The owner *asks* the owner of the
promise to register ``slot://17``, and asks again after every restart, until it hears. When the
promise settles, the unblock that it owes to that address, as to any other, arrives as a
`PromiseAnnounce` in the slot (`announcements`): the tasks that wait are resumed, and the calls of a
canceled promise are canceled.

So nothing can be lost between two brokers. What depends is stored with the slot that depends: the
ids that a task waits for in the task (`Task.awaits`), and the caller of a call in its tags. What is
asked for is stored with the promise: the listener, and then the unblock until it is acknowledged.
Everything is asked again where one is in doubt, and doing it twice does no harm. The order does not
matter either: a listener that comes after the settlement is answered with it.

**What is not perfect.** A task that suspends on a promise elsewhere which has settled is suspended
all the same, and resumed when the answer comes. A promise stays a listener's to tell although
nothing waits for it any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy_store.machine import packed
from understudy_store.machine.live import Task
from understudy_store.machine.state import State
from understudy_store.records import DETACHED, TAG_BRANCH, TAG_PARENT, TAG_SCOPE
from understudy_store.slots import slot_of


def is_elsewhere(s: State, promise_id: str, slot: int) -> bool:
    """Return whether a promise is in another slot than `slot`, and slots are shared out."""
    return s.config.sharded and slot_of(promise_id) != slot


def wait(s: State, task: Task, awaited: Iterable[str]) -> None:
    """Let a task wait for promises elsewhere."""
    slot = slot_of(task.id)
    if task.awaits is None:
        task.awaits = {}
    for promise_id in awaited:
        task.awaits[promise_id] = None
        enter(s, promise_id, task.id)
        ask(s, promise_id, slot)
    s.dirty[task.id] = s.promises[task.id]


def enter(s: State, awaited: str, awaiter: str) -> None:
    """Note in memory that a task waits for a promise elsewhere."""
    s.awaiters_elsewhere.setdefault(awaited, {})[awaiter] = None


def forget(s: State, task: Task) -> None:
    """Note that a task waits for nothing elsewhere any more, or leaves memory."""
    awaits, task.awaits = task.awaits, None
    for awaited in awaits or ():
        _leave(s, awaited, task.id)


def _leave(s: State, awaited: str, awaiter: str) -> None:
    awaiters = s.awaiters_elsewhere[awaited]
    del awaiters[awaiter]
    if not awaiters:
        del s.awaiters_elsewhere[awaited]


def awaiters(s: State, awaited: str, slot: int) -> list[str]:
    """Return the tasks of a slot that wait for a promise elsewhere."""
    return [each for each in s.awaiters_elsewhere.get(awaited, ()) if slot_of(each) == slot]


def take_awaiters(s: State, awaited: str, slot: int) -> list[Task]:
    """Return the tasks of a slot that wait for a promise elsewhere; they do so no longer."""
    s.asked.pop((awaited, slot), None)
    tasks: list[Task] = []
    for awaiter in awaiters(s, awaited, slot):
        waiting = packed.get(s, awaiter)
        assert waiting is not None
        task = waiting.task
        assert task is not None
        assert task.awaits is not None
        del task.awaits[awaited]
        s.dirty[awaiter] = waiting
        _leave(s, awaited, awaiter)
        tasks.append(task)
    return tasks


def ask(s: State, promise_id: str, slot: int) -> None:
    """Have a slot registered as a listener of a promise, unless that is under way or done."""
    key = (promise_id, slot)
    if key not in s.asked:
        s.asked[key] = None
        s.asks.append(key)


def ask_for_callers(s: State, promise_id: str, tags: dict[str, str]) -> None:
    """Have a pending promise hear of the end of its callers, if these are elsewhere."""
    if tags.get(TAG_SCOPE) == DETACHED:
        return
    slot = slot_of(promise_id)
    for caller in (tags.get(TAG_BRANCH), tags.get(TAG_PARENT)):
        if caller is not None and slot_of(caller) != slot:
            ask(s, caller, slot)
