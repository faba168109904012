"""Why calls and groups do not go on, in words."""

from __future__ import annotations

import msgspec

from tests.unit.sdk.cli.test_call_graph import promise, task
from understudy.values import Codec
from understudy.views.why import Explanation, Facts, explain_call, explain_group
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo
from understudy_store.progress import ProgressRecord
from understudy_store.records import PromiseRecord, TaskRecord, Value

NOW = 1_000_000
NODE = NodeInfo("n-1", "n-1#boot", 4711, "host-a", 2, 1, 40, ("f", "total"), 32)


def groups(
    *nodes: NodeInfo,
    queued: int = 0,
    waiting_ms: int = 0,
    unserved: tuple[tuple[str, str | None, int], ...] = (),
) -> GroupsReport:
    return GroupsReport((GroupInfo("g", nodes, queued, waiting_ms, unserved),), {})


def explain(
    *records: PromiseRecord,
    tasks: tuple[TaskRecord, ...] = (),
    report: GroupsReport | None = None,
    owners: dict[str, str | None] | None = None,
) -> Explanation:
    facts = Facts(
        NOW,
        groups(NODE) if report is None else report,
        {each.id: each for each in records},
        {each.id: each for each in tasks},
        owners or {},
    )
    return explain_call(records[0].id, facts)


def pending(id: str, function: str | None = "f", **tags: str) -> PromiseRecord:
    made = promise(id, function, state="pending", created_at=NOW - 200_000)
    named = promise(id, function, **tags)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, tags=named.tags)


def test_an_ended_call_says_how_it_ended() -> None:
    found = explain(promise("p", created_at=0, took_ms=1500))
    assert found.reasons == ()
    assert found.summary.startswith("p (f in group g) was resolved at ")
    assert found.summary.endswith(", after 1.5 s")
    error = Codec().encode_error(ValueError("no such card"))
    failed = promise("p", state="rejected", value=Value({}, error))
    assert explain(failed).summary.endswith(": ValueError: no such card")


def test_it_goes_down_to_what_has_no_node() -> None:
    found = explain(
        pending("p"),
        pending("p.1", "charge", parent="p"),
        promise("p.2", parent="p"),
        tasks=(task("p", "suspended"), task("p.1", "pending")),
        report=groups(queued=1, waiting_ms=200_000),
    )
    assert found.summary == (
        "p (f in group g) has been pending for 3 min 20 s: "
        "it waits for one call or promise below it"
    )
    [reason] = found.reasons
    assert reason.ids == ("p.1",)
    assert "nothing serves group g yet" in reason.text
    assert reason.advice == "understudy node app:runtime --group g"


def test_equal_reasons_are_told_once_with_their_number() -> None:
    children = [pending(f"p.{number}", parent="p") for number in range(1, 301)]
    tasks = [task(each.id, "pending") for each in children]
    person = pending("p.400", None, parent="p", external="true")
    found = explain(
        pending("p"),
        *children,
        person,
        tasks=(task("p", "suspended"), *tasks),
        report=groups(queued=300),
    )
    many, one = found.reasons
    assert len(many.ids) == 300
    assert one.ids == ("p.400",)
    assert "waits for somebody outside to settle it, for 3 min 20 s now" in one.text
    assert one.advice == "understudy promises resolve p.400 --value JSON"


def test_a_running_call_names_its_node_its_steps_and_a_node_that_says_nothing() -> None:
    local = pending("p.1", "fetch", scope="local", parent="p")
    running = (pending("p"), local)
    [reason] = explain(*running, tasks=(task("p", "acquired"),)).reasons
    assert reason.text == (
        "runs on node n-1 (process 4711 on host-a); its steps now: fetch (p.1) for 3 min 20 s"
    )
    silent = NodeInfo("n-1", "n-1#boot", 4711, "host-a", 0, 1, 12_000, ("f",), 32)
    [reason] = explain(*running, tasks=(task("p", "acquired"),), report=groups(silent)).reasons
    assert "which has sent nothing for 12 s" in reason.text
    assert reason.advice == "on host-a: py-spy dump --pid 4711"
    crowded = NodeInfo("n-1", "n-1#boot", 4711, "host-a", 0, 50, 40, ("f",), 32)
    [reason] = explain(*running, tasks=(task("p", "acquired"),), report=groups(crowded)).reasons
    assert "has 50 tasks and runs 32 at a time" in reason.text
    [reason] = explain(*running, tasks=(task("p", "acquired"),), report=groups()).reasons
    assert "n-1, which is not connected" in reason.text


def test_a_running_call_says_how_far_it_is_or_waits_for_others() -> None:
    running = (pending("p"), pending("p.1", "fetch", scope="local", parent="p"))
    facts = Facts(
        NOW,
        groups(NODE),
        {each.id: each for each in running},
        {"p": task("p", "acquired")},
        progress={"p.1": ProgressRecord("p.1", 0.4, "page 12", NOW)},
    )
    assert explain_call("p", facts).reasons[0].text.endswith("; it says: 40 % page 12")
    waits = (task("p", "acquired"), task("p.2", "pending", retry_at=NOW + 1000))
    [reason] = explain(pending("p"), pending("p.2", parent="p"), tasks=waits).reasons
    assert reason.ids == ("p.2",)


def test_a_blocked_node_names_the_line() -> None:
    line = "its trio loop is blocked by app.py:7 in f"
    blocked = msgspec.structs.replace(NODE, blocked=line, blocked_ms=12_000)
    [reason] = explain(pending("p"), tasks=(task("p", "acquired"),), report=groups(blocked)).reasons
    assert reason.text.endswith(f"on host-a); for 12 s {line}")
    [reason] = explain_group("g", Facts(NOW, groups(blocked))).reasons
    assert reason.text == f"node n-1: for 12 s {line}"


def test_retries_delays_and_parked_tasks() -> None:
    cause = "attempt 1 of 6 failed: ConnectionError: bank is away"
    retried = task("p", "pending", failures=1, retry_at=NOW + 60_000, cause=cause)
    [reason] = explain(pending("p"), tasks=(retried,)).reasons
    assert reason.text.startswith(f"has failed once: {cause}; attempt 2 comes at ")
    assert reason.advice == "understudy tasks retry p"
    delayed = pending("p", delay=str(NOW + 60_000))
    [reason] = explain(delayed, tasks=(task("p", "pending", retry_at=NOW + 60_000),)).reasons
    assert reason.text.startswith("is not due before ")
    assert reason.text.endswith(", in 1 min 0 s")
    parked = task("p", "halted", deaths=4, cause="its holder vanished 4 times in a row")
    [reason] = explain(pending("p"), tasks=(parked,)).reasons
    assert reason.text.startswith("is parked: its holder vanished 4 times in a row; find out why")
    assert reason.advice == "understudy tasks continue p"
    [reason] = explain(pending("p"), tasks=(task("p", "halted"),)).reasons
    assert reason.text == "is halted"


def test_a_queue_behind_busy_nodes() -> None:
    busy = NodeInfo("n-1", "n-1#boot", 4711, "host-a", 0, 32, 40, ("f",), 32)
    report = groups(busy, queued=7, waiting_ms=65_000)
    [reason] = explain(pending("p"), tasks=(task("p", "pending"),), report=report).reasons
    assert reason.text == (
        "waits in the queue of group g: 1 node has 32 tasks in hand and runs 32 at a time; 7 tasks "
        "wait, the oldest for 1 min 5 s"
    )
    assert reason.advice.startswith("start more nodes")


def test_what_is_elsewhere_or_of_nobody() -> None:
    waits = task("p", "suspended", awaits=("q", "r"))
    other = pending("q", None, timer="true")
    found = explain(pending("p"), other, tasks=(waits,), owners={"p": "a", "q": None})
    texts = {reason.ids: reason.text for reason in found.reasons}
    assert "belongs to a slot that no broker has" in texts[("q",)]
    assert "is not known to the broker" in texts[("r",)]
    [reason] = explain(pending("p"), tasks=(task("p", "suspended"),)).reasons
    assert "is about to go on" in reason.text


def test_a_ring_ends() -> None:
    waits = (task("p", "suspended", awaits=("q",)), task("q", "suspended", awaits=("p",)))
    assert explain(pending("p"), pending("q"), tasks=waits).reasons == ()


def test_a_group() -> None:
    def of(*tasks: TaskRecord, report: GroupsReport) -> Explanation:
        return explain_group("g", Facts(NOW, report, tasks={each.id: each for each in tasks}))

    fine = of(report=groups(NODE))
    assert fine.reasons == ()
    assert fine.summary == (
        "Group g: 1 node; nothing keeps its calls: 1 node has 1 tasks in hand and runs 32 at a time"
    )
    lonely = of(report=groups(queued=3, waiting_ms=1000))
    assert lonely.reasons[0].text == "no node serves the group, and 3 tasks wait"
    silent = NodeInfo("n-1", "n-1#boot", 4711, "host-a", 2, 1, 12_000, ("total",), 32)
    report = groups(silent, queued=2, unserved=(("totl", None, 2),))
    first, second = of(report=report).reasons
    assert first.text.startswith("node n-1 has sent nothing for 12 s")
    assert "2 tasks wait: no node of group g has the function totl; similar: total" in second.text
    tasks = [task(f"a{n}", "halted", cause="ValueError: x") for n in range(5)]
    retried = task("b", "pending", failures=2, cause="attempt 2 of 6 failed: KeyError: 'k'")
    first, second = of(*tasks, retried, report=groups(NODE)).reasons
    assert first.text == "5 tasks are parked: ValueError: x"
    assert first.advice == "understudy tasks continue --group g --cause 'ValueError: x'"
    assert second.text == "1 task is tried again: KeyError: 'k'"
    assert second.advice == "understudy tasks retry b"


def test_one_command_for_many_tasks() -> None:
    def of(*tasks: TaskRecord) -> Explanation:
        report = groups(NODE)
        return explain_group("g", Facts(NOW, report, tasks={each.id: each for each in tasks}))

    # Where only the ids differ, the cause is the same.
    changed = [
        task(id_, "halted", cause=f"E: {id_}.1: the history holds run one")
        for id_ in ("a", "job-b")
    ]
    [reason] = of(*changed).reasons
    assert reason.text == "2 tasks are parked: E: ….1: the history holds run one"
    assert (
        reason.advice
        == "understudy tasks continue --group g --cause '.1: the history holds run one'"
    )
    [reason] = of(task("a", "halted"), task("b", "halted")).reasons
    assert reason.advice == "understudy tasks continue a b"
    below = [pending("p.1", "p"), pending("p.2", "p")]
    parked = [task(id_, "halted", cause="ValueError: x") for id_ in ("p.1", "p.2")]
    waits = task("p", "suspended", awaits=("p.1", "p.2"))
    [reason] = explain(pending("p"), *below, tasks=(waits, *parked)).reasons
    assert reason.advice == "understudy calls continue p"


def test_a_function_that_keeps_a_group_busy_is_named() -> None:
    full = msgspec.structs.replace(NODE, credit=0, held=3, concurrency=3)
    held = {id: task(id, "acquired", started_at=NOW - n * 1000) for n, id in enumerate("abc", 1)}
    records = {id: pending(id, "report" if id != "a" else "f") for id in held}
    facts = Facts(NOW, groups(full, queued=9, waiting_ms=1000), records, held)
    reason = explain_group("g", facts).reasons[-1]
    assert reason.text == (
        "most tasks in hand are calls of report: 2 of 3; the oldest, c, began 3 s ago"
    )
    assert reason.advice == "understudy why c"
    # Nothing is said of nodes that have room.
    assert explain_group("g", Facts(NOW, groups(NODE, queued=9), records, held)).reasons == ()


def test_the_group_tells_of_steps_that_are_tried_again_and_of_calls_that_wait() -> None:
    held = {id: task(id, "acquired") for id in "ab"}
    said = "attempt 2 of 6 failed: ConnectionError: refused; the next one in 8 s"
    progress = {id: ProgressRecord(id, None, said, NOW) for id in held}
    waits = {id: task(id, "suspended", started_at=NOW - n * 1000) for n, id in enumerate("xy", 1)}
    found = explain_group("g", Facts(NOW, groups(NODE), {}, held | waits, progress=progress))
    steps, others = found.reasons
    assert steps.text == "steps of 2 calls are tried again: ConnectionError: refused"
    assert (steps.ids, steps.advice) == (("a", "b"), "understudy why a")
    assert others.text == "2 calls wait for other calls or promises, the oldest since 2 s"
    assert others.advice == "understudy why y"


def test_a_suspended_call_that_waits_for_nothing_below_it_is_not_said_to_go_on() -> None:
    [reason] = explain(pending("p"), tasks=(task("p", "suspended"),)).reasons
    assert reason.text.startswith("waits for a call or promise that another call has made")
    assert reason.advice == "understudy why --group g"
    [reason] = explain(pending("p"), tasks=(task("p", "suspended", resumes=("q",)),)).reasons
    assert reason.text == "is about to go on: what it waited for has ended"


def test_what_waits_for_one_node_alone_is_told_although_others_have_room() -> None:
    idle = msgspec.structs.replace(NODE, name="n-2", pid="n-2#boot")
    alone = {id: task(id, "pending", target="poll://uni@g/n-1") for id in "abc"}
    [reason] = explain_group("g", Facts(NOW, groups(NODE, idle, queued=4), tasks=alone)).reasons
    assert reason.text == "3 tasks wait for node n-1, which alone may have them"
    report = groups(NODE, idle, queued=4)
    [reason] = explain(pending("a"), tasks=(alone["a"],), report=report).reasons
    assert reason.text == "waits for node n-1, which alone may have it and has 1 tasks in hand"
    assert reason.advice == ""


def test_a_parked_call_that_killed_its_processes_comes_with_a_warning() -> None:
    parked = task("p", "halted", deaths=4, cause="its holder vanished 4 times in a row")
    warning = "find out why before it goes on: it may end the next process, too"
    [reason] = explain(pending("p"), tasks=(parked,)).reasons
    assert reason.text.endswith(warning)
    [reason] = explain_group("g", Facts(NOW, groups(NODE), tasks={"p": parked})).reasons
    assert reason.text.endswith(warning)
