"""ZeroMQ under trio: no lost wake-up, no lost frame, whatever is cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
import trio
import zmq

from understudy_broker.sockets import ConnectionEvent, TrioSocket, connection_events, descriptor_of

ROUNDS = 10_000


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(0)  # whatever a failed test left open


@pytest.fixture(params=["tcp://127.0.0.1:*", "inproc://pair"])
def pair(
    request: pytest.FixtureRequest, context: zmq.Context[Any]
) -> Iterator[tuple[TrioSocket, TrioSocket]]:
    left, right = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    left.bind(request.param)
    right.connect(left.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    with TrioSocket(left) as one, TrioSocket(right) as two:
        yield one, two


async def test_ping_pong(pair: tuple[TrioSocket, TrioSocket]) -> None:
    async def pong(socket: TrioSocket) -> None:
        while True:
            for parts in await socket.receive_batch():
                assert socket.send_nowait(parts)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pong, pair[1])
            await pair[0].wait_writable()  # until the other side is connected
            for number in range(ROUNDS // 10):
                assert pair[0].send_nowait([b"%d" % number])
                assert await pair[0].receive_batch() == [[b"%d" % number]]
            nursery.cancel_scope.cancel()


async def test_both_send_all_the_time(pair: tuple[TrioSocket, TrioSocket]) -> None:
    """Sends swallow the signals that readers wait for: nobody may sleep for ever on that."""

    async def send(socket: TrioSocket) -> None:
        number = 0
        while number < ROUNDS:
            if socket.send_nowait([b"%d" % number]):
                number += 1
                if number % 7 == 0:
                    await trio.lowlevel.checkpoint()
            else:
                # The one reader of this socket waits elsewhere: give it the loop.
                await trio.lowlevel.checkpoint()

    async def receive(socket: TrioSocket) -> None:
        number = 0
        while number < ROUNDS:
            for parts in await socket.receive_batch(frames_max=50):
                assert parts == [b"%d" % number]
                number += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for socket in pair:
                nursery.start_soon(send, socket)
                nursery.start_soon(receive, socket)


async def test_cancelled_receives_lose_nothing(pair: tuple[TrioSocket, TrioSocket]) -> None:
    received: list[bytes] = []

    async def send() -> None:
        for number in range(500):
            while not pair[0].send_nowait([b"%d" % number]):
                await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while len(received) < 500:
                with trio.move_on_after(0.0003):
                    await pair[1].wait()
                received += [parts[0] for parts in pair[1].receive_nowait()]
    assert received == [b"%d" % number for number in range(500)]


async def test_a_kick_is_not_lost(pair: tuple[TrioSocket, TrioSocket]) -> None:
    socket = pair[0]
    with trio.fail_after(5):
        socket.kick()  # before the wait
        await socket.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.wait)
            await trio.testing.wait_all_tasks_blocked()
            socket.kick()


async def test_only_one_task_may_wait(pair: tuple[TrioSocket, TrioSocket]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair[0].wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="one task owns"):
            await pair[0].wait()
        nursery.cancel_scope.cancel()


async def test_writable_again_when_the_other_side_reads(context: zmq.Context[Any]) -> None:
    left, right = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    for socket in (left, right):
        socket.set(zmq.SNDHWM, 5)
        socket.set(zmq.RCVHWM, 5)
    left.bind("inproc://full")
    right.connect("inproc://full")
    with TrioSocket(left) as one, TrioSocket(right) as two, trio.fail_after(5):
        sent = 0
        while one.send_nowait([b"x"]):
            sent += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.wait_writable)
            await trio.testing.wait_all_tasks_blocked()
            assert len(two.receive_nowait()) == sent
        assert one.send_nowait([b"x"])


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_a_closed_connection_is_told_by_its_descriptor(
    context: zmq.Context[Any], transport: str, tmp_path: Any
) -> None:
    address = "tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/socket"
    router = context.socket(zmq.ROUTER)
    router.bind(address)
    told: list[ConnectionEvent] = []

    async def listen() -> None:
        async with aclosing(connection_events(router)) as events:  # type: ignore[type-var]
            async for event in events:
                told.append(event)
                if event.event == zmq.Event.DISCONNECTED:
                    return

    with TrioSocket(router) as broker, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            peer = context.socket(zmq.DEALER)
            peer.connect(router.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
            peer.send(b"hello")
            received, all_of_it = broker.receive_routed_nowait()
            while not received:
                await broker.wait()  # it may return for no reason
                received, all_of_it = broker.receive_routed_nowait()
            [(_, frame)] = received
            assert all_of_it
            assert frame is not None
            descriptor = descriptor_of(frame)
            assert descriptor is not None
            peer.close(0)
    for event in (zmq.Event.ACCEPTED, zmq.Event.DISCONNECTED):
        assert [e.value for e in told if e.event == event] == [descriptor]


def test_inproc_has_no_descriptor(context: zmq.Context[Any]) -> None:
    with context.socket(zmq.PAIR) as left, context.socket(zmq.PAIR) as right:
        left.bind("inproc://x")
        right.connect("inproc://x")
        left.send(b"hello")
        assert descriptor_of(right.recv(copy=False)) is None
