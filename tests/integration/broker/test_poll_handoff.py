"""A thread that polls a link instead of its loop: what it receives, and what the loop receives."""

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
from tests.unit.actors.interpreter.harness import environment
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

#: longer than any test takes
LONG_S = 6 * LIMIT_S


class PolledLink:
    """A link to a broker that the test operates by hand. Records which thread received what."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.broker = FakeBroker(context)
        self.received: list[tuple[ToPeer, int]] = []
        self.welcomes: list[Welcome] = []
        #: called with each message, on the thread that received it
        self.on_message: Callable[[ToPeer], None] = lambda _: None
        self.link: Link
        self.refused = False
        self.loop = Loop(self._main)

    async def _main(self) -> None:
        self._loop_ident = threading.get_ident()
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
            self.received.append((message, threading.get_ident()))
            self.on_message(message)

    def poll(self, timeout_s: float = LONG_S, on_polled: Callable[[], None] = lambda: None) -> bool:
        return self.link.poll(self.loop.lock, timeout_s, on_polled)

    @contextmanager
    def poller(self) -> Iterator[list[bool]]:
        """Let another thread poll, until something arrives; the list has its result afterwards."""
        result: list[bool] = []
        thread = threading.Thread(target=lambda: result.append(self.poll()), daemon=True)
        thread.start()
        eventually(lambda: self.handoff.worker_polls)
        # The loop sleeps as soon as the lock is free.
        self.loop.acquire()
        self.loop.lock.release()
        yield result
        thread.join(LIMIT_S)
        assert not thread.is_alive()

    @property
    def handoff(self) -> PollHandoff:
        """The hand-off of the present connection."""
        socket = self.link.connection.socket
        assert socket is not None
        assert socket.handoff is not None
        return socket.handoff

    def by_poller(self, count: int) -> list[bool]:
        """Wait for `count` messages; return for each if another thread than the loop's got it."""
        eventually(lambda: len(self.received) >= count)
        return [thread != self._loop_ident for _, thread in self.received]


@pytest.fixture
def polled() -> Iterator[PolledLink]:
    with zmq.Context() as context:
        polled = PolledLink(context)
        with polled.loop:
            polled.broker.welcome(beat_ms=60_000)
            eventually(lambda: bool(polled.welcomes))
            yield polled
        polled.broker.socket.close(0)


def revoked(number: int) -> Revoked:
    return Revoked(f"p{number}", number, "lost")


def test_a_worker_receives_messages_while_the_loop_sleeps(polled: PolledLink) -> None:
    answers: list[int] = []

    def ask(_: ToPeer) -> None:
        polled.link.request(PromiseGet("p"), lambda _: answers.append(threading.get_ident()))

    polled.on_message = ask
    polled.broker.send(revoked(1))
    polled.by_poller(1)
    for number in range(2, 22):
        with polled.poller() as result:
            polled.broker.send(revoked(number))
            polled.by_poller(number)
        assert result == [True]
    assert polled.by_poller(21) == [False] + 20 * [True]
    # The requests made meanwhile have left, although nobody woke the loop.
    requests: list[Request] = []
    while len(requests) < 21:
        requests += [m for m in polled.broker.read() if isinstance(m, Request)]
    with polled.poller():
        for request in requests:
            polled.broker.send(Response(request.corr, Reply(404, "unknown")))
    eventually(lambda: len(answers) == 21)


def test_a_poll_ends_without_input_or_when_interrupted(polled: PolledLink) -> None:
    waits: list[str] = []
    assert not polled.poll(0.001, lambda: waits.append("over"))
    assert waits == ["over"]
    with polled.poller() as result:
        polled.link.interrupt()
    assert result == [False]
    # An interruption before the poll counts, too.
    polled.link.interrupt()
    assert not polled.poll()
    # From here on the loop polls again.
    assert not polled.handoff.worker_polls
    polled.broker.send(revoked(1))
    # Without being woken the loop would continue after 7.5 s, three default intervals.
    eventually(lambda: bool(polled.received), timeout_s=4)
    assert polled.by_poller(1) == [False]


def test_an_interruption_ends_one_poll_only(polled: PolledLink) -> None:
    with polled.poller() as result:
        polled.link.interrupt()
    assert result == [False]
    with polled.poller() as result:
        polled.broker.send(revoked(1))
    assert result == [True]
    assert polled.by_poller(1) == [True]


def test_a_loop_that_is_awake_receives_by_itself(polled: PolledLink) -> None:
    """It does so as soon as it can; the worker leaves the message to it."""
    inside, leave = threading.Event(), threading.Event()

    def busy() -> None:
        inside.set()
        leave.wait(LIMIT_S)

    polled.loop.token.run_sync_soon(busy)
    assert inside.wait(LIMIT_S)
    polled.broker.send(revoked(1))
    assert not polled.poll()
    assert not polled.received
    leave.set()
    assert polled.by_poller(1) == [False]


def test_messages_past_the_bound_of_one_receive_are_left_to_the_loop(
    polled: PolledLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop receives them although their descriptor is not readable any more."""
    monkeypatch.setattr("understudy_broker.link.connection.LOCK_WAIT_S", LIMIT_S)
    socket = polled.link.connection.socket
    assert socket is not None
    monkeypatch.setattr(socket, "receive_nowait", partial(socket.receive_nowait, 1))
    arrived = threading.Event()
    results: list[bool] = []
    poller = threading.Thread(
        target=lambda: results.append(polled.poll(on_polled=arrived.set)), daemon=True
    )
    poller.start()
    eventually(lambda: polled.handoff.worker_polls)
    polled.loop.acquire()
    for number in range(20):
        polled.broker.send(revoked(number))
    assert arrived.wait(LIMIT_S)
    assert not polled.received, "the lock is needed"
    polled.loop.lock.release()
    poller.join(LIMIT_S)
    assert results == [True]
    eventually(lambda: len(polled.received) == 20, timeout_s=4)
    assert [m.id for m, _ in polled.received if isinstance(m, Revoked)] == [
        f"p{number}" for number in range(20)
    ]


def test_a_bye_that_a_worker_receives_leads_to_a_new_hello(polled: PolledLink) -> None:
    with polled.poller():
        polled.broker.send(Bye())
    began = time.monotonic()
    polled.broker.welcome(beat_ms=60_000)
    eventually(lambda: len(polled.welcomes) == 2)
    # The loop would notice its silence after 7.5 s.
    assert time.monotonic() - began < 5.0
    polled.broker.send(revoked(1))
    polled.by_poller(1)


def test_a_lost_connection_ends_the_poll(polled: PolledLink) -> None:
    """Even if the link gives it up for a new one and the broker sends nothing."""
    with polled.poller() as result:
        polled.loop.token.run_sync_soon(polled.link.rejoin)
    assert result == [False]
    polled.broker.welcome(beat_ms=60_000)
    eventually(lambda: len(polled.welcomes) == 2)


def test_messages_during_the_goodbye_are_dropped(polled: PolledLink) -> None:
    """A node that has stopped begins nothing any more, whichever thread polls."""

    def say_goodbye() -> None:
        polled.loop.cancel()
        eventually(lambda: any(isinstance(m, Bye) for m in polled.broker.read()))
        polled.broker.send(revoked(1))
        polled.broker.send(Bye())

    with polled.poller() as result:
        say_goodbye()
    assert result == [False]
    assert not polled.poll()
    eventually(lambda: not polled.loop.running)
    assert polled.received == []


def test_a_task_gets_an_answer_that_a_worker_received(polled: PolledLink) -> None:
    answers: list[tuple[Answer, int]] = []

    async def ask() -> None:
        answers.append((await polled.link.call(PromiseGet("p")), threading.get_ident()))

    polled.loop.token.run_sync_soon(trio.lowlevel.spawn_system_task, ask)
    [request] = [m for m in polled.broker.read() if isinstance(m, Request)]
    with polled.poller() as result:
        polled.broker.send(Response(request.corr, Reply(404, "unknown")))
    eventually(lambda: bool(answers))
    [(answer, thread)] = answers
    assert isinstance(answer, Response)
    assert answer.reply.status == 404
    assert thread != threading.get_ident()
    assert result == [True]


def test_a_connection_that_was_replaced_meanwhile_is_not_read(polled: PolledLink) -> None:
    """The worker polled it successfully, and then the link replaced it."""

    def another() -> None:
        polled.loop.token.run_sync_soon(polled.link.rejoin)
        polled.broker.welcome(beat_ms=60_000)
        eventually(lambda: len(polled.welcomes) == 2)

    results: list[bool] = []
    poller = threading.Thread(
        target=lambda: results.append(polled.poll(on_polled=another)), daemon=True
    )
    poller.start()
    eventually(lambda: polled.handoff.worker_polls)
    polled.loop.acquire()
    polled.broker.send(revoked(1))
    polled.loop.lock.release()
    poller.join(LIMIT_S)
    assert results == [False]
    # Messages on the new one arrive.
    polled.broker.send(revoked(2))
    eventually(lambda: any(message == revoked(2) for message, _ in polled.received))


def test_a_refusal_for_good_that_a_worker_receives_ends_the_link(polled: PolledLink) -> None:
    with polled.poller():
        polled.broker.send(Refused(409, "another one has this name", fatal=True))
    # The loop by itself would notice it seconds later.
    eventually(lambda: polled.refused, 4.0)


def test_an_error_is_raised_on_the_worker_and_the_loop_goes_on(polled: PolledLink) -> None:
    errors: list[str] = []

    def fail(_: ToPeer) -> None:
        raise ValueError("no")

    def poll() -> None:
        try:
            polled.poll()
        except ValueError as error:
            errors.append(str(error))

    poller = threading.Thread(target=poll, daemon=True)
    poller.start()
    eventually(lambda: polled.handoff.worker_polls)
    polled.loop.acquire()
    polled.loop.lock.release()
    polled.on_message = fail
    polled.broker.send(revoked(1))
    poller.join(LIMIT_S)
    assert errors == ["no"]
    # It has its lock back, and receives.
    polled.on_message = lambda _: None
    polled.broker.send(revoked(2))
    assert polled.by_poller(2) == [True, False]


@pytest.mark.parametrize("draining", [False, True])
def test_a_worker_sets_the_nodes_timers_through_the_loop(draining: bool) -> None:
    nodes: list[NodeService] = []

    async def main() -> None:
        nodes.append(NodeService(environment(), Mock(), lambda: 0, loop_lock=loop.lock))
        await trio.sleep_forever()

    loop = Loop(main)
    with loop:
        node = eventually(lambda: nodes and nodes[0])
        loop.acquire()
        node._draining = draining
        node.core.timers.add(0, Mock())
        node.receive((), Mock())
        # Only the loop's own thread may set a trio event.
        assert not node._ticks_needed.is_set()
        assert not node._idle.is_set()
        loop.lock.release()
        eventually(node._ticks_needed.is_set)
        eventually(lambda: node._idle.is_set() is draining)


def test_a_task_that_waits_for_room_is_woken_by_a_worker(polled: PolledLink) -> None:
    """The answer that makes room is received by a worker."""
    made_room = threading.Event()

    async def wait() -> None:
        await polled.link.wait_for_room(1)
        made_room.set()

    def ask() -> None:
        polled.link.request(PromiseGet("p"), lambda _: None)
        trio.lowlevel.spawn_system_task(wait)

    polled.loop.token.run_sync_soon(ask)
    [request] = [m for m in polled.broker.read() if isinstance(m, Request)]
    assert not made_room.is_set()
    with polled.poller():
        polled.broker.send(Response(request.corr, Reply(404, "unknown")))
    assert made_room.wait(LIMIT_S)


@pytest.mark.parametrize("missing", ["eventfd", "descriptors"])
def test_without_eventfd_or_descriptors_the_loop_always_polls(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "eventfd":
        monkeypatch.delattr(os, "eventfd")
    else:
        # The process has no more descriptors.
        monkeypatch.setattr(os, "eventfd", Mock(side_effect=OSError(errno.EMFILE, "too many")))
    with zmq.Context() as context:
        polled = PolledLink(context)
        with polled.loop:
            polled.broker.welcome(beat_ms=60_000)
            eventually(lambda: bool(polled.welcomes))
            polled.broker.send(revoked(1))
            assert not polled.poll()
            polled.link.interrupt()
            assert polled.by_poller(1) == [False]
        polled.broker.socket.close(0)


def test_a_closed_handoff_uses_no_descriptor() -> None:
    """The numbers of its descriptors may be those of other files by then."""
    read, write = os.pipe()
    handoff = PollHandoff(read)
    assert handoff.take_over()
    handoff.close()
    # The worker's descriptors stay open, and its poll returns at once.
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
