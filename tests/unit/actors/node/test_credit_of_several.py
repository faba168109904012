"""Credit at several brokers: each may send something, and the busy ones get the room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from understudy_actors.node.config import NodeConfig
from understudy_actors.node.credit import CreditAccounts
from understudy_actors.node.state import NodeState
from understudy_broker.protocol.messages import Credit

SLOTS = 8


class Session:
    """A session that remembers the total that was announced in it."""

    def __init__(self) -> None:
        self.connected = False
        self.total = 0
        self.received = 0

    def send(self, message: Any) -> bool:
        assert isinstance(message, Credit)
        assert message.total > self.total, "a total that does not grow says nothing"
        self.total = message.total
        return self.connected

    @property
    def left(self) -> int:
        return self.total - self.received


class Rig:
    """A node's credit, with room for `SLOTS` tasks, and sessions with some brokers."""

    def __init__(self, count: int) -> None:
        config = NodeConfig(concurrency=SLOTS, ahead_max=0)
        self.state = cast(NodeState, SimpleNamespace(config=config, serving=True, running=0))
        self.accounts = CreditAccounts(self.state)
        self.sessions = [Session() for _ in range(count)]
        for session in self.sessions:
            self.join(session)

    def join(self, session: Session) -> None:
        session.received = 0
        session.total = self.accounts.new_session(session)
        session.connected = True

    def receive(self, session: Session) -> None:
        assert session.left > 0, "a broker sends no more than was announced"
        session.received += 1
        self.state.running += 1
        self.accounts.use(session)

    @property
    def left(self) -> int:
        return sum(session.left for session in self.sessions if session.connected)

    @property
    def room(self) -> int:
        return max(0, SLOTS - self.state.running)


def test_each_broker_may_send_one_task_whatever_the_others_send() -> None:
    rig = Rig(3)
    busy, *idle = rig.sessions
    while busy.left:
        rig.receive(busy)
    rig.accounts.grant()
    assert rig.room <= 2
    assert all(session.left >= 1 for session in idle)
    assert busy.left >= 1


def test_the_room_goes_where_the_tasks_come_from() -> None:
    """Also if another broker was promised all of it before, and sends nothing."""
    rig = Rig(2)
    quiet, busy = rig.sessions
    assert quiet.left == SLOTS
    for _ in range(100):
        while busy.left:
            rig.receive(busy)
        rig.state.running = 0
        rig.accounts.grant()
    assert busy.left == SLOTS
    while quiet.left:
        rig.receive(quiet)
    rig.state.running = 0
    rig.accounts.grant()
    assert 1 <= quiet.left < SLOTS


def test_the_room_of_a_broker_that_is_away_goes_to_the_others() -> None:
    rig = Rig(3)
    here, *away = rig.sessions
    for session in away:
        session.connected = False
    while here.left:
        rig.receive(here)
    rig.state.running = 0
    rig.accounts.grant()
    assert here.left == SLOTS


@given(st.integers(2, 4), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60))
def test_each_broker_is_promised_a_task_at_least_and_the_room_at_most(
    count: int, events: list[tuple[int, int]]
) -> None:
    rig = Rig(count)
    for place, kind in events:
        session = rig.sessions[place % count]
        if kind < 6 and session.connected and session.left:
            rig.receive(session)
        elif kind < 8 and rig.state.running:
            rig.state.running -= 1
        elif session.connected:
            session.connected = False
        else:
            rig.join(session)
        connected = [each for each in rig.sessions if each.connected]
        before = {each: each.left for each in connected}
        rig.accounts.grant()
        for each in connected:
            assert each.left <= max(before[each], rig.room, 1)
            assert each.left >= 1 or (len(connected) == 1 and not rig.room)
        news = sum(each.left for each in connected if each.left > before[each])
        assert news <= max(rig.room, 1) + count, "what is new is shared"


def test_a_broker_that_is_gone_has_no_part() -> None:
    rig = Rig(2)
    stays, gone = rig.sessions
    rig.accounts.end_session(gone)
    rig.accounts.grant()
    assert stays.left == SLOTS


def test_a_node_that_does_not_serve_announces_nothing() -> None:
    rig = Rig(2)
    rig.state.serving = False
    before = rig.left
    rig.accounts.grant()
    assert rig.left == before
    rig.join(rig.sessions[0])
    assert rig.sessions[0].left == 0
