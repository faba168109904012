"""A thread that listens to a link in its loop's place: what it hears, and when the loop does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import trio
import zmq

from tests.integration.turns import LIMIT_S, FakeBroker, Loop
from tests.support import eventually
from tests.unit.broker.rig import hello
from understudy_broker.client import Link, open_link
from understudy_broker.ear import Ear
from understudy_broker.protocol.messages import (
    Bye,
    Request,
    Response,
    Revoked,
    ToPeer,
    Welcome,
)
from understudy_store.commands import PromiseGet, Reply

#: longer than any test
LONG_S = 6 * LIMIT_S


class Listened:
    """A link to a broker that is played by hand, and who took in which message."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.broker = FakeBroker(context)
        self.took: list[tuple[ToPeer, int]] = []
        self.welcomes: list[Welcome] = []
        #: called with each message, by who takes it in
        self.on_message: Callable[[ToPeer], None] = lambda _: None
        self.link: Link
        self.loop = Loop(self._main)

    async def _main(self) -> None:
        async with open_link(
            self.broker.url,
            lambda: hello("a"),
            self._on_messages,
            on_connected=self.welcomes.append,
        ) as link:
            self.link = link
            await trio.sleep_forever()

    def _on_messages(self, messages: list[ToPeer]) -> None:
        for message in messages:
            self.took.append((message, threading.get_ident()))
            self.on_message(message)

    def listen(self, timeout_s: float = LONG_S, heard: Callable[[], None] = lambda: None) -> bool:
        return self.link.listen(self.loop.turn, timeout_s, heard)

    @contextmanager
    def listener(self) -> Iterator[list[bool]]:
        """Another thread listens, until something comes; what came of it is in the list after."""
        result: list[bool] = []
        thread = threading.Thread(target=lambda: result.append(self.listen()), daemon=True)
        thread.start()
        yield result
        thread.join(LIMIT_S)
        assert not thread.is_alive()

    def heard_by(self, count: int) -> list[bool]:
        """Of the first `count` messages: whether this thread took them in."""
        eventually(lambda: len(self.took) >= count)
        return [thread == threading.get_ident() for _, thread in self.took]


@pytest.fixture
def listened() -> Iterator[Listened]:
    with zmq.Context() as context:
        listened = Listened(context)
        with listened.loop:
            listened.broker.welcome(beat_ms=60_000)
            eventually(lambda: bool(listened.welcomes))
            yield listened
        listened.broker.socket.close(0)


def revoked(number: int) -> Revoked:
    return Revoked(f"p{number}", number, "lost")


def test_who_listens_takes_in_what_comes_while_the_loop_sleeps(listened: Listened) -> None:
    answers: list[int] = []

    def ask(_: ToPeer) -> None:
        listened.link.request(PromiseGet("p"), lambda _: answers.append(threading.get_ident()))

    listened.on_message = ask
    listened.broker.send(revoked(1))
    listened.heard_by(1)
    for number in range(2, 22):
        listened.loop.borrowed()
        listened.loop.turn.give_back()
        listened.broker.send(revoked(number))
        listened.listen(LIMIT_S / 10)
        listened.heard_by(number)
    # now and then the loop was awake at that moment
    assert sum(listened.heard_by(21)) > 10
    # what was asked meanwhile has left, though nobody woke the loop
    requests: list[Request] = []
    while len(requests) < 21:
        requests += [m for m in listened.broker.read() if isinstance(m, Request)]
    with listened.listener():
        for request in requests:
            listened.broker.send(Response(request.corr, Reply(404, "unknown")))
    eventually(lambda: len(answers) == 21)


def test_nothing_came_or_it_was_interrupted(listened: Listened) -> None:
    waits: list[str] = []
    assert not listened.listen(0.001, lambda: waits.append("over"))
    assert waits == ["over"]
    with listened.listener() as result:
        listened.link.interrupt()
    assert result == [False]
    # before it began, it counts as well
    listened.link.interrupt()
    assert not listened.listen()
    # from here on the loop listens again
    listened.broker.send(revoked(1))
    assert listened.heard_by(1) == [False]


def test_a_loop_that_is_awake_is_left_alone(listened: Listened) -> None:
    """It takes in what came, as soon as it can."""
    inside, leave = threading.Event(), threading.Event()

    def busy() -> None:
        inside.set()
        leave.wait(LIMIT_S)

    listened.loop.token.run_sync_soon(busy)
    assert inside.wait(LIMIT_S)
    listened.broker.send(revoked(1))
    assert not listened.listen()
    assert not listened.took
    leave.set()
    assert listened.heard_by(1) == [False]


def test_more_than_is_taken_at_once_is_taken_all(
    listened: Listened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the bound leaves is for the loop, though its signal is gone."""
    monkeypatch.setattr("understudy_broker.client.TURN_WAIT_S", LIMIT_S)
    socket = listened.link._socket
    assert socket is not None
    monkeypatch.setattr(socket, "receive_nowait", partial(socket.receive_nowait, 1))
    heard = threading.Event()
    results: list[bool] = []
    listener = threading.Thread(
        target=lambda: results.append(listened.listen(heard=heard.set)), daemon=True
    )
    listener.start()
    listened.loop.borrowed()
    for number in range(20):
        listened.broker.send(revoked(number))
    assert heard.wait(LIMIT_S)
    assert not listened.took, "not without the turn"
    listened.loop.turn.give_back()
    listener.join(LIMIT_S)
    assert results == [True]
    listened.heard_by(20)
    assert [m.id for m, _ in listened.took if isinstance(m, Revoked)] == [
        f"p{number}" for number in range(20)
    ]


def test_a_broker_that_says_bye_to_who_listens_gets_a_new_hello(listened: Listened) -> None:
    with listened.listener():
        listened.broker.send(Bye())
    listened.broker.welcome(beat_ms=60_000)
    eventually(lambda: len(listened.welcomes) == 2)
    listened.broker.send(revoked(1))
    listened.heard_by(1)


def test_a_connection_that_is_lost_ends_the_listening(listened: Listened) -> None:
    """Also when it is given up for a new one, with a broker that says nothing."""
    with listened.listener() as result:
        listened.loop.token.run_sync_soon(listened.link.rejoin)
    assert result == [False]
    listened.broker.welcome(beat_ms=60_000)
    eventually(lambda: len(listened.welcomes) == 2)


def test_who_waits_for_a_change_hears_of_it(listened: Listened) -> None:
    """A task of the loop waits for room, which an answer makes, that another thread takes in."""
    made_room = threading.Event()

    async def wait() -> None:
        await listened.link.wait_for_room(1)
        made_room.set()

    def ask() -> None:
        listened.link.request(PromiseGet("p"), lambda _: None)
        trio.lowlevel.spawn_system_task(wait)

    listened.loop.token.run_sync_soon(ask)
    [request] = [m for m in listened.broker.read() if isinstance(m, Request)]
    assert not made_room.is_set()
    with listened.listener():
        listened.broker.send(Response(request.corr, Reply(404, "unknown")))
    assert made_room.wait(LIMIT_S)


def test_without_what_it_takes_the_loop_hears_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy_broker.sockets.can_share", lambda: False)
    with zmq.Context() as context:
        listened = Listened(context)
        with listened.loop:
            listened.broker.welcome(beat_ms=60_000)
            eventually(lambda: bool(listened.welcomes))
            listened.broker.send(revoked(1))
            assert not listened.listen()
            listened.link.interrupt()
            assert listened.heard_by(1) == [False]
        listened.broker.socket.close(0)


def test_a_closed_ear_touches_nothing() -> None:
    """The numbers of its descriptors are given to others."""
    read, write = os.pipe()
    ear = Ear(read)
    assert ear.begin()
    ear.close()
    # they are kept for who listens, and who is about to wait does not
    assert not ear.wait(LONG_S)
    ear.end()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    try:
        assert {ear.fd, ear._interruption} <= set(others), "no number was used again"
        ear.interrupt()
        ear.close()
        assert not ear.begin()
        for other in others:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(other)
    finally:
        for fd in (read, write, *others):
            os.close(fd)
