"""The layout of a call graph as boxes in layers: callers at the left, what they call at the right.

Pure. Children that are alike are folded into one box, so that a graph has at most `BOXES_MAX`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from understudy.ui.badges import Badge, badge_of
from understudy.ui.facts import CallFacts
from understudy.ui.waterfall import states_text
from understudy.views.call_graph import Node
from understudy.views.call_graph_data import took_ms
from understudy.views.times import duration
from understudy_store.records import REJECTED, TIMEDOUT

BOXES_MAX: Final = 300
#: children of the same function that have boxes of their own; more of them share one
ALIKE_MAX: Final = 6

BOX_WIDTH: Final = 196
BOX_HEIGHT: Final = 46
GAP_X: Final = 56
GAP_Y: Final = 14
MARGIN: Final = 8


@dataclass(slots=True)
class Box:
    """A box of the drawing: a promise, or several that are alike.

    Attributes
    ----------
    id
        Of the promise; empty for several.
    detail
        The group, or how many there are by state.
    is_slowest
        It is on the path that took longest.
    """

    id: str
    name: str
    detail: str
    badge: Badge
    took: str
    layer: int
    x: float = 0.0
    y: float = 0.0
    is_slowest: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from a caller to what it calls, or dashed to what it awaits besides."""

    path: str
    is_slowest: bool
    is_await: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """The drawing of a call graph.

    Attributes
    ----------
    left_out
        Promises that there was no room for.
    slowest
        The names of the functions on the slowest path, from the top.
    """

    boxes: Sequence[Box]
    edges: Sequence[Edge]
    width: float
    height: float
    left_out: int
    slowest: Sequence[str]


def draw(root: Node, facts: CallFacts) -> Drawing:
    """Lay out the graph below a call."""
    path = slowest_path(root, facts.now_ms)
    on_path = {node.id for node in path}
    boxes: list[Box] = []
    links: list[tuple[int, int]] = []
    place: dict[str, int] = {}
    queue: list[tuple[Node, int | None, int]] = [(root, None, 0)]
    taken = 0
    while queue and len(boxes) < BOXES_MAX:
        # In the order of layers, so that a graph that is too large loses what is deepest.
        node, parent, layer = queue.pop(0)
        place[node.id] = len(boxes)
        taken += 1
        if parent is not None:
            links.append((parent, len(boxes)))
        boxes.append(_box(node, layer, facts, is_slowest=node.id in on_path))
        mine = place[node.id]
        for item in _children(node, on_path):
            if isinstance(item, Node):
                queue.append((item, mine, layer + 1))
            elif len(boxes) < BOXES_MAX:
                links.append((mine, len(boxes)))
                boxes.append(_box_of_many(item, layer + 1))
                taken += sum(1 for each in item for _ in each.walk())
    _place(boxes, links)
    edges = [_edge(boxes[parent], boxes[child]) for parent, child in links]
    edges += _awaits(facts, boxes, place, links)
    total = sum(1 for _ in root.walk())
    return Drawing(
        boxes,
        edges,
        max(box.x for box in boxes) + BOX_WIDTH + MARGIN,
        max(box.y for box in boxes) + BOX_HEIGHT + MARGIN,
        max(0, total - taken),
        [node.name for node in path],
    )


def slowest_path(root: Node, now_ms: int) -> list[Node]:
    """Return the path from a call to what took longest, at each level."""
    path = [root]
    while True:
        awaited = [child for child in path[-1].children if child.role != "detached"]
        if not awaited:
            return path
        path.append(max(awaited, key=lambda child: took_ms(child, now_ms)))


def _children(node: Node, on_path: set[str]) -> Iterator[Node | list[Node]]:
    """Yield children, those that are alike as one list where there are many of them."""
    kinds = Counter((child.name, child.role) for child in node.children)
    many: dict[tuple[str, str], list[Node]] = {}
    for child in node.children:
        kind = child.name, child.role
        if kinds[kind] <= ALIKE_MAX or child.id in on_path:
            yield child
        else:
            many.setdefault(kind, []).append(child)
    yield from many.values()


def _box(node: Node, layer: int, facts: CallFacts, *, is_slowest: bool) -> Box:
    task = facts.tasks.get(node.id)
    settled = node.record.settled_at
    end = facts.now_ms if settled is None else settled
    return Box(
        node.id,
        node.name,
        node.group or node.role,
        badge_of(node, task, facts.nodes_of, facts.now_ms),
        duration(max(0, end - node.record.created_at)),
        layer,
        is_slowest=is_slowest,
    )


def _box_of_many(nodes: Sequence[Node], layer: int) -> Box:
    states: Counter[str] = Counter(node.record.state for node in nodes)
    if states[REJECTED] or states[TIMEDOUT]:
        badge = Badge("failed", states_text(states))
    elif states["pending"]:
        badge = Badge("running", states_text(states))
    else:
        badge = Badge("done", states_text(states))
    return Box("", f"{len(nodes):,} × {nodes[0].name}", states_text(states), badge, "", layer)


def _place(boxes: Sequence[Box], links: Sequence[tuple[int, int]]) -> None:
    """Give each box its place: a caller in the middle of what it calls, nothing over another."""
    below: dict[int, list[int]] = {}
    for parent, child in links:
        below.setdefault(parent, []).append(child)
    row = 0
    order: list[tuple[int, bool]] = [(0, False)]
    while order:
        index, is_ready = order.pop()
        box = boxes[index]
        box.x = MARGIN + box.layer * (BOX_WIDTH + GAP_X)
        children = below.get(index, [])
        if is_ready:
            box.y = (boxes[children[0]].y + boxes[children[-1]].y) / 2
        elif children:
            order.append((index, True))
            order.extend((child, False) for child in reversed(children))
        else:
            box.y = MARGIN + row * (BOX_HEIGHT + GAP_Y)
            row += 1


def _edge(parent: Box, child: Box, *, is_await: bool = False) -> Edge:
    x1, y1 = parent.x + BOX_WIDTH, parent.y + BOX_HEIGHT / 2
    x2, y2 = child.x, child.y + BOX_HEIGHT / 2
    middle = (x1 + x2) / 2
    path = f"M{x1:g} {y1:g} C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
    return Edge(path, parent.is_slowest and child.is_slowest and not is_await, is_await)


def _awaits(
    facts: CallFacts,
    boxes: Sequence[Box],
    place: dict[str, int],
    links: Sequence[tuple[int, int]],
) -> list[Edge]:
    """Return the edges to what a task awaits and has not called itself."""
    known = set(links)
    found = []
    for id_, index in place.items():
        task = facts.tasks.get(id_)
        for awaited in () if task is None else task.awaits:
            other = place.get(awaited)
            if other is not None and (index, other) not in known:
                found.append(_edge(boxes[index], boxes[other], is_await=True))
    return found
