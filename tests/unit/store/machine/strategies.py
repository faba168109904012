"""Rows and changes for tests of the store: what a machine may decide, and stranger things."""

from __future__ import annotations

from hypothesis import strategies as st

from understudy_store.addresses import poll
from understudy_store.calls import call_cursor
from understudy_store.changes import Changes
from understudy_store.commands import (
    CallSearch,
    PromiseSearch,
    ReadCommand,
    ScheduleSearch,
    TaskAttempts,
    TaskPreload,
    TaskSearch,
)
from understudy_store.records import (
    EMPTY,
    PENDING,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_TARGET,
    TAG_TIMER,
    AttemptRecord,
    PromiseRecord,
    PromiseState,
    Row,
    ScheduleCourse,
    SchedulePlan,
    ScheduleRecord,
    TaskRecord,
    TaskState,
    Value,
)

#: small, so that ids collide, share prefixes and meet as origin, branch and cursor
IDS = (
    *("a", "a.1", "a.2", "a.10", "a.1.1", "b", "b.1", "é", "é.1", "\ud7ff", "\ud7ff!", "\ue000"),
    *("\uffff", "\U0001f600", "\U0010ffff", "%", "_", "'; --", '"', "A", " "),
)
ids = st.sampled_from(IDS)
#: any text but surrogates, which UTF-8 lacks, and NUL, which a text of the store may not hold
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
times = st.integers(min_value=0, max_value=2**62)
#: near each other, so that some deadlines have passed and others have not
moments = st.integers(min_value=0, max_value=40)
errors = st.sampled_from(["E", "shop.E", "shop.F"])
headers = st.dictionaries(texts, texts, max_size=3) | st.fixed_dictionaries(
    {"fn": st.sampled_from(["f", "f", "g"]), "error": errors}
)
values = st.just(EMPTY) | st.builds(Value, headers, st.none() | st.binary(max_size=40))
groups = st.sampled_from(["g", "h", "g.1"])
urls = st.sampled_from(["https://pay.example/hook", "nats://10.0.0.5/orders"])
addresses = st.builds(poll, groups, st.none() | st.sampled_from(["n1", "n2"])) | urls

promise_states: st.SearchStrategy[PromiseState] = st.sampled_from(
    ["pending", "pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout"]
)
settled_states = promise_states.filter(lambda state: state != PENDING)
task_states: st.SearchStrategy[TaskState] = st.sampled_from(
    ["pending", "acquired", "suspended", "halted", "fulfilled"]
)


@st.composite
def tags(draw: st.DrawFn) -> dict[str, str]:
    known = draw(
        st.fixed_dictionaries(
            {},
            optional={
                TAG_ORIGIN: ids,
                TAG_BRANCH: ids,
                TAG_TIMER: st.sampled_from(["true", "false"]),
                "k": st.sampled_from(["1", "2"]),
                'odd "key"': st.sampled_from(["1", "'"]),
            },
        )
    )
    return {**draw(st.dictionaries(texts, texts, max_size=2)), **known}


@st.composite
def tasks(draw: st.DrawFn, id_: str, target: str) -> TaskRecord:
    state = draw(task_states)
    resumes = tuple(draw(st.lists(ids, max_size=2, unique=True)))
    version = draw(st.integers(0, 3))
    deaths, cause = draw(st.integers(0, 3)), draw(st.none() | texts)
    node, started_at = draw(st.none() | texts), draw(st.none() | moments)
    suspensions = draw(st.integers(0, 2))
    if state == "acquired":
        pid, ttl = draw(texts.filter(bool)), draw(times)
        failures = draw(st.integers(0, 3))
        return TaskRecord(
            *(id_, state, version, target, pid, ttl, draw(times), None, resumes),
            *(failures, deaths, cause),
            node=node,
            started_at=started_at,
            suspensions=suspensions,
        )
    retry_at = draw(times) if state == "pending" else None
    return TaskRecord(
        *(id_, state, version, target, None, None, None, retry_at, resumes, 0, deaths, cause),
        node=node,
        started_at=started_at,
        suspensions=suspensions,
    )


def _settle(draw: st.DrawFn, promise: PromiseRecord, task: TaskRecord | None) -> Row:
    """The row with a drawn state: what changes, and only that. What has settled stays so."""
    state = draw(promise_states if promise.state == PENDING else settled_states)
    if task is not None:
        task = draw(tasks(promise.id, task.target))
    return Row(
        PromiseRecord(
            promise.id,
            state,
            promise.param,
            EMPTY if state == PENDING else draw(values),
            promise.tags,
            promise.timeout_at,
            promise.created_at,
            None if state == PENDING else draw(moments),
        ),
        task,
    )


@st.composite
def rows(draw: st.DrawFn, id_: str) -> Row:
    """Any row of that id; its promise and task need not agree on being settled."""
    target = draw(st.none() | addresses)
    tagged = draw(tags())
    if target is not None:
        tagged[TAG_TARGET] = target
    promise = PromiseRecord(
        id_, PENDING, draw(values), EMPTY, tagged, draw(moments | times), draw(moments)
    )
    return _settle(draw, promise, None if target is None else draw(tasks(id_, target)))


schedules = st.builds(
    ScheduleRecord,
    ids,
    cron=texts,
    promise_id=texts,
    promise_timeout=times,
    promise_param=values,
    promise_tags=headers,
    next_run_at=times,
    created_at=times,
    last_run_at=st.none() | times,
    plan=st.just(SchedulePlan())
    | st.builds(SchedulePlan, texts, texts, st.sampled_from(["last", 5_000]), times),
    course=st.just(ScheduleCourse())
    | st.builds(
        ScheduleCourse,
        times,
        st.none() | ids,
        st.none() | times,
        st.none() | times,
        st.none() | times,
        texts,
        st.none() | times,
        texts,
    ),
)


@st.composite
def batches(draw: st.DrawFn, now: int, known: dict[str, Row]) -> Changes:
    """One transaction upon `known` rows, which are brought up to date."""
    fresh = sorted(set(IDS) - known.keys())
    new = draw(st.lists(st.sampled_from(fresh), unique=True, max_size=6)) if fresh else []
    old = draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=4)) if known else []
    inserted = [draw(rows(id_)) for id_ in new]
    updated = [_settle(draw, known[id_].promise, known[id_].task) for id_ in old]
    known.update((row.promise.id, row) for row in (*inserted, *updated))
    here = st.sampled_from(sorted(known)) if known else st.nothing()
    pairs = st.lists(st.tuples(here, ids), max_size=3)
    owed = st.lists(st.tuples(here, addresses), max_size=3)
    some = st.lists(ids, max_size=2)
    return Changes(
        now,
        inserted,
        updated,
        callbacks_added=draw(pairs) if known else [],
        callbacks_removed=draw(some),
        listeners_added=draw(owed) if known else [],
        listeners_removed=draw(some),
        unblocks_added=draw(owed) if known else [],
        unblocks_removed=draw(owed) if known else [],
        schedules_put=draw(st.lists(schedules, max_size=2, unique_by=lambda s: s.id)),
        schedules_deleted=draw(some),
        attempts=[
            AttemptRecord(id_, now, 1, "raised", now, draw(st.none() | texts), error=draw(errors))
            for id_ in (draw(st.lists(here, max_size=2, unique=True)) if known else ())
        ],
    )


_limits = st.integers(min_value=1, max_value=5)
_prefixes = st.sampled_from(["", "a", "a.1", "\ud7ff", "\U0010ffff", "%", "_", "'"])

commands: st.SearchStrategy[ReadCommand] = st.one_of(
    st.builds(TaskPreload, ids, st.just(1)),
    st.builds(
        PromiseSearch,
        state=st.none() | promise_states,
        tags=st.just({})
        | st.dictionaries(st.sampled_from(["k", 'odd "key"']), st.sampled_from(["1", "2", "'"])),
        prefix=_prefixes,
        origin=st.none() | ids,
        limit=_limits,
        cursor=st.none() | ids,
    ),
    st.builds(
        TaskSearch,
        state=st.none() | task_states,
        group=st.none() | groups | urls,
        limit=_limits,
        cursor=st.none() | ids,
    ),
    st.builds(ScheduleSearch, prefix=_prefixes, limit=_limits, cursor=st.none() | ids),
    st.builds(TaskAttempts, ids),
    st.builds(
        CallSearch,
        states=st.lists(promise_states, max_size=2, unique=True).map(tuple),
        function=st.none() | st.sampled_from(["f", ""]),
        group=st.none() | groups | urls,
        error=st.none() | errors,
        tags=st.just({}) | st.just({"k": "1"}),
        prefix=_prefixes,
        since=st.none() | moments,
        until=st.none() | moments,
        slow_ms=st.just(0) | moments,
        limit=_limits,
        cursor=st.none() | st.tuples(moments, ids).map(call_cursor),
        counts=st.booleans(),
    ),
)
