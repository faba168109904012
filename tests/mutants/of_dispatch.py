"""Faults of the broker's dispatch: credit, queues, functions, tasks that kill nodes."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker").mutant
_CORE: Final = "core/test_core.py"
_DISPATCHER: Final = "core/test_dispatcher.py"
_FUNCTIONS: Final = "core/test_dispatcher_functions.py"
_QUARANTINE: Final = "core/test_quarantine.py"

_DISPATCH: Final = (
    _mutant(
        "credit-never-taken",
        18,
        "a node gets no more tasks than it has announced credit for",
        "understudy_broker.core.dispatcher.Dispatcher._assign_to",
        drop("node.sent += 1"),
        _DISPATCHER,
    ),
    _mutant(
        "credit-adds-up",
        18,
        "credit is a running total, so a repeated total adds no credit",
        "understudy_broker.core.dispatcher.Dispatcher.credit",
        swap("node.total:\n    node.total = total", "0:\n    node.total += total"),
        _DISPATCHER,
    ),
    _mutant(
        "refund-lost",
        18,
        "a task that could not be acquired uses no credit",
        "understudy_broker.core.dispatcher.Dispatcher.refund",
        drop("node.sent -= 1"),
        _DISPATCHER,
        _CORE,
    ),
    _mutant(
        "settled-task-handed-out",
        14,
        "a task that settles while it waits leaves the queue",
        "understudy_broker.core.poll_scheme.PollScheme.withdraw",
        drop("self._dispatcher.withdraw(task_id)"),
        _CORE,
    ),
    _mutant(
        "older-version-queued",
        15,
        "a task that is offered again has the newer version",
        "understudy_broker.core.dispatcher.Dispatcher.offer",
        drop("entry.version = task.version"),
        _DISPATCHER,
    ),
    _mutant(
        "last-in-first-out",
        18,
        "tasks of one priority are handed out in the order in which they came",
        "understudy_broker.core.task_queue.Queue.pop",
        swap("lane.popleft()", "lane.pop()"),
        _DISPATCHER,
    ),
    _mutant(
        "priority-turned-round",
        None,
        "the higher priority goes first",
        "understudy_broker.core.task_queue.Queue.push",
        swap("priority > self._top", "priority < self._top"),
        _DISPATCHER,
    ),
    _mutant(
        "one-node-gets-all",
        None,
        "nodes with room take turns",
        "understudy_broker.core.dispatcher.Dispatcher._assign_anycast",
        drop("group.round.rotate(-1)"),
        _DISPATCHER,
    ),
    _mutant(
        "warm-without-room",
        18,
        "the warm node is preferred only while it has room",
        "understudy_broker.core.dispatcher._can_take",
        swap("node.available > 0 and node.has(entry.callee)", "node.has(entry.callee)"),
        _DISPATCHER,
    ),
    _mutant(
        "preferred-without-function",
        None,
        "the warm or preferred node gets a task only if it has the function",
        "understudy_broker.core.dispatcher._can_take",
        swap("node.available > 0 and node.has(entry.callee)", "node.available > 0"),
        _FUNCTIONS,
    ),
    _mutant(
        "new-function-to-old-node",
        None,
        "a task goes only to a node that has its function, during a deploy too",
        "understudy_broker.core.dispatcher._Group.distribute",
        swap("frozenset.intersection(*known)", "frozenset().union(*known)"),
        _FUNCTIONS,
    ),
    _mutant(
        "waits-although-registered",
        None,
        "a function that is registered later gets the tasks that wait for it",
        "understudy_broker.core.dispatcher.Dispatcher.add_functions",
        drop("self._distribute(group)"),
        _FUNCTIONS,
    ),
    _mutant(
        "unserved-unheard",
        None,
        "somebody is told of calls that wait for a function that no node has",
        "understudy_broker.core.dispatcher._Group.take_unserved",
        drop("found.append((self.name, callee, queue.count))"),
        _FUNCTIONS,
    ),
    _mutant(
        "unicast-starves",
        18,
        "tasks addressed to one node are not starved by those of its group",
        "understudy_broker.core.dispatcher.Dispatcher.assign",
        drop("self._assign_unicast(group, made, fair=True)"),
        _DISPATCHER,
    ),
    _mutant(
        "suspects-together",
        19,
        "a node runs at most one suspect, so that the third crash is certainly caused by it",
        "understudy_broker.core.dispatcher.Dispatcher._assign_suspects",
        swap("node.available <= 0 or node.pid in self.suspects", "node.available <= 0"),
        _DISPATCHER,
        _QUARANTINE,
    ),
    _mutant(
        "suspects-wait-for-ever",
        18,
        "a suspect gives its place to the next after a while",
        "understudy_broker.core.dispatcher.Dispatcher.release_suspects",
        swap("now - since < SUSPECT_MS and holds_suspect(pid, id_)", "holds_suspect(pid, id_)"),
        _DISPATCHER,
        _QUARANTINE,
    ),
    _mutant(
        "parked-one-late",
        None,
        "a task is parked when its crash count reaches the limit",
        "understudy_broker.core.quarantine.Quarantine.halt_if_poisoned",
        swap(
            "execute.crash_count < self._crash_count_max",
            "execute.crash_count <= self._crash_count_max",
        ),
        _QUARANTINE,
    ),
    _mutant(
        "parked-in-name-only",
        16,
        "a parked task is halted, by name, and offered to nobody",
        "understudy_broker.core.quarantine.Quarantine.halt_if_poisoned",
        drop("if not self._machine.apply(TaskHalt(task.id, cause), now).ok:\n    return False"),
        _QUARANTINE,
    ),
)

_PAUSES: Final = "core/test_pauses.py"

_OF_PAUSES: Final = (
    _mutant(
        "paused-group-served",
        None,
        "nothing of a paused group is assigned",
        "understudy_broker.core.dispatcher.Dispatcher.assign",
        swap("group is None or group.is_paused", "group is None"),
        _PAUSES,
    ),
    _mutant(
        "paused-function-served",
        None,
        "a paused function's tasks are kept apart",
        "understudy_broker.core.dispatcher._Group.place",
        swap("callee[0] in self.paused", "not self.paused"),
        _PAUSES,
    ),
    _mutant(
        "paused-suspects-lost",
        None,
        "a suspect is a suspect again after a pause",
        "understudy_broker.core.dispatcher._Group.pause",
        drop(
            "for (alone, _), queue in self.suspects.items():\n"
            "    moved += [(each, (alone, True)) for each in queue.take_all()]"
        ),
        _PAUSES,
    ),
    _mutant(
        "pause-forgotten-with-its-group",
        None,
        "a group that was idle in between is still paused",
        "understudy_broker.core.dispatcher.Dispatcher._group",
        swap("self._pauses.get(name, frozenset())", "frozenset()"),
        _PAUSES,
    ),
    _mutant(
        "pause-counts-unkept",
        None,
        "a pause counts only if the store has kept it",
        "understudy_broker.core.pauses.Pauses.end",
        swap("if reply.ok:", "if reply:"),
        _PAUSES,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_DISPATCH, *_OF_PAUSES)
