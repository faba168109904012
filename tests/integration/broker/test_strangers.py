"""Strangers that send without an end, say nothing, or come by thousands; others notice nothing."""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.attacker import GREETING, READY
from tests.integration.broker.test_daemon import PROGRAM, endpoint_in, started
from tests.support import eventually
from understudy import Runtime
from understudy_broker.protocol.frames import encode
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello
from understudy_store.limits import MIB

#: a broker that cuts silent connections after 3 looks, each a tenth of a second after the other
HASTY: Final = f"""
from understudy_broker.transport import connection_watch
connection_watch._LOOKS = 1
{PROGRAM}
"""
#: What the memory may have grown by in the end, however much strangers send. It is more than the
#: broker keeps of that, because the C library does not give back all that is free again.
GROWTH_BYTES_MAX: Final = 96 * MIB


class Running:
    """A broker, its address and its memory."""

    def __init__(self, pid: int, url: str) -> None:
        self.pid = pid
        self.url = url
        port = re.search(r":(\d+)$", url)
        assert port is not None
        self.port = int(port[1])

    def connect(self, *, speaks: bool = True) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(GREETING + (READY if speaks else b""))
        return connection

    def memory_bytes(self) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def running(
    tmp_path: Path,
    program: str = PROGRAM,
) -> Iterator[Running]:
    with started(tmp_path, program=program) as (process, line):
        # What it writes is read, so that it never waits for that.
        assert process.stderr is not None
        log = threading.Thread(target=process.stderr.read, daemon=True)
        log.start()
        yield Running(process.pid, endpoint_in(line))


def is_cut(connection: socket.socket) -> bool:
    """Return whether the other side has ended a connection, after what it has sent before."""
    while select.select([connection], [], [], 0)[0]:
        try:
            if not connection.recv(65_536):
                return True
        except OSError:
            return True
    return False


def part(size: int) -> bytes:
    """A part of a message that goes on."""
    return b"\x03" + struct.pack(">Q", size) + bytes(size)


def send_until_cut(connection: socket.socket, data: bytes, limit: int) -> int:
    """Send again and again; return the bytes that could be sent, at most about `limit`."""
    sent = 0
    with suppress(OSError):
        while sent < limit:
            connection.sendall(data)
            sent += len(data)
    return sent


@contextmanager
def guest(url: str) -> Iterator[list[float]]:
    """A client that asks all the time; how long each answer took, in seconds."""
    took: list[float] = []
    done = threading.Event()
    with ExitStack() as stack:
        runtime = Runtime(group="guests", url=url)
        stack.callback(runtime.stop)
        runtime.promises.create("here", timeout=3_600)

        def ask() -> None:
            while not done.is_set():
                began = time.perf_counter()
                runtime.promises.get("here")
                took.append(time.perf_counter() - began)
                done.wait(0.02)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield took
            asked = len(took)
            eventually(lambda: len(took) > asked + 10)
        finally:
            done.set()
            thread.join(30)


@pytest.mark.parametrize("joins", [False, True], ids=["stranger", "peer"])
def test_a_message_without_an_end_ends_its_connection(tmp_path: Path, joins: bool) -> None:
    """Each part is as long as may be, and there is always another one: 3 GiB were kept."""
    with running(tmp_path) as broker, guest(broker.url) as took:
        before = broker.memory_bytes()
        with broker.connect() as connection:
            if joins:
                say_hello(connection)
            sent = send_until_cut(connection, part(MIB), 1024 * MIB)
        # More comes in a tenth of a second on one machine than over a network.
        assert sent < 512 * MIB
        eventually(lambda: broker.memory_bytes() - before < GROWTH_BYTES_MAX)
    assert sorted(took)[len(took) // 2] < 0.2


def test_one_that_sends_slowly_is_cut_as_well(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        before = broker.memory_bytes()
        with broker.connect() as connection:
            end = time.monotonic() + 60
            while not is_cut(connection) and time.monotonic() < end:
                with suppress(OSError):
                    connection.sendall(part(MIB))
                time.sleep(0.05)
            assert is_cut(connection)
        assert broker.memory_bytes() - before < GROWTH_BYTES_MAX


def test_many_that_each_stop_in_the_middle_of_a_message(tmp_path: Path) -> None:
    """Each has sent less than may be, and all together more."""
    half = b"\x02" + struct.pack(">Q", 15 * MIB) + bytes(2 * MIB)
    with running(tmp_path) as broker, ExitStack() as stack:
        before = broker.memory_bytes()
        connections = [stack.enter_context(broker.connect()) for _ in range(100)]
        for connection in connections:
            send_until_cut(connection, half, 1)
        eventually(lambda: broker.memory_bytes() - before < GROWTH_BYTES_MAX, 30.0)


@pytest.mark.parametrize("speaks", [True, False], ids=["greeted", "mute"])
def test_silent_connections_are_cut(tmp_path: Path, speaks: bool) -> None:
    """They took a descriptor each, for ever."""
    with running(tmp_path, HASTY) as broker, ExitStack() as stack:
        connections = [stack.enter_context(broker.connect(speaks=speaks)) for _ in range(300)]
        with guest(broker.url):
            eventually(lambda: all(map(is_cut, connections)))


def say_hello(connection: socket.socket) -> None:
    """Join as a client, by hand."""
    received = b""
    while b"Socket-Type" not in received:
        received += connection.recv(65_536)
    body = encode([Hello(PROTOCOL_VERSION, "client", "g", "attacker", "1", 1, "h", "t", 1)])
    connection.sendall(b"\x02" + struct.pack(">Q", len(body)) + body)
    while b"welcome" not in received:
        received += connection.recv(65_536)
