"""A loop's turn: one thread at a time has it, and who borrows it spares the loop a wake-up."""

from __future__ import annotations

import threading
import time
from typing import Any

import trio
import zmq

from tests.integration.broker.loop_rig import LIMIT_S, FakeBroker, Loop
from tests.support import eventually
from tests.unit.broker.core.rig import hello
from understudy_broker.link.link import Link, open_link
from understudy_broker.protocol.messages import Beat, Request, Response
from understudy_broker.transport.socket import Pause, TrioSocket
from understudy_store.commands import PromiseGet, Reply


def test_a_loop_that_sleeps_lends_its_turn_and_waits_for_it() -> None:
    order: list[str] = []
    came = threading.Event()

    def on_loop() -> None:
        order.append("loop")
        came.set()

    with Loop() as loop:
        loop.borrowed()
        assert not loop.lock.acquire()
        loop.token.run_sync_soon(on_loop)
        # with the turn it would be there in a tenth of a millisecond
        assert not came.wait(0.05)
        order.append("borrower")
        loop.lock.release()
        assert came.wait(LIMIT_S)
    assert order == ["borrower", "loop"]


def test_a_loop_that_is_busy_lends_nothing() -> None:
    inside, leave = threading.Event(), threading.Event()

    def busy() -> None:
        inside.set()
        leave.wait(LIMIT_S)

    with Loop() as loop:
        loop.token.run_sync_soon(busy)
        assert inside.wait(LIMIT_S)
        assert not loop.lock.acquire()
        leave.set()
        loop.borrowed()
        loop.lock.release()
    # nor does one that has ended
    assert not loop.lock.acquire()


def test_no_turn_is_given_to_two() -> None:
    """Threads that borrow whenever they can, beside a loop that is woken all the time."""
    holders = 0
    most = 0
    times = [0, 0, 0]
    failures: list[str] = []

    def hold(place: int) -> None:
        nonlocal holders, most
        holders += 1
        most = max(most, holders)
        time.sleep(0)  # lets another thread go on, if any may
        if holders != 1:
            failures.append(f"{holders} at once")
        holders -= 1
        times[place] += 1

    def on_loop() -> None:
        hold(2)

    with Loop() as loop:

        def borrow(place: int) -> None:
            until = time.monotonic() + LIMIT_S
            while times[place] < 200 and time.monotonic() < until:
                if loop.lock.acquire():
                    try:
                        hold(place)
                    finally:
                        loop.lock.release()
                    loop.token.run_sync_soon(on_loop, idempotent=True)
                else:
                    time.sleep(0)

        threads = [threading.Thread(target=borrow, args=(place,)) for place in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * LIMIT_S)
    assert not failures
    assert most == 1
    assert times[0] == times[1] == 200
    assert times[2] > 0


def test_a_kick_from_another_thread_reaches_the_loop() -> None:
    turns = 0
    socket: TrioSocket

    def turn() -> Pause:
        nonlocal turns
        turns += 1
        return Pause(LIMIT_S * 10)

    async def main() -> None:
        nonlocal socket
        with zmq.Context() as context, TrioSocket(context.socket(zmq.DEALER)) as socket:
            await socket.drive(turn)

    with Loop(main) as loop:
        loop.borrowed()
        before = turns
        socket.wake()
        assert turns == before  # not on this thread
        loop.lock.release()
        eventually(lambda: turns > before)


def test_a_link_is_used_on_a_borrowed_turn() -> None:
    """What is asked leaves at once, its answer comes on the loop, and the loop, which rested,
    learns that it has to give signs of life more often now."""
    answers: list[tuple[Any, int]] = []
    links: list[Link] = []
    with zmq.Context() as context:
        broker = FakeBroker(context)

        async def main() -> None:
            async with open_link(
                broker.url,
                lambda: hello("a"),
                lambda _: None,
                engaged=lambda: False,
            ) as link:
                links.append(link)
                await trio.sleep_forever()

        with Loop(main) as loop:
            broker.welcome(beat_ms=1_000)
            began = time.monotonic()
            eventually(lambda: bool(links) and links[0]._core._resting)
            link = links[0]
            loop.borrowed()
            link.cork()
            link.request(
                PromiseGet("p"), lambda answer: answers.append((answer, threading.get_ident()))
            )
            link.uncork()
            [request] = [m for m in broker.read() if isinstance(m, Request)]
            assert request.command == PromiseGet("p")
            loop.lock.release()
            assert any(isinstance(message, Beat) for message in broker.read())
            # else it would have rested for three seconds
            assert time.monotonic() - began < 2.5
            broker.send(Response(request.corr, Reply(404, "unknown")))
            eventually(lambda: bool(answers))
        broker.socket.close(0)
    [(answer, thread)] = answers
    assert answer.reply.status == 404
    assert thread != threading.get_ident()
