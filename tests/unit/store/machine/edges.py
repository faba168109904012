"""The edges of a task's states, written by hand: which command may take a task from where to where.

The machine has a table of its own (`transitions`), of events. This one is of commands and their
replies, as clients see them, and was not derived from the other: each is checked against the other.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseOccur,
    PromiseSettle,
    Reply,
    ScheduleTrigger,
    StoreCommand,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskPreload,
    TaskRelease,
    TaskRetry,
    TaskSuspend,
)

#: state before and after; None: there was no task
Edge: TypeAlias = tuple[str | None, str]

#: What follows from the settlement of the task's own promise, and of an awaited one.
SETTLED: Final[frozenset[Edge]] = frozenset(
    {
        ("pending", "fulfilled"),
        ("acquired", "fulfilled"),
        ("suspended", "fulfilled"),
        ("halted", "fulfilled"),
    }
)
RESUMED: Final = ("suspended", "pending")

#: What a command with this status has done to the task that it names. A command with another
#: status has done nothing to it, and neither has a command that is not here.
OF_COMMANDS: Final[dict[tuple[type, int], frozenset[Edge]]] = {
    (PromiseCreate, 201): frozenset({(None, "pending"), (None, "fulfilled")}),
    (PromiseOccur, 201): frozenset({(None, "pending"), (None, "fulfilled")}),
    (PromiseSettle, 200): SETTLED | {("fulfilled", "fulfilled")},
    (PromiseCancel, 200): SETTLED | {("fulfilled", "fulfilled")},
    (TaskCreate, 201): frozenset({(None, "acquired"), (None, "fulfilled")}),
    (TaskCreate, 200): frozenset({("pending", "acquired"), ("fulfilled", "fulfilled")}),
    (TaskAcquire, 200): frozenset({("pending", "acquired")}),
    (TaskFence, 200): frozenset({("acquired", "acquired")}),
    (TaskPreload, 200): frozenset({("acquired", "acquired")}),
    (TaskSuspend, 200): frozenset({("acquired", "suspended")}),
    (TaskSuspend, 300): frozenset({("acquired", "acquired")}),
    (TaskFulfill, 200): frozenset({("acquired", "fulfilled")}),
    (TaskRelease, 200): frozenset({("acquired", "pending")}),
    (TaskHalt, 200): frozenset(
        {
            ("pending", "halted"),
            ("acquired", "halted"),
            ("suspended", "halted"),
            ("halted", "halted"),
        }
    ),
    (TaskContinue, 200): frozenset({("halted", "pending")}),
    (TaskRetry, 200): frozenset({("pending", "pending")}),
}

#: What else may happen to a task, by the kind of step.
OF_STEPS: Final[dict[str, frozenset[Edge]]] = {
    # leases lapse, schedules make tasks
    "sweep": frozenset({("acquired", "pending"), (None, "pending"), (None, "fulfilled")}),
    # a node is gone
    "release": frozenset({("acquired", "pending")}),
    # the broker acquires for a node
    "assign": frozenset({("pending", "acquired")}),
}


def check_own(command: StoreCommand, reply: Reply, edge: Edge, *, expired: bool) -> None:
    """Check what a command has done to the task that it names; nothing, if it was refused.

    Parameters
    ----------
    expired
        The task's promise has passed its deadline, which may be noticed in any command.
    """
    if expired and edge in SETTLED:
        return
    allowed = OF_COMMANDS.get((type(command), reply.status))
    assert edge[0] == edge[1] if allowed is None else edge in allowed, ("p20", edge, command, reply)


def check_other(
    kind: str, command: StoreCommand | None, id: str, edge: Edge, *, settled: bool, resumed: bool
) -> None:
    """Check a change of a task that the command does not name, or that no command made.

    Parameters
    ----------
    kind
        As in `OF_STEPS`, or another.
    settled, resumed
        The task's own promise has settled in this step; something that it waits for has.
    """
    if edge in SETTLED and settled:
        return
    if edge == RESUMED and resumed:
        return
    made = isinstance(command, TaskFence) and any(
        isinstance(inner, PromiseCreate) and inner.id == id for inner in command.commands
    )
    if (made or isinstance(command, ScheduleTrigger)) and edge in OF_COMMANDS[PromiseCreate, 201]:
        return
    assert edge in OF_STEPS.get(kind, ()), ("p20", edge, id, kind, command)
