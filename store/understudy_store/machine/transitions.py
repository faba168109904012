"""The legal transitions: one table of promises, one of tasks.

This is where a rule about states is changed. Nothing else in the store compares states in order to
decide what is allowed or what happens: it looks up ``(state, event)``, and a missing key *is* the
refusal, status 409.

A **promise** leaves ``pending`` once and for all. Clients resolve, reject or cancel it; the clock
brings its deadline, which rejects it, or, of a timer, resolves it (event ``ring``).

A **task** lives as long as its promise is pending.

- The events of its holder are only for an acquired task, and the caller has shown the version that
  it holds: ``fence``, ``suspend``, ``stay`` (a suspend that found something settled), ``fulfill``,
  ``release``, ``renew``.
- ``acquire`` takes a pending task. A task for which it is legal is one that waits for a node.
- ``resume`` says that something awaited has settled. It wakes a suspended task; the others stay as
  they are and only remember it.
- ``lapse`` takes a task from a holder that is gone or silent.
- ``recount`` changes the crash count: the task got somewhere, or a crash is retracted. The count of
  a halted task stays as it is, because it says why the task is parked; ``continue`` resets it.
- ``halt`` and ``continue`` are an operator's; halting a halted task changes nothing.
- ``settle`` follows from the promise. ``fulfilled`` has no way out, so no key begins with it.

What a task holds is a function of its state (semantics: property 9): `HOLDS` says which, and
`task_moves.move` keeps it so.

Two rules about states are not here, because they are not about one state and one event. The
deadline comes before every event: a promise is projected before its state is looked up (`find` in
`settlement`). And the version is compared beside the table (`tasks.check_version`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from understudy_store.records import (
    CANCELED,
    PENDING,
    REJECTED,
    RESOLVED,
    TIMEDOUT,
    PromiseRecord,
    PromiseState,
    TaskState,
    is_timer,
)

PromiseEvent: TypeAlias = Literal["resolve", "reject", "cancel", "deadline", "ring"]
TaskEvent: TypeAlias = Literal[
    "acquire",
    "fence",
    "suspend",
    "stay",
    "fulfill",
    "release",
    "renew",
    "resume",
    "lapse",
    "recount",
    "halt",
    "continue",
    "settle",
]

#: State that a client may ask for, and the event that it stands for; any other state is a 400.
SETTLE_EVENTS: Final[Mapping[str, PromiseEvent]] = {
    RESOLVED: "resolve",
    REJECTED: "reject",
    CANCELED: "cancel",
}

PROMISE_TRANSITIONS: Final[Mapping[tuple[PromiseState, PromiseEvent], PromiseState]] = {
    (PENDING, "resolve"): RESOLVED,
    (PENDING, "reject"): REJECTED,
    (PENDING, "cancel"): CANCELED,
    (PENDING, "deadline"): TIMEDOUT,
    (PENDING, "ring"): RESOLVED,
}

TASK_TRANSITIONS: Final[Mapping[tuple[TaskState, TaskEvent], TaskState]] = {
    ("pending", "acquire"): "acquired",
    ("pending", "resume"): "pending",
    ("pending", "recount"): "pending",
    ("pending", "halt"): "halted",
    ("pending", "settle"): "fulfilled",
    ("acquired", "fence"): "acquired",
    ("acquired", "suspend"): "suspended",
    ("acquired", "stay"): "acquired",
    ("acquired", "fulfill"): "fulfilled",
    ("acquired", "release"): "pending",
    ("acquired", "renew"): "acquired",
    ("acquired", "resume"): "acquired",
    ("acquired", "lapse"): "pending",
    ("acquired", "recount"): "acquired",
    ("acquired", "halt"): "halted",
    ("acquired", "settle"): "fulfilled",
    ("suspended", "resume"): "pending",
    ("suspended", "recount"): "suspended",
    ("suspended", "halt"): "halted",
    ("suspended", "settle"): "fulfilled",
    ("halted", "halt"): "halted",
    ("halted", "continue"): "pending",
    ("halted", "resume"): "halted",
    ("halted", "settle"): "fulfilled",
}

#: The state in which a new task of a pending promise begins.
FIRST_TASK_STATE: Final[TaskState] = "pending"
#: What a task has in a state and in no other (semantics: property 9): an offer that is due, or a
#: lease of its holder. In a state without an entry a task waits for no node.
HOLDS: Final[Mapping[TaskState, Literal["offer", "lease"]]] = {
    "pending": "offer",
    "acquired": "lease",
}


def deadline_event(record: PromiseRecord) -> PromiseEvent:
    """Return the event that the deadline of a promise is."""
    return "ring" if is_timer(record) else "deadline"
