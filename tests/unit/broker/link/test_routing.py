"""Routing: each request is performed where its slot is, once answered, and in its order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from understudy_broker.errors import LinkFullError
from understudy_broker.link.routing import Routing
from understudy_broker.link.session import Answer, OnReply
from understudy_broker.protocol.messages import (
    NOBODY,
    AnyCommand,
    GroupsGet,
    GroupsReport,
    PromiseWatch,
    Response,
    SlotMap,
)
from understudy_broker.protocol.placement import owners
from understudy_store.commands import PromiseGet, PromiseSearch, Reply
from understudy_store.slots import slot_of

MISDIRECTED = Reply(421, "another broker's")
#: ids in three slots that the maps below move about
IDS = ("p0", "p1", "p2")
SLOTS_OF_IDS = sorted(slot_of(id_) for id_ in IDS)


class Port:
    """A port as a link is one: requests stay until they are answered or taken back."""

    def __init__(self, name: str, room: int = 1_000) -> None:
        self.name = name
        self.room = room
        self.open: list[tuple[AnyCommand, OnReply]] = []

    def __repr__(self) -> str:
        return self.name

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        if len(self.open) >= self.room:
            raise LinkFullError("full")
        self.open.append((command, on_reply))
        return 0

    def take_back(
        self, is_wanted: Callable[[AnyCommand], bool]
    ) -> list[tuple[AnyCommand, OnReply]]:
        taken = [each for each in self.open if is_wanted(each[0])]
        self.open = [each for each in self.open if each not in taken]
        return taken

    @property
    def commands(self) -> list[AnyCommand]:
        return [command for command, _ in self.open]


def slots_of(*places: int, version: int = 1, names: str = "ab") -> SlotMap:
    """Return a map in which the slots of `IDS`, in order, have these owners."""
    runs = []
    first = 0
    for slot, place in zip(SLOTS_OF_IDS, places, strict=True):
        runs.append((slot, place))
        first = slot
    if first < 255:
        runs.append((255, places[-1]))
    return SlotMap(version, tuple((name, f"tcp://{name}:1") for name in names), tuple(runs))


def by_slot() -> list[str]:
    return sorted(IDS, key=slot_of)


class TestOneBroker:
    def test_everything_goes_through_the_first_port(self) -> None:
        port = Port("a")
        routing = Routing(port)
        for command in (PromiseGet("p"), PromiseWatch(("p", "q")), PromiseSearch(), GroupsGet()):
            routing.request(command, print)
        assert len(port.commands) == 4
        assert routing.owns(port, "whatever")
        assert routing.slots is None


class TestSeveralBrokers:
    def test_requests_made_before_the_map_go_where_it_says(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        first, second, third = by_slot()
        for id_ in (third, first, second):
            routing.request(PromiseGet(id_), print)
        assert routing.take_map(slots_of(0, 1, NOBODY), "a")
        routing.add("b", b)
        assert a.commands == [PromiseGet(first)]
        assert b.commands == [PromiseGet(second)]
        assert routing.waiting == 1
        assert routing.owns(a, first)
        assert not routing.owns(a, second)
        assert routing.take_map(slots_of(0, 1, 1, version=2))
        assert b.commands == [PromiseGet(second), PromiseGet(third)]

    def test_an_older_map_says_nothing(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        routing.take_map(slots_of(1, 1, 1, version=5), "a")
        routing.add("b", b)
        assert not routing.take_map(slots_of(0, 0, 0, version=4))
        routing.request(PromiseGet("p0"), print)
        assert (a.commands, b.commands) == ([], [PromiseGet("p0")])

    def test_a_watch_is_asked_in_parts_and_answered_once(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        routing.take_map(slots_of(0, 1, 0), "a")
        routing.add("b", b)
        answers: list[Answer] = []
        first, second, third = by_slot()
        routing.request(PromiseWatch((first, second, third)), answers.append)
        assert a.commands == [PromiseWatch((first,)), PromiseWatch((third,))]
        assert b.commands == [PromiseWatch((second,))]
        for _, on_reply in a.open:
            on_reply(Response(1, Reply(200, promises=[])))
        assert not answers
        b.open[0][1](Response(2, Reply(404, "no such promise")))
        assert [answer.reply.status for answer in answers if isinstance(answer, Response)] == [404]

    def test_a_part_that_no_port_is_for_waits(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        routing.take_map(slots_of(0, 1, 0), "a")
        answers: list[Answer] = []
        routing.request(PromiseWatch(IDS), answers.append)
        assert routing.waiting == 1
        routing.add("b", b)
        assert len(b.commands) == 1
        assert not routing.waiting

    def test_a_search_before_the_map_asks_all_brokers_after_it(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        answers: list[Answer] = []
        routing.request(PromiseSearch(), answers.append)
        # The first port is at work on it already.
        routing.take_map(slots_of(0, 1, 0), "a")
        assert (a.commands, routing.waiting) == ([], 1), "there is another broker to ask"
        routing.add("b", b)
        assert a.commands == b.commands == [PromiseSearch()]
        for _, on_reply in a.open:
            on_reply(Response(1, Reply(200, promises=[])))
        assert not answers
        b.open[0][1](Response(1, Reply(200, promises=[])))
        assert len(answers) == 1

    def test_a_search_does_not_wait_for_a_broker_without_slots(self) -> None:
        """It may be gone: a map that leaves it out and says nothing else is no newer."""
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        routing.take_map(slots_of(0, 0, 0), "a")
        routing.request(PromiseSearch(), print)
        assert a.commands == [PromiseSearch()], "not even if there is no port to it"
        routing.add("b", b)
        routing.request(GroupsGet(), print)
        assert (a.commands, b.commands) == ([PromiseSearch(), GroupsGet()], [])
        routing.take_map(slots_of(0, 1, 0, version=2))
        routing.request(GroupsGet(), print)
        assert b.commands == [GroupsGet()]

    def test_a_broker_that_is_gone_answers_nothing_more(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        routing.take_map(slots_of(0, 1, 1), "a")
        routing.add("b", b)
        answers: list[Answer] = []
        routing.request(GroupsGet(), answers.append)
        second = by_slot()[1]
        routing.request(PromiseGet(second), print)
        a.open[0][1](Response(1, Reply(200), GroupsReport((), {"commits": 3})))
        assert routing.remove("b") is b
        assert [each.report for each in answers if isinstance(each, Response)] == [
            GroupsReport((), {"commits": 3})
        ]
        assert routing.waiting == 1, "its slots may have another owner soon"
        routing.take_map(slots_of(0, 0, 0, version=2, names="a"))
        assert PromiseGet(second) in a.commands

    def test_what_waits_is_bounded(self) -> None:
        told: list[None] = []
        routing = Routing(Port("a"), 2, lambda: told.append(None))
        routing.take_map(slots_of(NOBODY, NOBODY, NOBODY), "a")
        for id_ in IDS[:2]:
            routing.request(PromiseGet(id_), print)
        with pytest.raises(LinkFullError, match="2 requests wait for brokers"):
            routing.request(PromiseGet("p2"), print)
        assert len(told) == 2

    def test_what_has_no_room_at_a_port_waits_for_it(self) -> None:
        a, b = Port("a"), Port("b", room=1)
        told: list[None] = []
        routing = Routing(a, on_waiting=lambda: told.append(None))
        for id_ in IDS:
            routing.request(PromiseGet(id_), print)
        routing.take_map(slots_of(1, 1, 1), "a")
        told.clear()
        routing.add("b", b)
        assert (len(b.open), routing.waiting) == (1, 2)
        assert told, "somebody has to try again"
        b.open.clear()
        assert routing.retry()
        b.open.clear()
        assert not routing.retry()
        assert b.commands == [PromiseGet("p2")]

    def test_a_reply_421_before_the_newer_map_waits_for_it(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        routing.take_map(slots_of(0, 0, 0), "a")
        routing.add("b", b)
        routing.request(PromiseGet("p0"), print)
        routing.moved(a, *a.open.pop())
        assert (a.commands, routing.waiting) == ([], 1)
        routing.take_map(slots_of(1, 1, 1, version=2))
        assert b.commands == [PromiseGet("p0")]

    def test_what_is_asked_after_a_reply_421_waits_behind_it(self) -> None:
        a = Port("a")
        routing = Routing(a)
        routing.take_map(slots_of(0, 0, 0), "a")
        for id_ in ("p0.1", "p1.1", "p0.2"):
            routing.request(PromiseGet(id_), print)
        routing.moved(a, *a.open.pop(0))
        routing.request(PromiseGet("p0.3"), print)
        routing.request(PromiseWatch(("p1.2", "p0.4")), print)
        routing.request(PromiseGet("p1.3"), print)
        others = [PromiseGet("p1.1"), PromiseWatch(("p1.2",)), PromiseGet("p1.3")]
        assert a.commands == others
        assert routing.waits_for({slot_of("p0")})
        routing.retry()
        assert a.commands == [
            *others,
            PromiseGet("p0.1"),
            PromiseGet("p0.2"),
            PromiseGet("p0.3"),
            PromiseWatch(("p0.4",)),
        ]
        assert not routing.waits_for({slot_of("p0")})

    def test_a_watch_that_waits_overtakes_nothing_in_its_other_slots(self) -> None:
        """And a broker that has one of its slots need not have the others."""
        a = Port("a")
        routing = Routing(a)
        routing.take_map(slots_of(0, 0, 0), "a")
        for command in (
            PromiseGet("p0.1"),
            PromiseGet("p1.1"),
            PromiseWatch(("p0.2", "p1.2", "p0.3")),
        ):
            routing.request(command, print)
        routing.moved(a, *a.open.pop(0))
        assert a.commands == [PromiseGet("p1.1"), PromiseWatch(("p1.2",))]
        routing.retry()
        assert a.commands[2:] == [PromiseGet("p0.1"), PromiseWatch(("p0.2", "p0.3"))]

    def test_a_reply_421_after_the_newer_map_goes_on_at_once(self) -> None:
        a, b = Port("a"), Port("b")
        routing = Routing(a)
        routing.take_map(slots_of(1, 1, 1, version=2), "a")
        routing.add("b", b)
        routing.moved(a, PromiseGet("p0"), print)
        assert (b.commands, routing.waiting) == ([PromiseGet("p0")], 0)


class MovingSlots(RuleBasedStateMachine):
    """Slots move between brokers while requests are under way.

    A broker gives a slot up before another one has it, and that one takes it in some time after
    everybody may know the map. In a session in which it has refused a request it refuses all later
    ones about the same slot. Whatever the peer knows, each request is performed by an owner, those
    for one slot in their order, and answered once.
    """

    names = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.ports = {name: Port(name) for name in self.names}
        self.routing = Routing(self.ports["a"])
        self.truth = slots_of(0, 1, 2, names="abc")
        #: slots that each broker performs, has said that it does, and has refused in the session
        self.mine: dict[str, set[int]] = {name: set() for name in self.names}
        self.said: dict[str, set[int]] = {name: set() for name in self.names}
        self.refused: dict[str, set[int]] = {name: set() for name in self.names}
        self.known = False
        self.count = 0
        self.made: dict[str, list[int]] = {id_: [] for id_ in IDS}
        self.performed: dict[str, list[int]] = {id_: [] for id_ in IDS}
        self.answered: list[int] = []

    def owned(self, name: str) -> set[int]:
        return {slot for slot, owner in enumerate(owners(self.truth)) if owner == name}

    def rejoin(self, name: str) -> None:
        """Join a broker anew; then what waits is sent again, after what its link has kept."""
        self.refused[name].clear()
        self.routing.retry()

    @rule(id_=st.sampled_from(IDS))
    def request(self, id_: str) -> None:
        number = self.count
        self.count += 1
        self.made[id_].append(number)

        def on_reply(_: Answer) -> None:
            assert number not in self.answered, "answered twice"
            self.answered.append(number)

        # The number travels with the command, so that order can be told.
        self.routing.request(PromiseGet(f"{id_}.{number}"), on_reply)

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=2, max_size=2, unique=True))
    def watch(self, ids: list[str]) -> None:
        """Ask for promises in two slots; it has its place among the requests for each."""
        number = self.count
        self.count += 1
        for id_ in ids:
            self.made[id_].append(number)
        command = PromiseWatch(tuple(f"{id_}.{number}" for id_ in ids))
        self.routing.request(command, lambda _: self.answered.append(number))

    @rule(places=st.tuples(*[st.integers(-1, 2)] * 3))
    def move(self, places: tuple[int, int, int]) -> None:
        self.truth = slots_of(*places, version=self.truth.version + 1, names="abc")
        for name in self.names:
            self.mine[name] &= self.owned(name)
            self.said[name] &= self.owned(name)

    @rule()
    def tell(self) -> None:
        """Tell the peer of the map, in a welcome or by a push."""
        self.routing.take_map(self.truth, None if self.known else "a")
        self.known = True
        for name, port in self.ports.items():
            if name not in self.routing.ports:
                self.routing.add(name, port)

    @rule(name=st.sampled_from(names))
    def admit(self, name: str) -> None:
        """Let a broker take in what is its own."""
        self.mine[name] = self.owned(name)

    @precondition(lambda self: self.known)
    @rule(name=st.sampled_from(names))
    def say(self, name: str) -> None:
        """Let a broker say what it has; the peer joins it anew if it has waited for that."""
        come = self.mine[name] - self.said[name]
        self.said[name] = set(self.mine[name])
        if self.routing.waits_for(come):
            self.rejoin(name)

    @rule(name=st.sampled_from(names), is_lost=st.booleans())
    def perform(self, name: str, is_lost: bool) -> None:
        """Let a broker perform the oldest request at it; the answer may get lost on the way."""
        port = self.ports[name]
        if not port.open or not self.known:
            return
        command, on_reply = port.open[0]
        assert isinstance(command, PromiseGet | PromiseWatch)
        ids = command.ids if isinstance(command, PromiseWatch) else (command.id,)
        slots = {slot_of(id_) for id_ in ids}
        if slots <= self.mine[name] and slots.isdisjoint(self.refused[name]):
            for id_ in ids:
                home, _, number = id_.partition(".")
                self.performed[home].append(int(number))
            if not is_lost:
                port.open.pop(0)
                on_reply(Response(0, Reply(200, promises=[])))
        else:
            self.refused[name] |= slots
            port.open.pop(0)
            self.routing.moved(port, command, on_reply)
            if not slots.isdisjoint(self.said[name]):
                self.rejoin(name)

    @rule()
    def retry(self) -> None:
        self.routing.retry()

    @invariant()
    def each_slot_keeps_its_order(self) -> None:
        for id_ in IDS:
            first_times = list(dict.fromkeys(self.performed[id_]))
            assert first_times == self.made[id_][: len(first_times)]

    @precondition(lambda self: self.count)
    @rule()
    def all_is_answered_in_the_end(self) -> None:
        self.move((0, 1, 2))
        self.tell()
        for name in self.names:
            self.admit(name)
            self.say(name)
        self.retry()
        while any(port.open for port in self.ports.values()):
            for name in self.names:
                self.perform(name, is_lost=False)
        assert sorted(self.answered) == list(range(self.count))


TestMovingSlots = MovingSlots.TestCase
TestMovingSlots.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
