"""The dispatcher: credit is respected, no task is handed out twice, and none starves."""

from __future__ import annotations

import itertools
from collections import Counter, deque

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from understudy_broker.core.dispatcher import (
    SUSPECT_CRASH_COUNT,
    SUSPECT_MS,
    UNSERVED_MS,
    Dispatcher,
)
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


def test_no_credit_no_task() -> None:
    dispatcher = given_nodes("a")
    dispatcher.offer(Task("t"), 0)
    assert assigned(dispatcher) == []
    dispatcher.credit("a#1", 1)
    assert assigned(dispatcher) == [("t", "a#1")]


def test_credit_is_a_running_total() -> None:
    dispatcher = given_nodes("a", credit=2)
    for number in range(5):
        dispatcher.offer(Task(f"t{number}"), 0)
    assert len(assigned(dispatcher)) == 2
    dispatcher.credit("a#1", 2)  # repeated
    dispatcher.credit("a#1", 1)  # late
    assert assigned(dispatcher) == []
    dispatcher.credit("a#1", 3)
    assert assigned(dispatcher) == [("t2", "a#1")]


def test_a_paused_node_gets_nothing_until_it_resumes() -> None:
    dispatcher = given_nodes("a", "b", credit=2)
    dispatcher.pause("a#1")
    for number in range(4):
        dispatcher.offer(Task(f"t{number}"), 0)
    dispatcher.offer(Task("only", target="poll://uni@g/a"), 0)
    assert assigned(dispatcher) == [("t0", "b#1"), ("t1", "b#1")]
    dispatcher.resume("a#1")
    assert sorted(assigned(dispatcher)) == [("only", "a#1"), ("t2", "a#1")]
    dispatcher.resume("a#1")
    assert assigned(dispatcher) == []


def test_a_paused_node_that_leaves_comes_back_without_its_old_credit() -> None:
    dispatcher = given_nodes("a", credit=2)
    dispatcher.pause("a#1")
    dispatcher.join("a#1", "g", "a")
    dispatcher.resume("a#1")
    dispatcher.offer(Task("t"), 0)
    assert assigned(dispatcher) == []
    dispatcher.pause("gone#1")
    dispatcher.resume("gone#1")


def test_a_new_hello_counts_anew() -> None:
    dispatcher = given_nodes("a", credit=5)
    dispatcher.join("a#1", "g", "a")
    dispatcher.offer(Task("t"), 0)
    assert assigned(dispatcher) == []
    dispatcher.credit("a#1", 1)
    assert assigned(dispatcher) == [("t", "a#1")]


def test_a_task_offered_again_keeps_its_place_and_takes_the_newer_version() -> None:
    dispatcher = given_nodes("a")
    dispatcher.offer(Task("t", version=1), 0)
    dispatcher.offer(Task("u"), 0)
    dispatcher.offer(Task("t", version=2), 0)
    dispatcher.offer(Task("t", version=1), 0)
    dispatcher.credit("a#1", 9)
    assert [(m.id, m.version) for m in dispatcher.assign(0)] == [("t", 2), ("u", 0)]


def test_withdrawn_tasks_are_not_assigned() -> None:
    dispatcher = given_nodes("a", credit=9)
    dispatcher.offer(Task("t"), 0)
    assert dispatcher.withdraw("t")
    assert not dispatcher.withdraw("t")
    assert assigned(dispatcher) == []
    assert dispatcher.statistics().queued == 0


def test_higher_priority_first_then_first_come() -> None:
    dispatcher = given_nodes("a")
    for name, priority in [("low", -5), ("n1", 0), ("high", 9), ("n2", 0)]:
        dispatcher.offer(Task(name, priority=priority), 0)
    dispatcher.credit("a#1", 9)
    assert [id_ for id_, _ in assigned(dispatcher)] == ["high", "n1", "n2", "low"]


def test_nodes_with_room_take_turns() -> None:
    dispatcher = given_nodes("a", "b", "c", credit=40)
    for number in range(60):
        dispatcher.offer(Task(f"t{number}"), 0)
    shares = Counter(pid for _, pid in assigned(dispatcher))
    assert shares == {"a#1": 20, "b#1": 20, "c#1": 20}


def test_the_warm_node_is_preferred_while_it_has_room() -> None:
    dispatcher = given_nodes("a", "b")
    dispatcher.credit("a#1", 3)
    dispatcher.credit("b#1", 1)
    for number in range(2):
        dispatcher.offer(Task(f"t{number}", version=1, warm="b#1"), 0)
    made = dispatcher.assign(0)
    assert [(m.id, m.pid, m.warm) for m in made] == [("t0", "b#1", True), ("t1", "a#1", False)]


def test_a_preferred_node_is_tried_first_and_not_waited_for() -> None:
    dispatcher = given_nodes("a", "b")
    dispatcher.credit("b#1", 1)
    dispatcher.credit("a#1", 5)
    for number in range(3):
        dispatcher.offer(Task(f"t{number}", target="poll://any@g/b"), 0)
    assert assigned(dispatcher) == [("t0", "b#1"), ("t1", "a#1"), ("t2", "a#1")]


def test_unicast_waits_for_its_node() -> None:
    dispatcher = given_nodes("a", credit=9)
    dispatcher.offer(Task("t", target="poll://uni@g/b"), 7)
    assert assigned(dispatcher) == []
    group = dispatcher.statistics().groups[0]
    assert (group.queued, group.waiting_since) == (1, 7)
    dispatcher.join("b#1", "g", "b")
    dispatcher.credit("b#1", 1)
    assert assigned(dispatcher) == [("t", "b#1")]


def test_unicast_and_anycast_do_not_starve_each_other() -> None:
    dispatcher = given_nodes("a")
    for number in range(40):
        dispatcher.offer(Task(f"u{number}", target="poll://uni@g/a"), 0)
        dispatcher.offer(Task(f"t{number}"), 0)
    kinds: Counter[str] = Counter()
    for total in range(1, 21):
        dispatcher.credit("a#1", total)
        kinds.update(id_[0] for id_, _ in assigned(dispatcher))
    assert kinds == {"u": 10, "t": 10}
    dispatcher.credit("a#1", 40)
    kinds.update(id_[0] for id_, _ in assigned(dispatcher))
    assert kinds == {"u": 20, "t": 20}


def test_a_refund_is_room_again() -> None:
    dispatcher = given_nodes("a", credit=1)
    dispatcher.offer(Task("t"), 0)
    dispatcher.offer(Task("u"), 0)
    assert assigned(dispatcher) == [("t", "a#1")]
    dispatcher.refund("a#1")
    assert assigned(dispatcher) == [("u", "a#1")]


def test_a_group_without_nodes_keeps_its_tasks_and_an_idle_one_is_forgotten() -> None:
    dispatcher = given_nodes("a", credit=1)
    dispatcher.offer(Task("t", target="h"), 3)
    dispatcher.leave("a#1")
    assert [(g.name, g.queued) for g in dispatcher.statistics().groups] == [("h", 1)]
    dispatcher.join("b#1", "h", "b")
    dispatcher.credit("b#1", 1)
    assert assigned(dispatcher) == [("t", "b#1")]
    dispatcher.leave("b#1")
    assert dispatcher.statistics().groups == ()


def test_many_withdrawals_leave_no_litter() -> None:
    dispatcher = Dispatcher()
    for number in range(10_000):
        dispatcher.offer(Task(f"t{number}"), number)
        if number >= 10:
            dispatcher.withdraw(f"t{number - 10}")
    queue = dispatcher._groups["g"].queue
    assert sum(map(len, queue._lanes.values())) < 200
    assert dispatcher.statistics().groups[0].waiting_since == 9_990


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


def test_a_task_goes_only_to_a_node_that_has_its_function() -> None:
    dispatcher = knowing(old=some(F), new=some(F, G))
    for number in range(6):
        dispatcher.offer(Task(f"f{number}", callee=F), 0)
        dispatcher.offer(Task(f"g{number}", callee=G), 0)
    given = assigned(dispatcher)
    assert {pid for id, pid in given if id[0] == "g"} == {"new#1"}
    assert len(given) == 12
    assert "old#1" in {pid for id, pid in given if id[0] == "f"}


def test_a_preferred_or_warm_node_without_the_function_is_passed_over() -> None:
    dispatcher = knowing(old=some(F), new=some(F, G))
    dispatcher.offer(Task("prefers", target="poll://any@g/old", callee=G), 0)
    dispatcher.offer(Task("warm", version=1, warm="old#1", callee=G), 0)
    dispatcher.offer(Task("both", target="poll://any@g/old", warm="old#1", callee=F), 0)
    assert dict(assigned(dispatcher)) == {"prefers": "new#1", "warm": "new#1", "both": "old#1"}


def test_a_version_is_part_of_the_function() -> None:
    dispatcher = knowing(one=some(F, ("f", "1")), two=some(F, ("f", "2")))
    dispatcher.offer(Task("second", callee=("f", "2")), 0)
    dispatcher.offer(Task("first", callee=("f", "1")), 0)
    assert dict(assigned(dispatcher)) == {"second": "two#1", "first": "one#1"}


def test_a_function_that_no_node_has_waits_for_one() -> None:
    dispatcher = knowing(a=some(F))
    dispatcher.offer(Task("t", callee=G), 0)
    dispatcher.offer(Task("u", callee=F), 0)
    assert assigned(dispatcher) == [("u", "a#1")]
    assert dispatcher.statistics().groups[0].unserved == ((G, 1),)
    dispatcher.join("b#1", "g", "b", some(F, G))
    dispatcher.credit("b#1", 1)
    assert assigned(dispatcher) == [("t", "b#1")]
    assert dispatcher.statistics().groups[0].unserved == ()


def test_somebody_is_told_once_of_a_function_that_no_node_has() -> None:
    dispatcher = knowing(a=some(F))
    dispatcher.offer(Task("t", callee=G), 1000)
    dispatcher.offer(Task("u", callee=G), 1500)
    assert dispatcher.unserved_due_at == 1000 + UNSERVED_MS
    assert dispatcher.take_unserved(1500) == []
    assert dispatcher.take_unserved(1000 + UNSERVED_MS) == [("g", G, 2)]
    dispatcher.offer(Task("h", callee=H), 5000)
    assert dispatcher.take_unserved(5000 + UNSERVED_MS) == [("g", H, 1)], "each once"

    dispatcher.join("b#1", "g", "b", some(F, G))
    dispatcher.leave("b#1")
    assert dispatcher.unserved_due_at == 0, "it has been served meanwhile, so it is told anew"
    assert dispatcher.take_unserved(9000) == [("g", G, 2)]


def test_a_function_that_is_registered_later() -> None:
    dispatcher = knowing(a=some(F))
    dispatcher.offer(Task("t", callee=G), 0)
    assert assigned(dispatcher) == []
    dispatcher.add_functions("a#1", some(G))
    assert assigned(dispatcher) == [("t", "a#1")]
    dispatcher.add_functions("gone#1", some(G))


def test_tasks_stay_in_the_order_of_arrival_when_the_last_old_node_leaves() -> None:
    dispatcher = knowing(old=some(F), new=some(F, G))
    for pid in ("old#1", "new#1"):
        dispatcher.leave(pid)
    dispatcher.join("old#1", "g", "old", some(F))
    dispatcher.join("new#1", "g", "new", some(F, G))
    for number, callee in enumerate([G, F, F, G, G, F]):
        dispatcher.offer(Task(f"t{number}", callee=callee), number)
    dispatcher.leave("old#1")
    dispatcher.credit("new#1", 9)
    assert [id for id, _ in assigned(dispatcher)] == [f"t{number}" for number in range(6)]


def test_a_function_of_few_nodes_starves_nobody_and_is_not_starved() -> None:
    dispatcher = Dispatcher()
    for name, functions in (("a", some(F, G)), ("b", some(F, H))):
        dispatcher.join(f"{name}#1", "g", name, functions)
    for callee in (F, G, H):
        for number in range(100):
            dispatcher.offer(Task(f"{callee[0]}{number}", callee=callee), 0)
    for total in range(1, 41):
        for name in "ab":
            dispatcher.credit(f"{name}#1", total)
        dispatcher.assign(0)
    groups = dispatcher.statistics().groups
    assert groups[0].queued == 300 - 80
    left = Counter(entry for entry in dispatcher._entries for entry in entry[0])
    assert all(100 - left[name] >= 15 for name in "fgh"), left


def test_withdrawn_tasks_of_unknown_functions_leave_nothing() -> None:
    dispatcher = knowing(a=some(F))
    for number in range(100):
        dispatcher.offer(Task(f"t{number}", callee=(f"typo{number}", None)), 0)
    for number in range(100):
        assert dispatcher.withdraw(f"t{number}")
    assert dispatcher.statistics().groups[0].unserved == ()
    assert not dispatcher._groups["g"].unserved


NAMES = ["a", "b", "c"]
FUNCTIONS = [None, some(F), some(F, G), some(G, H), some()]
GROUPS = ["g", "h"]


def test_a_node_has_one_suspect_at_a_time() -> None:
    dispatcher = given_nodes("a", "b", credit=9)
    for number in range(4):
        dispatcher.offer(Task(f"s{number}", crash_count=SUSPECT_CRASH_COUNT), 0)
        dispatcher.offer(Task(f"t{number}", crash_count=SUSPECT_CRASH_COUNT - 1), 0)
    made = assigned(dispatcher)
    assert made[:2] == [("s0", "a#1"), ("s1", "b#1")]
    assert [id_ for id_, _ in made[2:]] == ["t0", "t1", "t2", "t3"]
    dispatcher.release_suspects(lambda pid, id_: True, 0)
    assert assigned(dispatcher) == []
    dispatcher.release_suspects(lambda pid, id_: (pid, id_) != ("b#1", "s1"), 0)
    assert assigned(dispatcher) == [("s2", "b#1")]
    assert dispatcher.statistics().queued == 1


def test_no_suspect_waits_for_ever_behind_another() -> None:
    dispatcher = given_nodes("a", credit=9)
    dispatcher.offer(Task("s0", crash_count=9), 0)
    dispatcher.offer(Task("s1", crash_count=9), 0)
    assert assigned(dispatcher) == [("s0", "a#1")]
    dispatcher.release_suspects(lambda pid, id_: True, SUSPECT_MS - 1)
    assert assigned(dispatcher) == []
    dispatcher.release_suspects(lambda pid, id_: True, SUSPECT_MS)
    assert assigned(dispatcher) == [("s1", "a#1")]


def test_suspects_go_where_they_must() -> None:
    dispatcher = given_nodes("a", "b", credit=9)
    dispatcher.add_suspect("a#1", "before", 0)
    dispatcher.offer(Task("s0", target="poll://uni@g/a", crash_count=9), 0)
    dispatcher.offer(Task("s1", crash_count=9), 0)
    assert assigned(dispatcher) == [("s1", "b#1")]
    assert dispatcher.withdraw("s0")
    dispatcher.offer(Task("s0", target="poll://uni@g/a", crash_count=9), 0)
    dispatcher.leave("a#1")
    dispatcher.release_suspects(lambda pid, id_: False, 0)
    assert assigned(dispatcher) == []
    dispatcher.join("a#2", "g", "a")
    dispatcher.credit("a#2", 1)
    assert assigned(dispatcher) == [("s0", "a#2")]


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
