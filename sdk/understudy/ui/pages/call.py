"""The page of one call: why it does not go on, its waterfall, its graph, its steps and attempts."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, NamedTuple

from markupsafe import Markup
from starlette.datastructures import QueryParams

from understudy.ui.badges import Badge, badge_of
from understudy.ui.deeds import deeds_for
from understudy.ui.facts import CallFacts
from understudy.ui.graph_layout import draw
from understudy.ui.pages.logs import logs_tab
from understudy.ui.payloads import Shown, arguments, outcome, shown
from understudy.ui.reading import GRAPH_MAX, check, read_call, with_tasks
from understudy.ui.row_changes import Region, row_key
from understudy.ui.timeline import Axis
from understudy.ui.ui import Ui
from understudy.ui.view import View, message
from understudy.ui.waterfall import (
    Fold,
    Row,
    Waterfall,
    axis_of,
    bar_of,
    row_of,
    tree_of,
    waterfall,
)
from understudy.views.call_graph import Node
from understudy.views.json_data import compact, sealed_text
from understudy.views.records import failure_traceback, promise_json, task_json
from understudy.views.times import duration, moment
from understudy.views.why import Explanation, Facts, Reason, explain_call
from understudy_broker.protocol.messages import GroupsReport
from understudy_store.commands import PromiseSearch
from understudy_store.records import (
    FIRST_ATTEMPTS_KEPT,
    HEADER_SITE,
    HEADER_VERSION,
    LAST_ATTEMPTS_KEPT,
    LOCAL,
    AttemptRecord,
    PromiseRecord,
    origin_of,
)

TABS: Final = ("waterfall", "graph", "steps", "attempts", "logs", "raw")
#: steps of a call that are listed
STEPS_MAX: Final = 200
#: children that a folded row opens at a time
OPENED: Final = 100
#: pages of promises that are looked through for them
_LOOKS_MAX: Final = 10
#: characters of the raw record
RAW_CHARS_MAX: Final = 64 * 1024
#: tags that are shown
TAGS_MAX: Final = 6


async def call(ui: Ui, query: QueryParams) -> View:
    """Show a call, or another promise."""
    id_ = query.get("id", "")
    facts = await read_call(ui.port, id_) if id_ else None
    if facts is None:
        return message(
            f"There is no call or promise {id_!r}" if id_ else "Which call?",
            "An id is written in full here. The list of calls finds ids by how they begin.",
            "Of a call that is only just being made: load this page again.",
            back="/calls",
            status=404,
        )
    tab = query.get("tab", TABS[0])
    tab = tab if tab in TABS else TABS[0]
    rows = ui.rows("call_rows.html")
    root = tree_of(facts)
    regions = [
        Region("head", {"head-row": str(rows.head(_head(ui, root, facts)))}, "div"),
        Region("why", _why(ui, facts), "div"),
    ]
    if tab == "logs":
        tab_regions, context = await logs_tab(ui, root, facts, query)
    else:
        tab_regions, context = _TABS[tab](ui, root, facts)
    logged = facts.attempts.get(id_, ())
    context |= {
        "id": id_,
        "tab": tab,
        "tabs": [
            ("waterfall", "Waterfall", 0),
            ("graph", "Graph", 0),
            ("steps", "Steps", len(root.children)),
            ("attempts", "Attempts", len(logged)),
            ("logs", "Logs", 0),
            ("raw", "Raw", 0),
        ],
    }
    is_live = not ui.is_offline and tab != "graph"
    title = f"{root.name} {id_}"
    return View("call.html", title, context, [*regions, *tab_regions], "/calls", is_live)


# The head ----------------------------------------------------------------------------------------


def _head(ui: Ui, root: Node, facts: CallFacts) -> dict[str, Any]:
    record, task = root.record, facts.tasks.get(root.id)
    end = facts.now_ms if record.settled_at is None else record.settled_at
    shown_facts: list[tuple[str, str]] = []
    if root.group is not None:
        shown_facts.append(("group", root.group))
    if version := record.param.headers.get(HEADER_VERSION):
        shown_facts.append(("version", version))
    shown_facts.append(("created", f"{moment(record.created_at)} UTC"))
    shown_facts.append(("took" if record.settled else "for", duration(end - record.created_at)))
    if not record.settled:
        left = record.timeout_at - facts.now_ms
        shown_facts.append(("deadline in", duration(left) if left > 0 else "passed"))
    if task is not None and task.node:
        shown_facts.append(("node", task.node))
    own = [(name, text) for name, text in record.tags.items() if not name.startswith("understudy:")]
    shown_facts += own[:TAGS_MAX]
    origin = origin_of(record)
    deeds = []
    if not ui.is_offline:
        state, failures = (None, 0) if task is None else (task.state, task.failures)
        deeds = deeds_for(record, state, failures)
    return {
        "id": root.id,
        "name": root.name,
        "root": None if origin == root.id else origin,
        "badge": badge_of(root, task, facts.nodes_of, facts.now_ms),
        "facts": shown_facts,
        "deeds": deeds,
        "may_restart": record.settled
        and origin == root.id
        and root.group is not None
        and not ui.is_offline,
    }


class _Why(NamedTuple):
    """The paragraph at the top."""

    id: str
    level: str
    summary: str
    reasons: Sequence[Reason]
    traceback: str
    is_group: bool = False


def _why(ui: Ui, facts: CallFacts) -> dict[str, str]:
    """Return the paragraph that says why a call does not go on, or how it has failed."""
    record = facts.record
    if record.settled and record.state == "resolved":
        return {}
    if not record.settled and facts.report is None:
        return {}
    report = facts.report or GroupsReport((), {})
    found = explain_call(
        facts.id,
        Facts(
            facts.now_ms,
            report,
            facts.records,
            facts.tasks,
            progress=facts.progress,
            is_whole=facts.is_whole,
        ),
    )
    said = _Why(
        facts.id,
        _level_of(record, found, facts),
        found.summary,
        found.reasons,
        failure_traceback(record),
    )
    return {"why-row": str(ui.rows("call_rows.html").why(said))}


def _level_of(record: PromiseRecord, found: Explanation, facts: CallFacts) -> str:
    if record.settled:
        return "calm" if record.state == "rejected_canceled" else "bad"
    ids = {id_ for reason in found.reasons for id_ in reason.ids}
    tasks = [facts.tasks[id_] for id_ in ids if id_ in facts.tasks]
    if any(task.state == "halted" or task.failures or task.deaths for task in tasks):
        return "bad"
    return "warn" if any("no node" in reason.text for reason in found.reasons) else "calm"


# Tabs --------------------------------------------------------------------------------------------


def _waterfall_tab(ui: Ui, root: Node, facts: CallFacts) -> tuple[list[Region], dict[str, Any]]:
    found = waterfall(facts, root)
    rows = ui.rows("call_rows.html")
    regions = [
        Region("axis", {"axis-row": str(rows.axis_row(found.axis))}, "div"),
        Region("rows", _waterfall_rows(ui, found, facts.id)),
    ]
    context = {
        "left_out": found.left_out,
        "is_whole": facts.is_whole,
        "graph_max": GRAPH_MAX,
    }
    return regions, context


def _waterfall_rows(ui: Ui, found: Waterfall, root: str) -> dict[str, str]:
    return {each.key: _row_html(ui, each, found.axis, root) for each in found.rows}


def _row_html(ui: Ui, row: Row | Fold, axis: Axis, root: str) -> str:
    rows = ui.rows("call_rows.html")
    return str(rows.row(row, axis) if isinstance(row, Row) else rows.fold(row, root))


def _graph_tab(_ui: Ui, root: Node, facts: CallFacts) -> tuple[list[Region], dict[str, Any]]:
    return [], {"drawing": draw(root, facts)}


def _steps_tab(ui: Ui, root: Node, facts: CallFacts) -> tuple[list[Region], dict[str, Any]]:
    rows = ui.rows("call_rows.html")
    found = {}
    for number, child in enumerate(root.children[:STEPS_MAX], 1):
        key = row_key("step", child.id)
        record = child.record
        end = facts.now_ms if record.settled_at is None else record.settled_at
        step = {
            "key": key,
            "number": number,
            "id": child.id,
            "name": child.name,
            "kind": "step" if child.role == LOCAL else child.role,
            "site": record.param.headers.get(HEADER_SITE, ""),
            "badge": badge_of(child, facts.tasks.get(child.id), facts.nodes_of, facts.now_ms),
            "took": duration(max(0, end - record.created_at)),
            "arguments_html": _payload(ui, _asked(child), "Arguments"),
            "outcome_html": _payload(ui, outcome(record), "Result"),
        }
        found[key] = str(rows.step(step))
    context = {
        "arguments": _asked(root),
        "outcome": outcome(root.record),
        "left_out": max(0, len(root.children) - STEPS_MAX),
    }
    return [Region("steps", found)], context


def _asked(node: Node) -> Shown:
    return arguments(node.record) if node.calls_function else shown(node.record.param.data)


def _payload(ui: Ui, found: Shown, label: str) -> Markup:
    html: Markup = ui.rows("macros.html").payload(found, label)
    return html


def _attempts_tab(ui: Ui, root: Node, facts: CallFacts) -> tuple[list[Region], dict[str, Any]]:
    rows = ui.rows("call_rows.html")
    found = {}
    for attempt in facts.attempts.get(root.id, ()):
        key = row_key("attempt", root.id, str(attempt.n))
        found[key] = str(rows.attempt(_attempt(key, attempt)))
    task = facts.tasks.get(root.id)
    note = ""
    if task is not None:
        times = f"{task.suspensions:,} {'time' if task.suspensions == 1 else 'times'}"
        note = f"It was handed out {task.version:,} times, and has waited for others {times}."
        if task.logged > FIRST_ATTEMPTS_KEPT + LAST_ATTEMPTS_KEPT:
            note += (
                f" Of {task.logged:,} attempts that ended badly, the first {FIRST_ATTEMPTS_KEPT} "
                f"and the last {LAST_ATTEMPTS_KEPT} are kept."
            )
    return [Region("attempts", found)], {"attempts_note": note}


def _attempt(key: str, attempt: AttemptRecord) -> dict[str, Any]:
    kinds: Mapping[str, Badge] = {
        "raised": Badge("failed", "raised"),
        "died": Badge("failed", "its node was lost"),
        "released": Badge("canceled", "given back"),
        "parked": Badge("parked", "parked"),
    }
    began, queued = attempt.started_at, attempt.queued_at
    place = attempt.node or "–"
    return {
        "key": key,
        "n": attempt.n,
        "badge": kinds[attempt.end],
        "node": f"{place} on {attempt.host}" if attempt.host else place,
        "queued": "–" if began is None or queued is None else duration(max(0, began - queued)),
        "ran": "–" if began is None else duration(max(0, attempt.ended_at - began)),
        "ended": moment(attempt.ended_at),
        "text": attempt.text or attempt.error or "–",
    }


def _raw_tab(_ui: Ui, root: Node, facts: CallFacts) -> tuple[list[Region], dict[str, Any]]:
    record = root.record
    size = len(record.param.data or b"") + len(record.value.data or b"")
    if size > RAW_CHARS_MAX:
        text = f"Its data have {size:,} bytes: understudy promises get {compact(root.id, None)}"
        return [], {"raw": text}
    data = promise_json(record)
    if (task := facts.tasks.get(root.id)) is not None:
        data["task"] = task_json(task)
    if facts.attempts.get(root.id):
        data["attempts"] = [
            dict(zip(each.__struct_fields__, _fields(each), strict=True))
            for each in facts.attempts[root.id]
        ]
    text = json.dumps(data, ensure_ascii=False, indent=2)
    if record.value.data and (sealed := sealed_text(record.value.data)):
        text = f"{text}\n\n{sealed}"
    return [], {"raw": text[: 2 * RAW_CHARS_MAX]}


def _fields(attempt: AttemptRecord) -> list[Any]:
    return [getattr(attempt, name) for name in attempt.__struct_fields__]


_TABS: Final = {
    "waterfall": _waterfall_tab,
    "graph": _graph_tab,
    "steps": _steps_tab,
    "attempts": _attempts_tab,
    "raw": _raw_tab,
}

# Folded rows -------------------------------------------------------------------------------------


async def opened(ui: Ui, query: QueryParams) -> str | None:
    """Return the next rows in the place of a folded one; None if there is no such call.

    They are read from the store in the order of their ids, from where the last page ended, so that
    it does not matter how many there are.
    """
    root_id, parent, name = query.get("root", ""), query.get("id", ""), query.get("name", "")
    cursor, depth = query.get("cursor"), 1
    facts = await read_call(ui.port, root_id)
    if facts is None:
        return None
    root = tree_of(facts)
    nodes = {node.id: node for node in root.walk()}
    shown_now = {row.id for row in waterfall(facts, root).rows if isinstance(row, Row)}
    found, cursor = await _alike(ui, parent, name, cursor, shown_now)
    if parent in nodes:
        depth = 1 + _depth(nodes[parent], root)
    more = await with_tasks(ui.port, root_id, {**found, root_id: facts.record}, shown=list(found))
    bars = {
        id_: bar_of(node, facts.tasks.get(id_), facts.now_ms)
        for id_, node in nodes.items()
        if id_ in shown_now
    }
    axis = axis_of(facts, bars)
    html = []
    for record in found.values():
        node = Node(record)
        bar = bar_of(node, more.tasks.get(node.id), more.now_ms, more.attempts.get(node.id, ()))
        html.append(_row_html(ui, row_of(node, bar, depth, more), axis, root_id))
    if cursor is not None:
        rest = {"root": root_id, "parent": parent, "name": name, "cursor": cursor, "depth": depth}
        key = row_key("fold", parent, name, cursor)
        html.append(str(ui.rows("call_rows.html").next_fold({**rest, "key": key})))
    return "".join(html)


async def _alike(
    ui: Ui, parent: str, name: str, cursor: str | None, without: Container[str]
) -> tuple[dict[str, PromiseRecord], str | None]:
    """Return the next children of a name, and where those after them begin; None: there are none.

    If many others stand between them, there may be fewer than `OPENED` although there are more.
    """
    found: dict[str, PromiseRecord] = {}
    for _ in range(_LOOKS_MAX):
        search = PromiseSearch(prefix=f"{parent}.", limit=OPENED, cursor=cursor)
        (reply,) = check(await ui.port.ask([search]))
        promises = reply.promises or ()
        for number, record in enumerate(promises, 1):
            is_child = "." not in record.id[len(parent) + 1 :]
            if is_child and Node(record).name == name and record.id not in without:
                found[record.id] = record
            if len(found) == OPENED:
                is_last = number == len(promises) and reply.cursor is None
                return found, None if is_last else record.id
        cursor = reply.cursor
        if cursor is None:
            break
    return found, cursor


def _depth(node: Node, root: Node) -> int:
    depth, id_ = 0, node.id
    parents = {child.id: each.id for each in root.walk() for child in each.children}
    while id_ in parents:
        id_ = parents[id_]
        depth += 1
    return depth
