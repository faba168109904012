"""The properties of steps that are about what tasks tell people: attempts, times, suspensions."""

from __future__ import annotations

from typing import Final

from tests.unit.store.machine.views import Step, View
from understudy_store.commands import TaskFulfill


def p29(before: View, after: View, step: Step) -> None:
    """Exactly the attempts that end badly are counted."""
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        if old is None:
            assert new.logged == 0, ("p29", new)
            continue
        asked = step.command
        is_failed = (
            isinstance(asked, TaskFulfill)
            and (asked.id, asked.state) == (key, "rejected")
            and new.state != old.state == "acquired"
            and after.promises[key].state == "rejected"
        )
        is_parked = new.state == "halted" != old.state
        is_back = (old.state, new.state) == ("acquired", "pending")
        assert new.logged == old.logged + (is_failed or is_parked or is_back), ("p29", old, new)


def p30(before: View, after: View, step: Step) -> None:
    """Suspensions are counted; times and node are those of acquiring."""
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        if old is None or (old.state, new.state) == ("pending", "acquired"):
            if new.state == "acquired":
                first = step.now if old is None or old.started_at is None else old.started_at
                assert (new.started_at, new.acquired_at) == (first, step.now), ("p30", new)
                assert new.queued_at is not None, ("p30", new)
                assert new.queued_at <= step.now, ("p30", new)
            continue
        shown = ("node", "started_at", "acquired_at", "queued_at")
        for name in shown:
            assert getattr(new, name) == getattr(old, name), ("p30", old, new)
        suspended = (old.state, new.state) == ("acquired", "suspended")
        assert new.suspensions == old.suspensions + suspended, ("p30", old, new)


ALL: Final = (p29, p30)
