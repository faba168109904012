"""The dispatcher: credit is respected, no task is handed out twice, and none starves."""

from __future__ import annotations

from collections import Counter

from tests.unit.broker.core.dispatching import Task, assigned, given_nodes
from understudy_broker.core.dispatcher import SUSPECT_CRASH_COUNT, SUSPECT_MS, Dispatcher


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
