"""A loop's lock: one thread at a time holds it, and other threads work while the loop sleeps."""

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


def test_a_sleeping_loop_releases_its_lock_and_waits_for_it() -> None:
    order: list[str] = []
    ran = threading.Event()

    def on_loop() -> None:
        order.append("loop")
        ran.set()

    with Loop() as loop:
        loop.acquire()
        assert not loop.lock.acquire()
        loop.token.run_sync_soon(on_loop)
        # With the lock it would run within a tenth of a millisecond.
        assert not ran.wait(0.05)
        order.append("holder")
        loop.lock.release()
        assert ran.wait(LIMIT_S)
    assert order == ["holder", "loop"]


def test_a_running_loop_keeps_its_lock() -> None:
    inside, leave = threading.Event(), threading.Event()

    def busy() -> None:
        inside.set()
        leave.wait(LIMIT_S)

    with Loop() as loop:
        loop.token.run_sync_soon(busy)
        assert inside.wait(LIMIT_S)
        assert not loop.lock.acquire()
        leave.set()
        loop.acquire()
        loop.lock.release()
    # So does a loop that has ended.
    assert not loop.lock.acquire()


def test_two_threads_never_hold_the_lock() -> None:
    """Two threads acquire it whenever they can, while the loop is woken all the time."""
    holders = 0
    holders_max = 0
    times = [0, 0, 0]
    failures: list[str] = []

    def hold(place: int) -> None:
        nonlocal holders, holders_max
        holders += 1
        holders_max = max(holders_max, holders)
        time.sleep(0)  # Lets another thread go on.
        if holders != 1:
            failures.append(f"{holders} at once")
        holders -= 1
        times[place] += 1

    def on_loop() -> None:
        hold(2)

    with Loop() as loop:

        def work(place: int) -> None:
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

        threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * LIMIT_S)
    assert not failures
    assert holders_max == 1
    assert times[0] == times[1] == 200
    assert times[2] > 0


def test_a_wake_up_from_another_thread_reaches_the_loop() -> None:
    steps = 0
    socket: TrioSocket

    def step() -> Pause:
        nonlocal steps
        steps += 1
        return Pause(LIMIT_S * 10)

    async def main() -> None:
        nonlocal socket
        with zmq.Context() as context, TrioSocket(context.socket(zmq.DEALER)) as socket:
            await socket.drive(step)

    with Loop(main) as loop:
        loop.acquire()
        before = steps
        socket.wake()
        assert steps == before  # A step runs on the loop's thread only.
        loop.lock.release()
        eventually(lambda: steps > before)


def test_a_link_is_used_by_another_thread_that_holds_the_lock() -> None:
    """A request leaves at once, and its answer arrives on the loop. The link was idle, and now the
    loop sends heartbeats as often as a busy one."""
    answers: list[tuple[Any, int]] = []
    links: list[Link] = []
    with zmq.Context() as context:
        broker = FakeBroker(context)

        async def main() -> None:
            async with open_link(
                broker.url,
                lambda: hello("a"),
                lambda _: None,
                is_busy=lambda: False,
            ) as link:
                links.append(link)
                await trio.sleep_forever()

        with Loop(main) as loop:
            broker.welcome(beat_ms=1_000)
            began = time.monotonic()
            eventually(lambda: bool(links) and links[0].connection.session.heartbeat.idle)
            link = links[0]
            loop.acquire()
            link.cork()
            link.request(
                PromiseGet("p"), lambda answer: answers.append((answer, threading.get_ident()))
            )
            link.uncork()
            [request] = [m for m in broker.read() if isinstance(m, Request)]
            assert request.command == PromiseGet("p")
            loop.lock.release()
            assert any(isinstance(message, Beat) for message in broker.read())
            # An idle link would have waited for three seconds.
            assert time.monotonic() - began < 2.5
            broker.send(Response(request.corr, Reply(404, "unknown")))
            eventually(lambda: bool(answers))
        broker.socket.close(0)
    [(answer, thread)] = answers
    assert answer.reply.status == 404
    assert thread != threading.get_ident()
