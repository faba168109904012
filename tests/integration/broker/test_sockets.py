"""ZeroMQ under trio: no wake-up and no frame is lost, whatever is canceled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import trio
import zmq

from tests.integration.broker.sockets import receive_batch, wait_writable
from understudy_broker.server import server
from understudy_broker.server.settings import load_settings
from understudy_broker.transport import polling, zeromq_router
from understudy_broker.transport.monitor import ConnectionEvent, ConnectionMonitor, descriptor_of
from understudy_broker.transport.socket import Pause, TrioSocket
from understudy_store.store import open_store

ROUNDS = 10_000


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(0)  # Closes whatever a failed test left open.


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
            for parts in await receive_batch(socket):
                assert socket.send_nowait(parts)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pong, pair[1])
            await wait_writable(pair[0])  # The other side is connected then.
            for number in range(ROUNDS // 10):
                assert pair[0].send_nowait([b"%d" % number])
                assert await receive_batch(pair[0]) == [[b"%d" % number]]
            nursery.cancel_scope.cancel()


async def test_both_send_all_the_time(pair: tuple[TrioSocket, TrioSocket]) -> None:
    """Sends reset the descriptors that readers wait for, and still no reader sleeps forever."""

    async def send(socket: TrioSocket) -> None:
        number = 0
        while number < ROUNDS:
            if socket.send_nowait([b"%d" % number]):
                number += 1
                if number % 7 == 0:
                    await trio.lowlevel.checkpoint()
            else:
                # The pipe is full until the other side's reader runs, so let it run.
                await trio.lowlevel.checkpoint()

    async def receive(socket: TrioSocket) -> None:
        number = 0
        while number < ROUNDS:
            for parts in await receive_batch(socket, frames_max=50):
                assert parts == [b"%d" % number]
                number += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for socket in pair:
                nursery.start_soon(send, socket)
                nursery.start_soon(receive, socket)


async def test_canceled_waits_lose_nothing(pair: tuple[TrioSocket, TrioSocket]) -> None:
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


async def test_a_wake_up_is_not_lost(pair: tuple[TrioSocket, TrioSocket]) -> None:
    socket = pair[0]
    with trio.fail_after(5):
        socket.wake()  # Before the wait, so that wait returns at once.
        await socket.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.wait)
            await trio.testing.wait_all_tasks_blocked()
            socket.wake()


@pytest.mark.parametrize("busy_poll_s", [0.0, 0.001, 30.0])
async def test_busy_polling_loses_nothing(
    busy_poll_s: float, context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread answers: sometimes while the socket polls, sometimes when it sleeps already."""
    monkeypatch.setattr(polling, "available_processors", lambda: 2)
    monkeypatch.setattr(polling, "SHORT_WAIT_S", 30.0)
    left, right = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    left.bind("tcp://127.0.0.1:*")
    right.connect(left.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))

    def answer() -> None:
        for number in range(ROUNDS // 10):
            parts = right.recv_multipart()
            if number % 10 == 0:
                # Nothing comes meanwhile. In these 3 ms the peer gives up polling, unless its
                # limit is longer.
                right.poll(3)
            right.send_multipart(parts)
        right.close()

    received: list[list[bytes]] = []
    polls: list[bool] = []
    sent = 0
    with TrioSocket(left, busy_poll_s) as socket, trio.fail_after(60):
        poll = socket._busy_poll.poll

        def recorded(timeout_s: float) -> bool:
            polls.append(poll(timeout_s))
            return polls[-1]

        monkeypatch.setattr(socket._busy_poll, "poll", recorded)

        def step() -> Pause | None:
            nonlocal sent
            received.extend(socket.receive_nowait())
            if len(received) == ROUNDS // 10:
                return None
            if len(received) == sent:
                assert socket.send_nowait([b"%d" % sent])
                sent += 1
            return Pause(brief=True)

        await wait_writable(socket)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, answer)
            await socket.drive(step)
    assert received == [[b"%d" % number] for number in range(ROUNDS // 10)]
    assert any(polls) == (busy_poll_s > 0)
    # At least once it polled in vain, slept, and was woken.
    assert polls.count(False) >= 1


async def test_other_tasks_run_while_busy_polling_finds_messages(
    pair: tuple[TrioSocket, TrioSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = pair[0]
    monkeypatch.setattr(socket._busy_poll, "poll", lambda _: True)
    rounds: list[int] = []
    until = perf_counter() + 30

    def step() -> Pause | None:
        # Fails if the task below never runs.
        assert perf_counter() < until
        return Pause(brief=True) if len(rounds) < 10 else None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(socket.drive, step)
        for number in range(10):
            await trio.lowlevel.checkpoint()
            rounds.append(number)


@pytest.mark.parametrize("microseconds", [0, 250])
async def test_the_limit_of_busy_polling_is_a_setting_of_the_broker(
    microseconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # There is no settings file.
    given: list[float] = []

    class Recorded(TrioSocket):
        def __init__(
            self, socket: zmq.Socket[bytes], busy_poll_s: float = 0.0, *, joint: bool = False
        ) -> None:
            given.append(busy_poll_s)
            super().__init__(socket, busy_poll_s, joint=joint)

    monkeypatch.setattr(zeromq_router, "TrioSocket", Recorded)
    config = load_settings(flags={"busy_poll_us": microseconds}).broker_config()
    stop = trio.Event()
    stop.set()
    store = open_store("memory")
    with trio.fail_after(20):
        await server.serve(store, config, "tcp://127.0.0.1:*", stop=stop)
    store.close()
    assert given == [microseconds / 1e6]


async def test_only_one_task_may_wait(pair: tuple[TrioSocket, TrioSocket]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair[0].wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="owned by one task"):
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
            nursery.start_soon(wait_writable, one)
            await trio.testing.wait_all_tasks_blocked()
            assert len(two.receive_nowait()) == sent
        assert one.send_nowait([b"x"])


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_a_closed_connection_is_reported_by_its_descriptor(
    context: zmq.Context[Any], transport: str, tmp_path: Any
) -> None:
    address = "tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/socket"
    router = context.socket(zmq.ROUTER)
    router.bind(address)
    events: list[ConnectionEvent] = []
    monitor = ConnectionMonitor(router)

    async def collect_events() -> None:
        while not any(event.event == zmq.Event.DISCONNECTED for event in events):
            await monitor.wait()
            events.extend(monitor.drain())

    with TrioSocket(router) as broker, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect_events)
            await trio.testing.wait_all_tasks_blocked()
            peer = context.socket(zmq.DEALER)
            peer.connect(router.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
            peer.send(b"hello")
            received, all_received = broker.receive_routed_nowait()
            while not received:
                await broker.wait()  # It may return early.
                received, all_received = broker.receive_routed_nowait()
            [(_, frame)] = received
            assert all_received
            assert frame is not None
            descriptor = descriptor_of(frame)
            assert descriptor is not None
            peer.close(0)
        monitor.close()
    for kind in (zmq.Event.ACCEPTED, zmq.Event.DISCONNECTED):
        assert [event.value for event in events if event.event == kind] == [descriptor]


def test_inproc_has_no_descriptor(context: zmq.Context[Any]) -> None:
    with context.socket(zmq.PAIR) as left, context.socket(zmq.PAIR) as right:
        left.bind("inproc://x")
        right.connect("inproc://x")
        left.send(b"hello")
        assert descriptor_of(right.recv(copy=False)) is None
