"""A call graph is drawn in layers, nothing over another, and never more than there is room for."""

from __future__ import annotations

from itertools import pairwise

from tests.unit.sdk.ui.records import facts, promise, task
from understudy.ui.graph_layout import BOX_HEIGHT, BOXES_MAX, draw
from understudy.ui.waterfall import tree_of


def test_callers_stand_left_of_what_they_call() -> None:
    found = facts(promise("a", 0, 100), promise("a.1", 5, 90), promise("a.1.1", 10, 20), now=100)
    drawing = draw(tree_of(found), found)
    assert [box.layer for box in drawing.boxes] == [0, 1, 2]
    assert len(drawing.edges) == 2
    assert all(box.is_slowest for box in drawing.boxes)


def test_boxes_do_not_overlap() -> None:
    records = [promise("a", 0, 99)]
    for n in range(1, 12):
        records.append(promise(f"a.{n}", n, 50 + n, function=f"f{n}"))
        records += [promise(f"a.{n}.{m}", n, 40, function=f"g{m}") for m in range(1, 4)]
    found = facts(*records, now=99)
    boxes = draw(tree_of(found), found).boxes
    for layer in {box.layer for box in boxes}:
        places = sorted(box.y for box in boxes if box.layer == layer)
        assert all(b - a >= BOX_HEIGHT for a, b in pairwise(places))


def test_children_that_are_alike_share_a_box_and_the_slowest_has_its_own() -> None:
    children = [promise(f"a.{n}", 0, 5) for n in range(1, 10_000)]
    slow = promise("a.10000", 0, 80)
    found = facts(promise("a", 0, 99), *children, slow, now=99)
    drawing = draw(tree_of(found), found)
    assert [box.name for box in drawing.boxes] == ["pay", "9,999 × pay", "pay"]
    assert [box.is_slowest for box in drawing.boxes] == [True, False, True]
    assert drawing.left_out == 0


def test_a_graph_that_is_too_large_loses_what_is_deepest() -> None:
    records = [promise("a", 0, 99)]
    records += [promise(f"a.{n}", 0, 9, function=f"f{n}") for n in range(1, 1000)]
    found = facts(*records, now=99)
    drawing = draw(tree_of(found), found)
    assert len(drawing.boxes) == BOXES_MAX
    assert drawing.left_out == 1000 - BOXES_MAX


def test_what_is_awaited_besides_is_dashed() -> None:
    found = facts(
        promise("a", 0),
        promise("a.1", 0),
        promise("a.2", 0),
        tasks=(task("a.1", "suspended", awaits=("a.2",)),),
        now=5,
    )
    assert sum(edge.is_await for edge in draw(tree_of(found), found).edges) == 1
