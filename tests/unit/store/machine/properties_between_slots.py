"""Property 28, of waits for promises of other slots."""

from __future__ import annotations

from tests.unit.store.machine.views import Step, View
from understudy_store.commands import PromiseAnnounce, PromiseRegisterCallback, TaskSuspend
from understudy_store.slots import slot_of


def announced(before: View, after: View) -> set[tuple[str, str]]:
    """What tasks that are not over no longer wait for elsewhere, each with the task."""
    return {
        (awaited, key)
        for key, old in before.tasks.items()
        for awaited in old.awaits
        if after.tasks[key].state != "fulfilled" and awaited not in after.tasks[key].awaits
    }


def p28_step(before: View, after: View, step: Step) -> None:
    """Waits elsewhere begin by suspending, and end when the promise is announced in the slot."""
    command = step.command
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        more = set(new.awaits) - set(() if old is None else old.awaits)
        if isinstance(command, PromiseRegisterCallback) and command.awaiter == key:
            assert more <= {command.awaited}, ("p28", old, new, step)
        elif isinstance(command, TaskSuspend) and command.id == key:
            assert more <= set(command.awaited), ("p28", old, new, step)
        else:
            assert not more, ("p28", old, new, step)
    if step.name == "forget_ask":
        return
    for awaited, awaiter in announced(before, after):
        assert isinstance(command, PromiseAnnounce), ("p28", awaited, step)
        assert command.promise.id == awaited, ("p28", awaited, step)
        assert command.slot == slot_of(awaiter), ("p28", awaiter, step)
