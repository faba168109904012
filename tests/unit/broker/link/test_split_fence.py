"""Fences with commands of several slots: what is sent where, and the one answer."""

from __future__ import annotations

from tests.unit.broker.link.test_routing import Port
from understudy_broker.link.routing import Routing
from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import Refused, Response, SlotMap
from understudy_store.commands import PromiseCreate, PromiseSettle, Reply, TaskFence
from understudy_store.records import EMPTY, TAG_BRANCH, PromiseRecord
from understudy_store.slots import slot_of

#: slots of the task, and of two other homes
TASK, NEAR, FAR = "p0", "p1", "p2"
UNDER = {TAG_BRANCH: TASK}


def routing() -> tuple[Routing[Port], Port, Port]:
    """Return a routing to a broker of all slots but that of `FAR`, and to one that has the rest."""
    a, b = Port("a"), Port("b")
    found = Routing(a)
    far = slot_of(FAR)
    runs = ((far - 1, 0), (far, 1), (255, 0))
    found.take_map(SlotMap(1, (("a", "tcp://a:1"), ("b", "tcp://b:1")), runs), "a")
    found.add("b", b)
    return found, a, b


def create(id_: str) -> PromiseCreate:
    return PromiseCreate(id_, 9, tags=UNDER)


def record(id_: str, settled_at: int | None = None) -> PromiseRecord:
    state = "pending" if settled_at is None else "resolved"
    return PromiseRecord(id_, state, EMPTY, EMPTY, UNDER, 9, 1, settled_at)  # type: ignore[arg-type]


def answer(port: Port, reply: Reply) -> None:
    port.open.pop(0)[1](Response(0, reply))


def test_a_fence_of_one_slot_is_sent_as_it_is() -> None:
    found, a, _ = routing()
    fence = TaskFence(TASK, 1, (create(f"{TASK}.1"), PromiseSettle(f"{TASK}.2", "resolved")))
    found.request(fence, print)
    assert a.commands == [fence]


def test_without_a_map_it_is_sent_as_it_is() -> None:
    port = Port("a")
    fence = TaskFence(TASK, 1, (create(FAR),))
    Routing(port).request(fence, print)
    assert port.commands == [fence]


def test_what_is_elsewhere_is_sent_once_the_task_was_held() -> None:
    found, a, b = routing()
    answers: list[Answer] = []
    own = (create(f"{TASK}.1"), PromiseSettle(f"{TASK}.2", "resolved"))
    there = (create(FAR), create(NEAR), PromiseSettle(FAR, "resolved"))
    commands = (own[0], there[0], there[1], own[1], there[2])
    found.request(TaskFence(TASK, 3, commands), answers.append)
    assert (a.commands, b.commands) == ([TaskFence(TASK, 3, own)], [])
    settled = Reply(200, None, record(f"{TASK}.2", 5))
    answer(a, Reply(200, replies=[None, settled], now=77))
    assert (a.commands, b.commands) == ([there[1]], [there[0], there[2]])
    answer(b, Reply(201, None, record(FAR)))
    answer(a, Reply(200, None, record(NEAR)))
    assert not answers
    answer(b, Reply(200, None, record(FAR, 5)))
    [made] = answers
    assert isinstance(made, Response)
    assert (made.reply.status, made.reply.now) == (200, 77)
    assert made.reply.replies == [
        None,
        Reply(201),
        Reply(200, None, record(NEAR)),
        settled,
        Reply(200, None, record(FAR, 5)),
    ]


def test_a_task_that_is_lost_sends_nothing_elsewhere() -> None:
    found, a, b = routing()
    answers: list[Answer] = []
    found.request(TaskFence(TASK, 3, (create(FAR),)), answers.append)
    assert a.commands == [TaskFence(TASK, 3, ())]
    answer(a, Reply(409, "another version"))
    assert [each.reply.status for each in answers if isinstance(each, Response)] == [409]
    assert b.commands == []


def test_a_refused_part_is_the_reply_of_its_command() -> None:
    found, a, b = routing()
    answers: list[Answer] = []
    found.request(TaskFence(TASK, 3, (create(FAR),)), answers.append)
    answer(a, Reply(200, replies=[]))
    b.open.pop(0)[1](Refused(413, "too large"))
    [made] = answers
    assert isinstance(made, Response)
    assert made.reply.replies == [Reply(413, "too large")]


def test_a_call_that_is_over_when_it_is_made_is_told_with_its_end() -> None:
    found, a, b = routing()
    answers: list[Answer] = []
    found.request(TaskFence(TASK, 3, (create(FAR),)), answers.append)
    answer(a, Reply(200))
    answer(b, Reply(201, None, record(FAR, 5)))
    [made] = answers
    assert isinstance(made, Response)
    assert made.reply.replies == [Reply(201, None, record(FAR, 5))]


def test_a_create_elsewhere_is_under_the_task() -> None:
    found, a, b = routing()
    found.request(TaskFence(TASK, 3, (PromiseCreate(FAR, 9, tags={"mine": "1"}),)), print)
    answer(a, Reply(200))
    assert b.commands == [PromiseCreate(FAR, 9, tags={"mine": "1", TAG_BRANCH: TASK})]


def test_a_part_that_finds_no_room_is_sent_later() -> None:
    found, a, b = routing()
    answers: list[Answer] = []
    found.request(TaskFence(TASK, 3, (create(FAR), create(f"{FAR}.1"))), answers.append)
    b.room = 1
    answer(a, Reply(200))
    assert (b.commands, found.waiting) == ([create(FAR)], 1)
    answer(b, Reply(201))
    found.retry()
    answer(b, Reply(201))
    assert len(answers) == 1
