"""A loop's turn: one thread at a time has it, and who borrows it spares the loop a wake-up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import trio
import zmq

from tests.support import eventually
from tests.unit.broker.rig import hello
from understudy_broker.client import Link, open_link
from understudy_broker.protocol.frames import FrameLimits, Order, decode_to_broker, encode
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Beat,
    Hello,
    Request,
    Response,
    ToPeer,
    Welcome,
)
from understudy_broker.sockets import Pause, TrioSocket
from understudy_broker.turns import Turn
from understudy_store.commands import PromiseGet, Reply

LIMIT_S = 10.0


class Loop:
    """A trio loop with a turn, in a thread of its own; `stop` ends it."""

    def __init__(self, main: Callable[[], Any] = trio.sleep_forever) -> None:
        self.turn = Turn()
        self.token: trio.lowlevel.TrioToken
        self._main = main
        self._scope = trio.CancelScope()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Loop:
        self._thread.start()
        assert self._started.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.token.run_sync_soon(self._scope.cancel)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        trio.run(self._inside, instruments=[self.turn])

    async def _inside(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self._started.set()
        with self._scope:
            await self._main()

    def borrowed(self) -> None:
        """Return with the turn: the loop sleeps soon, if it has nothing to do."""
        eventually(self.turn.borrow)


def test_a_loop_that_sleeps_lends_its_turn_and_waits_for_it() -> None:
    order: list[str] = []
    came = threading.Event()

    def on_loop() -> None:
        order.append("loop")
        came.set()

    with Loop() as loop:
        loop.borrowed()
        assert not loop.turn.borrow()
        loop.token.run_sync_soon(on_loop)
        # with the turn it would be there in a tenth of a millisecond
        assert not came.wait(0.05)
        order.append("borrower")
        loop.turn.give_back()
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
        assert not loop.turn.borrow()
        leave.set()
        loop.borrowed()
        loop.turn.give_back()
    # nor does one that has ended
    assert not loop.turn.borrow()


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
                if loop.turn.borrow():
                    try:
                        hold(place)
                    finally:
                        loop.turn.give_back()
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
        socket.kick()
        assert turns == before  # not on this thread
        loop.turn.give_back()
        eventually(lambda: turns > before)


class FakeBroker:
    """A ROUTER that welcomes one peer; the test reads and answers by hand."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.set(zmq.RCVTIMEO, int(LIMIT_S * 1000))
        self.socket.bind("tcp://127.0.0.1:*")
        self.url = self.socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._order = Order()
        self._peer = b""

    def welcome(self, beat_ms: int) -> None:
        self._peer, frame = self.socket.recv_multipart()
        [message] = decode_to_broker(frame, FrameLimits())
        assert isinstance(message, Hello)
        sizes = (100, 1 << 20, 1 << 19)
        self.send(Welcome(PROTOCOL_VERSION, "b", "a#1", 60_000, beat_ms, *sizes))

    def send(self, message: ToPeer) -> None:
        self.socket.send_multipart([self._peer, self._order.stamp(encode([message]))])

    def read(self) -> list[Any]:
        return list(decode_to_broker(self.socket.recv_multipart()[1], FrameLimits()))


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
            loop.turn.give_back()
            assert any(isinstance(message, Beat) for message in broker.read())
            # else it would have rested for three seconds
            assert time.monotonic() - began < 2.5
            broker.send(Response(request.corr, Reply(404, "unknown")))
            eventually(lambda: bool(answers))
        broker.socket.close(0)
    [(answer, thread)] = answers
    assert answer.reply.status == 404
    assert thread != threading.get_ident()
