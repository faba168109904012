"""A dispatcher with nodes, and tasks to offer to it."""

from __future__ import annotations

import msgspec

from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.task_queue import Callee


class Task(msgspec.Struct, frozen=True):
    id: str
    version: int = 0
    target: str = "poll://any@g"
    priority: int = 0
    warm: str | None = None
    crash_count: int = 0
    callee: Callee | None = None


def given_nodes(*names: str, credit: int = 0) -> Dispatcher:
    dispatcher = Dispatcher()
    for name in names:
        dispatcher.join(f"{name}#1", "g", name)
        dispatcher.credit(f"{name}#1", credit)
    return dispatcher


def assigned(dispatcher: Dispatcher) -> list[tuple[str, str]]:
    return [(made.id, made.pid) for made in dispatcher.assign(0)]


F, G, H = [(name, None) for name in "fgh"]


def knowing(**functions: frozenset[Callee] | None) -> Dispatcher:
    """Nodes with credit, and the functions that each has; None: all."""
    dispatcher = Dispatcher()
    for name, known in functions.items():
        dispatcher.join(f"{name}#1", "g", name, known)
        dispatcher.credit(f"{name}#1", 9)
    return dispatcher


def some(*callees: Callee) -> frozenset[Callee]:
    return frozenset(callees)
