"""What keeps a call from going on, in words."""

from __future__ import annotations

import pytest

from understudy.obstacles import NAMES_MAX, halt_text, task_trouble, why_queued, why_unserved
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo
from understudy_store.records import (
    EMPTY,
    HEADER_FUNCTION,
    HEADER_VERSION,
    TAG_TARGET,
    PromiseRecord,
    TaskRecord,
    Value,
)

TARGET = "poll://any@g"


def call(function: str, target: str = TARGET, version: str | None = None) -> PromiseRecord:
    headers = {HEADER_FUNCTION: function} | ({} if version is None else {HEADER_VERSION: version})
    return PromiseRecord("c", "pending", Value(headers), EMPTY, {TAG_TARGET: target}, 9, 0)


def report(*functions: str, unserved: tuple[tuple[str, str | None, int], ...] = ()) -> GroupsReport:
    """Report a group with one node that has `functions`, and a group without nodes."""
    node = NodeInfo("g-1", "g-1#0", 1, "here", 0, 0, 0, functions)
    return GroupsReport((GroupInfo("g", (node,), 1, 0, unserved), GroupInfo("h", (), 1, 0)), {})


def test_trouble_of_a_task_in_words() -> None:
    assert task_trouble(None) == ""
    assert task_trouble(TaskRecord("p", "halted", 2, TARGET)) == ""
    assert task_trouble(TaskRecord("p", "fulfilled", 2, TARGET, cause="x")) == ""
    once = TaskRecord("p", "acquired", 2, TARGET, "n#1", 10, 20, deaths=1, cause="n died")
    assert task_trouble(once) == "its holder vanished once; the last: n died"
    failed = TaskRecord("p", "pending", 2, TARGET, failures=1, cause="attempt 1 failed: x")
    assert task_trouble(failed) == "attempt 1 failed: x"


def test_a_halted_task_tells_the_command_that_continues_it() -> None:
    advice = "to let it run again: understudy tasks continue 'p q'"
    parked = TaskRecord("p q", "halted", 2, TARGET, cause="changed code")
    assert task_trouble(parked) == f"changed code; {advice}"
    assert halt_text(parked) == f"is parked: changed code; {advice}"
    assert halt_text(TaskRecord("p q", "halted", 2, TARGET)) == f"is halted; {advice}"


@pytest.mark.parametrize(
    ("function", "version", "known", "text"),
    [
        ("totl", None, ("add", "total"), "totl; similar: total"),
        ("x", None, ("add", "total"), "x; registered there: add, total"),
        ("x", None, (), "x; registered there: none"),
        ("add", "2", ("add",), "add (version 2), only other versions of it"),
    ],
)
def test_a_function_that_no_node_of_the_group_has(
    function: str, version: str | None, known: tuple[str, ...], text: str
) -> None:
    found = report(*known, unserved=((function, version, 1),))
    expected = f"no node of group g has the function {text}"
    assert why_unserved(call(function, version=version), found) == expected
    assert why_queued(call(function, version=version), found) == expected
    assert why_unserved(call("other"), found) is None, "it only waits for its turn"
    assert why_queued(call("other"), found) is None


def test_a_list_of_many_functions_has_a_bound() -> None:
    names = [f"f{number:02}" for number in range(NAMES_MAX + 3)]
    text = why_unserved(call("x"), report(*names, unserved=(("x", None, 1),)))
    assert text is not None
    assert text.endswith(f"registered there: {', '.join(names[:NAMES_MAX])} and 3 more")


def test_a_group_without_nodes_and_a_node_that_is_away() -> None:
    found = report("f")
    for group in ("h", "i"):
        text = f"nothing serves group {group} yet (groups with nodes: g)"
        assert why_queued(call("f", f"poll://any@{group}"), found) == text
    assert why_queued(call("f", "poll://uni@g/g-1"), found) is None
    away = why_queued(call("f", "poll://uni@g/g-2"), found)
    assert away == "the node g-2 of group g, which alone may have it, is away"
    assert why_queued(call("f", "no target at all"), found) is None
