"""The report of all groups, also if somebody has invented very many or very long names."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.core import report
from understudy_broker.core.report import NAMES_CHARS_MAX, NAMES_LEFT
from understudy_broker.protocol.messages import (
    Functions,
    GroupsGet,
    GroupsReport,
    Refused,
    Response,
)

A, B, C = b"peer-a", b"peer-b", b"peer-c"


def reported(rig: Rig) -> GroupsReport:
    rig.ask(C, GroupsGet())
    rig.turn()
    found = rig.one(C, Response).report
    assert found is not None
    return found


def test_groups_with_nodes_and_the_longest_queues_are_shown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "GROUPS_MAX", 3)
    for group, tasks in (("long", 3), ("longer", 4), ("a-short", 1), ("b-short", 1)):
        for index in range(tasks):
            rig.create(C, f"{group}-{index}", group)
    found = reported(rig)
    assert [group.name for group in found.groups] == ["g", "long", "longer"]
    assert found.counters["groups_left_out"] == 2
    monkeypatch.setattr(report, "GROUPS_MAX", 5)
    assert "groups_left_out" not in reported(rig).counters


def test_names_of_functions_have_a_bound_together(rig: Rig) -> None:
    each = NAMES_CHARS_MAX // 3
    names = tuple(f"{index:0100}" for index in range(each // 100))
    for index in range(5):
        node = msgspec.structs.replace(hello(f"n{index}"), functions=names)
        rig.send(b"peer-%d" % index, node)
    rig.turn()
    [group] = reported(rig).groups
    shown = [len(node.functions) for node in group.nodes if node.name != "a"]
    assert shown == [len(names)] * 3 + [NAMES_LEFT] * 2


@pytest.mark.parametrize(
    ("functions", "says"),
    [(("f" * 257,), "257 characters"), (("f" * 256,) * 1_025, "262,400 characters")],
    ids=["one", "all"],
)
def test_a_hello_with_long_names_is_refused(
    rig: Rig, functions: tuple[str, ...], says: str
) -> None:
    rig.send(B, msgspec.structs.replace(hello("b"), functions=functions))
    rig.turn()
    refused = rig.one(B, Refused)
    assert (refused.status, refused.fatal) == (400, True)
    assert says in refused.error


def test_functions_that_are_added_have_the_same_bounds(rig: Rig) -> None:
    for names in (("f" * 257,), ("f" * 256,) * 1_025, ("f",) * 4_097):
        rig.send(A, Functions(names, (1,) * len(names)))
    rig.turn()
    [group] = reported(rig).groups
    [node] = group.nodes
    assert sum(map(len, rig.core.sessions.by_name["a"].functions)) <= 256 * 1024
    assert len(node.functions) <= 4_096
