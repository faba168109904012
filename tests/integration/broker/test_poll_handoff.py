"""A thread that listens to a link in its loop's place: what it hears, and when the loop does."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
import trio
import zmq

from tests.integration.broker.loop_rig import LIMIT_S, FakeBroker, Loop
from tests.support import eventually
from tests.unit.actors.interpreter.playing import environment
from tests.unit.broker.core.rig import hello
from understudy_actors.node.shell import NodeService
from understudy_broker.errors import NameInUseError
from understudy_broker.link.link import Link, open_link
from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import (
    Bye,
    Refused,
    Request,
    Response,
    Revoked,
    ToPeer,
    Welcome,
)
from understudy_broker.transport.polling import PollHandoff
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
        self.refused = False
        self.loop = Loop(self._main)

    async def _main(self) -> None:
        try:
            async with open_link(
                self.broker.url,
                lambda: hello("a"),
                self._on_messages,
                on_connected=self.welcomes.append,
            ) as link:
                self.link = link
                await trio.sleep_forever()
        except* NameInUseError:
            self.refused = True

    def _on_messages(self, messages: list[ToPeer]) -> None:
        for message in messages:
            self.took.append((message, threading.get_ident()))
            self.on_message(message)

    def listen(self, timeout_s: float = LONG_S, heard: Callable[[], None] = lambda: None) -> bool:
        return self.link.poll(self.loop.lock, timeout_s, heard)

    @contextmanager
    def listener(self) -> Iterator[list[bool]]:
        """Another thread listens, until something comes; what came of it is in the list after."""
        result: list[bool] = []
        thread = threading.Thread(target=lambda: result.append(self.listen()), daemon=True)
        thread.start()
        eventually(self.listens)
        # and the loop sleeps
        self.loop.borrowed()
        self.loop.lock.release()
        yield result
        thread.join(LIMIT_S)
        assert not thread.is_alive()

    @property
    def handoff(self) -> PollHandoff:
        """Of the connection that there is."""
        assert self.link._socket is not None
        assert self.link._socket.handoff is not None
        return self.link._socket.handoff

    def listens(self) -> bool:
        """Whether somebody listens, and the loop is deaf."""
        return self.handoff.worker_polls

    def heard_by(self, count: int) -> list[bool]:
        """Of the first `count` messages: whether another thread than the loop's took them in."""
        eventually(lambda: len(self.took) >= count)
        return [thread != self.link._thread for _, thread in self.took]


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
        with listened.listener() as result:
            listened.broker.send(revoked(number))
            listened.heard_by(number)
        assert result == [True]
    assert listened.heard_by(21) == [False] + 20 * [True]
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
    assert not listened.listens()
    listened.broker.send(revoked(1))
    # by itself the loop looks again after three beats of a broker that has not said how often
    eventually(lambda: bool(listened.took), timeout_s=4)
    assert listened.heard_by(1) == [False]


def test_an_interruption_is_for_one_wait(listened: Listened) -> None:
    with listened.listener() as result:
        listened.link.interrupt()
    assert result == [False]
    with listened.listener() as result:
        listened.broker.send(revoked(1))
    assert result == [True]
    assert listened.heard_by(1) == [True]


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
    monkeypatch.setattr("understudy_broker.link.connection.TURN_WAIT_S", LIMIT_S)
    socket = listened.link._socket
    assert socket is not None
    monkeypatch.setattr(socket, "receive_nowait", partial(socket.receive_nowait, 1))
    heard = threading.Event()
    results: list[bool] = []
    listener = threading.Thread(
        target=lambda: results.append(listened.listen(heard=heard.set)), daemon=True
    )
    listener.start()
    eventually(listened.listens)
    listened.loop.borrowed()
    for number in range(20):
        listened.broker.send(revoked(number))
    assert heard.wait(LIMIT_S)
    assert not listened.took, "not without the turn"
    listened.loop.lock.release()
    listener.join(LIMIT_S)
    assert results == [True]
    eventually(lambda: len(listened.took) == 20, timeout_s=4)
    assert [m.id for m, _ in listened.took if isinstance(m, Revoked)] == [
        f"p{number}" for number in range(20)
    ]


def test_a_broker_that_says_bye_to_who_listens_gets_a_new_hello(listened: Listened) -> None:
    with listened.listener():
        listened.broker.send(Bye())
    began = time.monotonic()
    listened.broker.welcome(beat_ms=60_000)
    eventually(lambda: len(listened.welcomes) == 2)
    # and not when it has been silent for long, which takes 7.5 s
    assert time.monotonic() - began < 5.0
    listened.broker.send(revoked(1))
    listened.heard_by(1)


def test_a_connection_that_is_lost_ends_the_listening(listened: Listened) -> None:
    """Also when it is given up for a new one, with a broker that says nothing."""
    with listened.listener() as result:
        listened.loop.token.run_sync_soon(listened.link.rejoin)
    assert result == [False]
    listened.broker.welcome(beat_ms=60_000)
    eventually(lambda: len(listened.welcomes) == 2)


def test_what_comes_during_the_goodbye_is_for_nobody(listened: Listened) -> None:
    """A node that has stopped begins nothing any more, whoever hears of it."""

    def say_goodbye() -> None:
        listened.loop.cancel()
        eventually(lambda: any(isinstance(m, Bye) for m in listened.broker.read()))
        listened.broker.send(revoked(1))
        listened.broker.send(Bye())

    with listened.listener() as result:
        say_goodbye()
    assert result == [False]
    assert not listened.listen()
    eventually(lambda: not listened.loop.running)
    assert listened.took == []


def test_who_has_asked_gets_an_answer_that_another_thread_took_in(listened: Listened) -> None:
    answers: list[tuple[Answer, int]] = []

    async def ask() -> None:
        answers.append((await listened.link.call(PromiseGet("p")), threading.get_ident()))

    listened.loop.token.run_sync_soon(trio.lowlevel.spawn_system_task, ask)
    [request] = [m for m in listened.broker.read() if isinstance(m, Request)]
    with listened.listener() as result:
        listened.broker.send(Response(request.corr, Reply(404, "unknown")))
    eventually(lambda: bool(answers))
    [(answer, thread)] = answers
    assert isinstance(answer, Response)
    assert answer.reply.status == 404
    assert thread != threading.get_ident()
    assert result == [True]


def test_an_old_connection_is_left_alone(listened: Listened) -> None:
    """Who has heard something on it finds another one in its place."""

    def another() -> None:
        listened.loop.token.run_sync_soon(listened.link.rejoin)
        listened.broker.welcome(beat_ms=60_000)
        eventually(lambda: len(listened.welcomes) == 2)

    results: list[bool] = []
    listener = threading.Thread(
        target=lambda: results.append(listened.listen(heard=another)), daemon=True
    )
    listener.start()
    eventually(listened.listens)
    listened.loop.borrowed()
    listened.broker.send(revoked(1))
    listened.loop.lock.release()
    listener.join(LIMIT_S)
    assert results == [False]
    # the new one is heard
    listened.broker.send(revoked(2))
    eventually(lambda: any(message == revoked(2) for message, _ in listened.took))


def test_a_refusal_for_good_ends_the_link_whoever_hears_it(listened: Listened) -> None:
    with listened.listener():
        listened.broker.send(Refused(409, "another one has this name", fatal=True))
    # not when the loop looks for itself, which may be seconds later
    eventually(lambda: listened.refused, 4.0)


def test_an_error_is_raised_where_it_was_heard_and_the_loop_goes_on(listened: Listened) -> None:
    errors: list[str] = []

    def fail(_: ToPeer) -> None:
        raise ValueError("no")

    def listen() -> None:
        try:
            listened.listen()
        except ValueError as error:
            errors.append(str(error))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    eventually(listened.listens)
    listened.loop.borrowed()
    listened.loop.lock.release()
    listened.on_message = fail
    listened.broker.send(revoked(1))
    listener.join(LIMIT_S)
    assert errors == ["no"]
    # it has its turn back, and hears
    listened.on_message = lambda _: None
    listened.broker.send(revoked(2))
    assert listened.heard_by(2) == [True, False]


@pytest.mark.parametrize("draining", [False, True])
def test_who_takes_messages_in_sets_the_nodes_timers_on_its_loop(draining: bool) -> None:
    nodes: list[NodeService] = []

    async def main() -> None:
        nodes.append(NodeService(environment(), Mock(), lambda: 0, loop_lock=loop.lock))
        await trio.sleep_forever()

    loop = Loop(main)
    with loop:
        node = eventually(lambda: nodes and nodes[0])
        loop.borrowed()
        node._draining = draining
        node.core._retries.append((0, Mock()))
        node.receive(())
        # only the loop's own thread may
        assert not node._pulse.is_set()
        assert not node._idle.is_set()
        loop.lock.release()
        eventually(node._pulse.is_set)
        eventually(lambda: node._idle.is_set() is draining)


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


@pytest.mark.parametrize("missing", ["eventfd", "descriptors"])
def test_without_what_it_takes_the_loop_hears_everything(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "eventfd":
        monkeypatch.delattr(os, "eventfd")
    else:
        # no more descriptors
        monkeypatch.setattr(os, "eventfd", Mock(side_effect=OSError(errno.EMFILE, "too many")))
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
    handoff = PollHandoff(read)
    assert handoff.take_over()
    handoff.close()
    # they are kept for who listens, and who is about to wait does not
    began = time.monotonic()
    assert not handoff.poll(LIMIT_S)
    assert time.monotonic() - began < LIMIT_S / 2
    handoff.hand_back()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    try:
        assert {handoff.loop_fd, handoff._interruption_fd} <= set(others), "no number was reused"
        handoff.interrupt()
        handoff.close()
        assert not handoff.take_over()
        for other in others:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(other)
    finally:
        for fd in (read, write, *others):
            os.close(fd)
