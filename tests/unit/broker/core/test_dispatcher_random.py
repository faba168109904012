"""The dispatcher under random nodes, credit and tasks, compared with a model."""

from __future__ import annotations

import itertools
from collections import deque

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.broker.core.dispatching import F, G, H, Task, some
from understudy_broker.core.dispatcher import SUSPECT_CRASH_COUNT, Dispatcher
from understudy_broker.core.task_queue import Callee

NAMES = ["a", "b", "c"]
FUNCTIONS = [None, some(F), some(F, G), some(G, H), some()]
GROUPS = ["g", "h"]


class DispatcherMachine(RuleBasedStateMachine):
    """Against a model: who may still be sent how many, and what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher = Dispatcher()
        self.room: dict[str, tuple[str, str, int, int]] = {}
        self.functions: dict[str, frozenset[Callee] | None] = {}
        self.queued: dict[str, Task] = {}
        self.ids = (f"t{number}" for number in itertools.count())
        self.known: deque[str] = deque(maxlen=6)
        #: node to the suspect that it has
        self.suspects: dict[str, str] = {}

    @rule(
        name=st.sampled_from(NAMES),
        group=st.sampled_from(GROUPS),
        functions=st.sampled_from(FUNCTIONS),
    )
    def join(self, name: str, group: str, functions: frozenset[Callee] | None) -> None:
        self.dispatcher.join(f"{name}#1", group, name, functions)
        self.room[f"{name}#1"] = (group, name, 0, 0)
        self.functions[f"{name}#1"] = functions

    @rule(name=st.sampled_from(NAMES), callee=st.sampled_from([F, G, H]))
    def add_function(self, name: str, callee: Callee) -> None:
        pid = f"{name}#1"
        self.dispatcher.add_functions(pid, some(callee))
        known = self.functions.get(pid)
        if pid in self.room and known is not None:
            self.functions[pid] = known | {callee}

    def has(self, pid: str, task: Task) -> bool:
        """Whether a node may have a task: one that is addressed to it alone it gets anyway."""
        known = self.functions[pid]
        return "uni@" in task.target or None in (known, task.callee) or task.callee in (known or ())

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        self.dispatcher.leave(f"{name}#1")
        self.room.pop(f"{name}#1", None)

    @rule(name=st.sampled_from(NAMES), total=st.integers(0, 12))
    def credit(self, name: str, total: int) -> None:
        pid = f"{name}#1"
        self.dispatcher.credit(pid, total)
        if pid in self.room:
            group, _, before, sent = self.room[pid]
            self.room[pid] = (group, name, max(before, total), sent)

    @rule(
        address=st.sampled_from(
            ["g", "h", "poll://any@g/a", "poll://uni@g/a", "poll://uni@h/b", "poll://any@h/c"]
        ),
        priority=st.integers(-1, 1),
        warm=st.sampled_from([None, "a#1", "b#1", "z#1"]),
        crash_count=st.sampled_from([0, 0, 1, SUSPECT_CRASH_COUNT, 9]),
        callee=st.sampled_from([None, F, F, G, H]),
    )
    def offer(
        self,
        address: str,
        priority: int,
        warm: str | None,
        crash_count: int,
        callee: Callee | None,
    ) -> None:
        task = Task(next(self.ids), 0, address, priority, warm, crash_count, callee)
        self.known.append(task.id)
        self.queued[task.id] = task
        self.dispatcher.offer(task, 0)

    @rule(data=st.data(), version=st.integers(0, 3))
    def offer_again(self, data: st.DataObject, version: int) -> None:
        if self.queued:
            task = self.queued[data.draw(st.sampled_from(sorted(self.queued)))]
            again = msgspec.structs.replace(task, version=version)
            self.dispatcher.offer(again, 0)
            if version > task.version:
                self.queued[task.id] = again

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        if self.known:
            id_ = data.draw(st.sampled_from(sorted(self.known)))
            assert self.dispatcher.withdraw(id_) == (self.queued.pop(id_, None) is not None)

    @rule(data=st.data())
    def done_with_suspects(self, data: st.DataObject) -> None:
        over = data.draw(st.sets(st.sampled_from(NAMES)))
        for name in over:
            self.suspects.pop(f"{name}#1", None)
        self.dispatcher.release_suspects(lambda pid, id_: self.suspects.get(pid) == id_, 0)

    @rule()
    def assign(self) -> None:
        for made in self.dispatcher.assign(0):
            task = self.queued.pop(made.id)  # absent: assigned twice, or withdrawn
            group, name, total, sent = self.room[made.pid]
            assert made.version == task.version
            assert sent < total, "no credit"
            assert self.has(made.pid, task), "it does not have the function"
            assert group == task.target.rpartition("@")[2].partition("/")[0]
            if "uni@" in task.target:
                assert task.target.endswith(f"/{name}")
            assert made.warm == (task.warm == made.pid)
            if task.crash_count >= SUSPECT_CRASH_COUNT:
                assert made.pid not in self.suspects
                self.suspects[made.pid] = made.id
            self.room[made.pid] = (group, name, total, sent + 1)
        self.nothing_waits_in_vain()

    def nothing_waits_in_vain(self) -> None:
        """Right after assigning, whoever has room has nothing that it could have been given."""
        for pid, (group, name, total, sent) in self.room.items():
            if sent < total:
                for task in self.queued.values():
                    if task.crash_count >= SUSPECT_CRASH_COUNT and pid in self.suspects:
                        continue
                    place, _, node = task.target.rpartition("@")[2].partition("/")
                    fits = place == group and ("uni@" not in task.target or node == name)
                    assert not (fits and self.has(pid, task)), (task, group, name)

    @invariant()
    def counts_agree(self) -> None:
        statistics = self.dispatcher.statistics()
        assert statistics.queued == len(self.queued)
        assert sum(group.queued for group in statistics.groups) == len(self.queued)
        assert statistics.nodes == len(self.room)
        for pid, (_, _, total, sent) in self.room.items():
            assert self.dispatcher.available(pid) == total - sent


TestDispatcherMachine = DispatcherMachine.TestCase
TestDispatcherMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
