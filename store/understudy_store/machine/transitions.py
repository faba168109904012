"""Which transitions are legal: two tables, one of promises and one of tasks.

This is where a rule about states is changed. Nothing else in the machine compares states in order
to decide what is allowed: it looks up ``(state, event)``, and a missing key *is* the refusal,
status 409.

A **promise** leaves ``pending`` once and for all. Clients resolve, reject or cancel it; the clock
brings its deadline, which rejects it, or, of a timer, resolves it.

A **task** lives as long as its promise is pending. The events of its holder (``fence``,
``suspend``, ``stay``, ``fulfill``, ``release``, ``renew``) are only for an acquired task, and the
caller has shown the version that it holds. ``stay`` is a suspend that found something settled.
Everyone else's events: ``acquire`` takes a pending task; ``resume`` says that something awaited has
settled, which wakes a suspended task and is only remembered by the others; ``lapse`` takes a task
from a holder that is gone or silent; ``halt`` and ``continue`` are an operator's; ``settle``
follows from the promise. ``fulfilled`` has no way out, so no key begins with it.

What a task holds is a function of its state (semantics: property 9): `pending` a retry time,
`acquired` a pid, a ttl and a lease, the others nothing. `holding.py` keeps that; this file only
says where to go.
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
    PromiseState,
    TaskState,
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
    "halt",
    "continue",
    "settle",
]

#: what a client may ask for, and the event that it is; anything else is a 400
ASKED: Final[Mapping[str, PromiseEvent]] = {
    RESOLVED: "resolve",
    REJECTED: "reject",
    CANCELED: "cancel",
}

PROMISE: Final[Mapping[tuple[PromiseState, PromiseEvent], PromiseState]] = {
    (PENDING, "resolve"): RESOLVED,
    (PENDING, "reject"): REJECTED,
    (PENDING, "cancel"): CANCELED,
    (PENDING, "deadline"): TIMEDOUT,
    (PENDING, "ring"): RESOLVED,
}

TASK: Final[Mapping[tuple[TaskState, TaskEvent], TaskState]] = {
    ("pending", "acquire"): "acquired",
    ("pending", "resume"): "pending",
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
    ("acquired", "halt"): "halted",
    ("acquired", "settle"): "fulfilled",
    ("suspended", "resume"): "pending",
    ("suspended", "halt"): "halted",
    ("suspended", "settle"): "fulfilled",
    ("halted", "halt"): "halted",
    ("halted", "continue"): "pending",
    ("halted", "resume"): "halted",
    ("halted", "settle"): "fulfilled",
}
