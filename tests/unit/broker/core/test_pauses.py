"""Pauses of groups and functions: who gets nothing, what is kept, and when it counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.core.dispatching import F, G, Task, assigned, given_nodes, knowing, some
from tests.unit.broker.core.rig import Rig
from understudy_broker.core.dispatcher import ALL, SUSPECT_CRASH_COUNT, Dispatcher
from understudy_broker.core.pauses import PAUSES, PAUSES_MAX, Fact, Pauses
from understudy_broker.protocol.messages import GroupPause, GroupsGet, Invoke, PauseInfo, Response
from understudy_store.commands import Reply
from understudy_store.engines.memory import MemoryEngine
from understudy_store.errors import StoreFormatError

C, N = b"peer-c", b"peer-n"
WHOLE = frozenset({ALL})


# The dispatcher ----------------------------------------------------------------------------------


def test_a_paused_group_gets_nothing_until_it_goes_on() -> None:
    dispatcher = given_nodes("a", credit=9)
    dispatcher.offer(Task("before"), 0)
    dispatcher.set_paused("g", WHOLE)
    dispatcher.offer(Task("after"), 0)
    dispatcher.offer(Task("elsewhere", target="poll://any@h"), 0)
    dispatcher.join("b#1", "h", "b")
    dispatcher.credit("b#1", 1)
    assert assigned(dispatcher) == [("elsewhere", "b#1")]
    dispatcher.credit("a#1", 20)
    assert assigned(dispatcher) == []
    dispatcher.set_paused("g", frozenset())
    assert assigned(dispatcher) == [("before", "a#1"), ("after", "a#1")]


def test_a_group_is_paused_also_if_nothing_is_known_of_it_yet() -> None:
    dispatcher = Dispatcher()
    dispatcher.set_paused("g", WHOLE)
    dispatcher.join("a#1", "g", "a")
    dispatcher.credit("a#1", 9)
    dispatcher.offer(Task("t"), 0)
    assert assigned(dispatcher) == []
    dispatcher.leave("a#1")
    dispatcher.withdraw("t")
    dispatcher.join("a#1", "g", "a")
    dispatcher.credit("a#1", 9)
    dispatcher.offer(Task("u"), 0)
    assert assigned(dispatcher) == [], "nor when the group was forgotten in between"


def test_a_paused_function_waits_however_its_tasks_are_addressed() -> None:
    dispatcher = knowing(a=None, b=some(F))
    dispatcher.set_paused("g", frozenset({"g"}))
    dispatcher.offer(Task("any", callee=G), 0)
    dispatcher.offer(Task("version", callee=("g", "2")), 0)
    dispatcher.offer(Task("only", target="poll://uni@g/a", callee=G), 0)
    dispatcher.offer(Task("suspect", crash_count=SUSPECT_CRASH_COUNT, callee=G), 0)
    dispatcher.offer(Task("warm", warm="a#1", callee=G), 0)
    dispatcher.offer(Task("other", callee=F), 0)
    assert [id for id, _ in assigned(dispatcher)] == ["other"]
    statistics = dispatcher.statistics().groups[0]
    assert (statistics.queued, statistics.waiting_since, statistics.unserved) == (5, 0, ())
    dispatcher.withdraw("version")
    dispatcher.set_paused("g", frozenset())
    found = dict(assigned(dispatcher))
    assert found == dict.fromkeys(("any", "only", "suspect", "warm"), "a#1")


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("offer"),
                st.sampled_from([F, G, None]),
                st.sampled_from(["poll://any@g", "poll://uni@g/a", "poll://any@g/b"]),
                st.integers(0, 2),
                st.sampled_from([0, SUSPECT_CRASH_COUNT]),
            ),
            st.tuples(st.just("pause"), st.frozensets(st.sampled_from(["f", "g", ALL]))),
            st.tuples(st.just("withdraw"), st.integers(0, 9)),
            st.tuples(st.just("learn"), st.sampled_from(["a#1", "b#1"])),
        ),
        max_size=30,
    )
)
def test_nothing_that_is_paused_is_assigned_and_nothing_is_lost(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    dispatcher = knowing(a=some(F), b=some(F, G))
    paused: frozenset[str] = frozenset()
    waiting: dict[str, tuple[str | None, ...]] = {}
    for number, (kind, *rest) in enumerate(steps):
        if kind == "offer":
            callee, target, priority, crashes = rest
            task = Task(f"t{number}", 0, target, priority, None, crashes, callee)
            dispatcher.offer(task, number)
            waiting[task.id] = () if callee is None else callee[:1]
        elif kind == "pause":
            dispatcher.set_paused("g", rest[0])
            paused = rest[0]
        elif kind == "withdraw":
            dispatcher.withdraw(f"t{rest[0]}")
            waiting.pop(f"t{rest[0]}", None)
        else:
            dispatcher.add_functions(rest[0], some(F, G))
        for id_, _ in assigned(dispatcher):
            name = waiting.pop(id_)
            assert ALL not in paused
            assert not paused & set(name)
    assert dispatcher.statistics().queued == len(waiting)
    dispatcher.set_paused("g", frozenset())
    for pid in ("a#1", "b#1"):
        dispatcher.add_functions(pid, some(F, G))
        dispatcher.credit(pid, 500)
    for _ in range(60):  # A node takes one suspect at a time.
        dispatcher.release_suspects(lambda _pid, _id: False, 0)
        for id_, _ in assigned(dispatcher):
            del waiting[id_]
    assert not waiting


# The core ----------------------------------------------------------------------------------------


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.join(C, "c", kind="client")
    rig.join(N, "n", credit=9)
    return rig


def invoked(rig: Rig) -> list[str]:
    return [invoke.promise.id for invoke in rig.take(N, Invoke)]


def pauses(rig: Rig) -> dict[str, tuple[PauseInfo, ...]]:
    rig.ask(C, GroupsGet())
    rig.turn()
    report = rig.one(C, Response).report
    assert report is not None
    return {group.name: group.pauses for group in report.groups if group.pauses}


def test_a_pause_counts_once_it_is_kept(rig: Rig) -> None:
    rig.ask(C, GroupPause("g", reason="the bank is down"))
    rig.step()
    assert rig.core.searches.take() == Fact(
        PAUSES, f'{{"g":{{"":["",{rig.now},"the bank is down",""]}}}}'
    )
    assert rig.create(C, "before").ok
    assert rig.take(C, Response) == []
    rig.core.searches.answered(Reply(200))
    rig.step()
    assert rig.one(C, Response).reply.ok
    rig.create(C, "after")
    assert invoked(rig) == ["before"]
    rig.now += 5
    assert pauses(rig) == {"g": (PauseInfo("", rig.now - 5, "the bank is down"),)}
    assert rig.reply(C, GroupPause("g", reason="still")).ok
    assert pauses(rig) == {"g": (PauseInfo("", rig.now - 5, "still"),)}
    assert rig.reply(C, GroupPause("g", paused=False)).ok
    rig.turn()
    assert invoked(rig) == ["after"]
    assert pauses(rig) == {}


def test_a_pause_that_cannot_be_kept_does_not_count(rig: Rig) -> None:
    rig.ask(C, GroupPause("g"))
    rig.step()
    assert rig.core.searches.take() is not None
    rig.core.searches.answered(Reply(503, "no room"))
    rig.step()
    assert rig.one(C, Response).reply == Reply(503, "no room")
    rig.create(C, "t")
    assert invoked(rig) == ["t"]


def test_pauses_last() -> None:
    engine = MemoryEngine()
    rig = Rig(engine)
    rig.join(C, "c", kind="client")
    for command in (GroupPause("g", "f"), GroupPause("h"), GroupPause("h", paused=False)):
        assert rig.reply(C, command).ok
    found = Pauses(dispatcher := Dispatcher())
    found.restore(engine.fact(PAUSES))
    assert [*found.groups()] == ["g"]
    assert [each.function for each in found.of("g")] == ["f"]
    dispatcher.join("a#1", "g", "a")
    dispatcher.credit("a#1", 9)
    dispatcher.offer(Task("t", callee=F), 0)
    assert assigned(dispatcher) == []
    with pytest.raises(StoreFormatError, match="the pauses in the store cannot be read"):
        found.restore("{")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (GroupPause("no/name"), "group"),
        (GroupPause("g", "f" * 257), "the name of a function has at most 256 characters"),
        (GroupPause("g", reason="x" * 201), "a reason has at most 200 characters"),
    ],
)
def test_what_cannot_be_paused_is_refused(rig: Rig, command: GroupPause, text: str) -> None:
    reply = rig.reply(C, command)
    assert (reply.status, text in (reply.error or "")) == (400, True), reply


def test_there_are_only_so_many_pauses(rig: Rig) -> None:
    for number in range(PAUSES_MAX):
        assert rig.reply(C, GroupPause("g", f"f{number}")).ok
    reply = rig.reply(C, GroupPause("h"))
    assert (reply.status, "end one of them first" in (reply.error or "")) == (429, True)
    assert rig.reply(C, GroupPause("g", "f0", paused=False)).ok
    assert rig.reply(C, GroupPause("h")).ok
