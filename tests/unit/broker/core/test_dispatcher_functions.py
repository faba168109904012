"""The dispatcher goes by functions: a task is handed to a node that has its function, or waits."""

from __future__ import annotations

from collections import Counter

from tests.unit.broker.core.dispatching import F, G, H, Task, assigned, knowing, some
from understudy_broker.core.dispatcher import UNSERVED_MS, Dispatcher


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
