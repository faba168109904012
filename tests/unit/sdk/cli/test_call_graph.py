"""Call graphs: from records to a tree, to lines, to text and JSON data."""

from __future__ import annotations

import re

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.cli.call_graph_text import draw, progress_line
from understudy.values import Codec
from understudy.views.call_graph import Line, Node, Omitted, build, lines, status
from understudy.views.call_graph_data import Surroundings, as_data
from understudy_actors.interpreter.child_ids import child_id
from understudy_store.records import (
    EMPTY,
    HEADER_ATTEMPT,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_PLACE,
    TAG_BRANCH,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    PromiseRecord,
    PromiseState,
    TaskRecord,
    TaskState,
    Value,
)

G = "poll://any@g"


def promise(
    id: str,
    function: str | None = "f",
    *,
    state: PromiseState = "resolved",
    created_at: int = 1000,
    took_ms: int = 500,
    value: Value = EMPTY,
    kind: str = "rfi",
    **tags: str,
) -> PromiseRecord:
    """Make a record. Tags are given without their prefix; without tags of its kind it is a call."""
    headers = {HEADER_KIND: kind} | ({HEADER_FUNCTION: function} if function else {})
    all_tags = {f"understudy:{name}": text for name, text in tags.items()}
    if (
        not {TAG_SCOPE, TAG_TIMER, TAG_EXTERNAL} & all_tags.keys()
        or tags.get("scope") == "detached"
    ):
        all_tags.setdefault(TAG_TARGET, G)
    settled_at = None if state == "pending" else created_at + took_ms
    return PromiseRecord(
        id, state, Value(headers), value, all_tags, created_at + 60_000, created_at, settled_at
    )


def task(id: str, state: TaskState, **fields: object) -> TaskRecord:
    pid = "n-1#boot" if state == "acquired" else None
    known = {"id": id, "state": state, "version": 1, "target": G, "pid": pid} | fields
    return TaskRecord(**known)  # type: ignore[arg-type]


def tree(*records: PromiseRecord, root: str = "p") -> Node:
    found = build(records, root)
    assert found is not None
    return found


def ids(node: Node) -> list[str]:
    return [child.id for child in node.children]


# The tree ---------------------------------------------------------------------------------------


def test_no_such_root() -> None:
    assert build([promise("p")], "q") is None


def test_children_are_in_call_order() -> None:
    root = tree(*[promise(f"p.{n}", branch="p") for n in (10, 2, 1, 11)], promise("p"))
    assert ids(root) == ["p.1", "p.2", "p.10", "p.11"]


def test_steps_of_a_local_step_are_below_it() -> None:
    root = tree(
        promise("p"),
        promise("p.1", branch="p", scope="local"),
        promise("p.1.1", branch="p", parent="p.1"),
    )
    assert ids(root) == ["p.1"]
    assert ids(root.children[0]) == ["p.1.1"]


def test_a_chosen_id_is_ordered_by_its_time_of_creation() -> None:
    root = tree(
        promise("p"),
        promise("p.1", branch="p", created_at=1000),
        promise("mine", branch="p", created_at=1500),
        promise("p.2", branch="p", created_at=2000),
        promise("later", branch="p", created_at=3000),
    )
    assert ids(root) == ["p.1", "mine", "p.2", "later"]


def test_a_chosen_id_is_ordered_by_its_place() -> None:
    """Calls of one batch are created in the same millisecond."""
    root = tree(
        promise("p"),
        promise("p.1", branch="p"),
        promise("p.3", branch="p"),
        msgspec.structs.replace(promise("mine", branch="p"), param=Value({HEADER_PLACE: "p.2"})),
        # This place belongs to another caller, who made the call first.
        msgspec.structs.replace(promise("other", branch="p"), param=Value({HEADER_PLACE: "q.1"})),
    )
    assert ids(root) == ["p.1", "mine", "p.3", "other"]


def test_children_with_shortened_ids_are_ordered_by_their_number() -> None:
    parent = "p" + ".1" * 255
    short = [child_id(parent, number) for number in (10, 9, 2)]
    records = [promise(parent), *(promise(id, branch=parent) for id in short)]
    root = tree(*records, root=parent)
    assert all("~" in id for id in short)
    assert ids(root) == short[::-1]


def test_the_children_of_a_chosen_id_are_found_by_their_tags() -> None:
    root = tree(promise("p"), promise("x", branch="p"), promise("x.1", branch="x", origin="p"))
    assert [node.id for node in root.walk()] == ["p", "x", "x.1"]


def test_without_tags_the_parent_is_in_the_id() -> None:
    root = tree(promise("p"), promise("p.1.1"), promise("p.1"))
    assert [node.id for node in root.walk()] == ["p", "p.1", "p.1.1"]


def test_records_outside_the_tree_are_left_out() -> None:
    records = [promise("p"), promise("p.1", branch="p"), promise("p.1.1", branch="p.1")]
    assert [node.id for node in tree(*records, root="p.1").walk()] == ["p.1", "p.1.1"]


def test_a_deep_chain_needs_no_recursion() -> None:
    records = [promise("p")]
    for _ in range(5000):
        parent = records[-1].id
        records.append(promise(f"{parent}.1", branch=parent))
    root = tree(*records)
    assert sum(1 for _ in root.walk()) == 5001
    assert len(lines(root)) == 5001
    data = as_data(root, Surroundings(now_ms=0))
    assert data["children"][0]["children"][0]["id"] == "p.1.1"


@settings(deadline=None)
@given(st.permutations([1, 2, 3, 9, 10, 11, 20, 100]))
def test_the_order_of_records_does_not_matter(numbers: list[int]) -> None:
    records = [promise("p"), *(promise(f"p.{number}", branch="p") for number in numbers)]
    assert ids(tree(*records)) == [f"p.{number}" for number in sorted(numbers)]


def test_roles() -> None:
    roles = {
        "call": promise("p"),
        "local": promise("p", scope="local"),
        "detached": promise("p", scope="detached"),
        "sleep": promise("p", None, timer="true", kind="sleep"),
        "promise": promise("p", None, external="true", kind="promise"),
    }
    assert {role: tree(record).role for role, record in roles.items()} == {r: r for r in roles}
    assert tree(roles["sleep"]).name == "sleep"
    assert tree(roles["promise"]).name == "promise"


# Lines ------------------------------------------------------------------------------------------


def wide(count: int, states: dict[int, PromiseState], function: str = "f") -> list[PromiseRecord]:
    return [
        promise(f"p.{n}", function, branch="p", state=states.get(n, "resolved"))
        for n in range(1, count + 1)
    ]


def shown(root: Node, *, everything: bool = False) -> list[str]:
    items = [line.item for line in lines(root, everything=everything)]
    return [
        f"{item.count} {item.name} {dict(item.states)}" if isinstance(item, Omitted) else item.id
        for item in items
    ]


def test_twenty_similar_children_are_all_shown() -> None:
    assert len(lines(tree(promise("p"), *wide(20, {})))) == 21


def test_of_many_children_a_few_are_shown_and_the_rest_is_counted() -> None:
    root = tree(promise("p"), *wide(10_000, dict.fromkeys(range(9001, 10001), "pending")))
    assert shown(root) == [
        "p",
        *(f"p.{n}" for n in range(1, 6)),
        "9995 f {'resolved': 8995, 'pending': 1000}",
    ]
    assert len(lines(root, everything=True)) == 10_001


def test_failures_are_not_hidden_among_many() -> None:
    failed: dict[int, PromiseState] = dict.fromkeys((50, 60, 70, 80), "rejected")
    got = shown(tree(promise("p"), *wide(100, failed)))
    assert got[6:] == ["p.50", "p.60", "p.70", "92 f {'resolved': 91, 'rejected': 1}"]


def test_children_unlike_the_many_are_shown() -> None:
    others = [promise("p.101", "g", branch="p"), promise("p.102", "f", branch="p", scope="local")]
    got = shown(tree(promise("p"), *wide(100, {}), *others))
    assert got[-2:] == ["p.101", "p.102"]
    assert got[6].startswith("95 f")


# Status -----------------------------------------------------------------------------------------


def status_of(record: PromiseRecord, of: TaskRecord | None, nodes: int = 1) -> str:
    return status(tree(record), of, {"g": nodes}, 5000)


def test_status_of_a_pending_call() -> None:
    pending = promise("p", state="pending")
    assert status_of(pending, task("p", "acquired")) == "running"
    assert status_of(pending, task("p", "suspended")) == "waiting"
    assert status_of(pending, task("p", "halted")) == "halted"
    assert status_of(pending, task("p", "halted", deaths=5, cause="x")) == "parked"
    assert status_of(pending, task("p", "halted", cause="no such function")) == "parked"
    assert status_of(pending, task("p", "pending", retry_at=5000)) == "queued for group g"
    later = task("p", "pending", retry_at=7500)
    assert status_of(pending, later) == "queued for group g, to be handed out in 2.5 s"
    assert status_of(pending, later, nodes=0) == "queued: nothing serves group g"
    failed = task("p", "pending", retry_at=7500, failures=2)
    assert re.fullmatch(r"attempt 3 at \d\d:\d\d:07", status_of(pending, failed))


def test_status_of_a_call_that_waits_elsewhere() -> None:
    for target, words in (
        ("amqp://mq/orders", "waits in amqp://mq/orders"),
        ("https://pay.example/x", "queued for https://pay.example/x"),
    ):
        pending = promise("p", state="pending", target=target)
        of = msgspec.structs.replace(task("p", "pending", retry_at=700_000), target=target)
        assert status_of(pending, of) == words
        assert status_of(pending, msgspec.structs.replace(of, failures=1)).startswith(
            "attempt 2 at"
        )


def test_status_of_other_promises() -> None:
    assert status_of(promise("p", state="pending", scope="local"), None) == "running"
    assert status_of(promise("p", state="pending", timer="true"), None) == "sleeping"
    external = status_of(promise("p", state="pending", external="true"), None)
    assert external == "pending: to be settled from outside"
    assert status_of(promise("p", state="rejected_timedout"), None) == "timedout"
    # The task may have been read before the promise settled.
    assert status_of(promise("p"), task("p", "acquired")) == "resolved"


# Text and JSON data -----------------------------------------------------------------------------


def test_drawing() -> None:
    error = Codec().encode_error(ValueError("no such\norder"))
    root = tree(
        promise("p", "order", state="pending", created_at=0),
        promise("p.1", "charge", branch="p", state="pending", created_at=1000),
        promise(
            "p.2", "find", branch="p", state="rejected", value=Value({HEADER_ATTEMPT: "4"}, error)
        ),
        promise("p.2.1", "look", branch="p.2", scope="local"),
        promise("p.3", "audit", branch="p", scope="detached", took_ms=70_000),
    )
    around = Surroundings(
        now_ms=3000,
        tasks={"p": task("p", "suspended"), "p.1": task("p.1", "acquired", version=9, failures=2)},
        nodes_of={"g": 1},
    )
    assert draw(lines(root), around) == [
        "p            order             waiting  3 s",
        "├─ p.1       charge            running on n-1  2 s  attempt 3",
        "├─ p.2       find              rejected  500 ms  4 attempts  ValueError: no such order",
        "│  └─ p.2.1  look (local)      resolved  500 ms",
        "└─ p.3       audit (detached)  resolved  1 min 10 s",
    ]
    assert progress_line(root.children[0], around) == "p.1  charge  running on n-1"


def test_a_parked_call_shows_why_and_what_to_do() -> None:
    root = tree(promise("p", state="pending"), promise("p 1", branch="p", state="pending"))
    tasks = {
        "p": task("p", "pending", deaths=2, cause="n-1 is gone", retry_at=0),
        "p 1": task("p 1", "halted", deaths=5, cause="all are gone"),
    }
    around = Surroundings(now_ms=0, tasks=tasks, nodes_of={"g": 1})
    first, second = (line.partition("0 ms  ")[2] for line in draw(lines(root), around))
    assert first == "its holder vanished 2 times in a row; the last: n-1 is gone"
    assert second == "all are gone; to let it run again: understudy tasks continue 'p 1'"
    assert second in progress_line(root.children[0], around)
    data = as_data(root, around)
    assert (data["deaths"], data["cause"]) == (2, "n-1 is gone")
    assert data["children"][0]["status"] == "parked"


def test_drawing_with_a_summary() -> None:
    root = tree(promise("p"), *wide(1005, {1000: "rejected_timedout"}))
    text = draw(lines(root), Surroundings(now_ms=0))
    assert text[-1] == "└─ … 999 more f: 999 resolved"
    assert text[-2].startswith("├─ p.1000  f  timedout")


def test_json_data_has_all_children() -> None:
    root = tree(
        promise("p", value=Value({}, Codec().encode_value([1, (2, b"x")]))),
        promise("p.1", branch="p", state="rejected", value=Value({}, b"\xc1")),
    )
    data = as_data(root, Surroundings(now_ms=0, tasks={"p": task("p", "fulfilled", version=2)}))
    assert (data["id"], data["value"], data["runs"]) == ("p", [1, [2, "eA=="]], 2)
    child = data["children"][0]
    assert child["error"] == {"type": "unknown", "message": '"<not readable, 1 bytes>"'}
    assert child["duration_ms"] == 500
    assert child["children"] == []


def test_a_line_knows_the_last_of_each_level() -> None:
    root = tree(promise("p"), promise("p.1", branch="p"), promise("p.1.1", branch="p.1"))
    assert lines(root)[-1] == Line(root.children[0].children[0], (True, True))


def test_an_origin_is_not_a_parent() -> None:
    stray = promise("stray", origin="p")
    assert stray.tags[TAG_ORIGIN] == "p"
    assert {TAG_BRANCH, TAG_PARENT}.isdisjoint(stray.tags)
    assert ids(tree(promise("p"), stray)) == []
