"""The floor as a whole: starts its processes, and makes calls from this one."""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import zmq

from benchmarks.floor.messages import (
    Create,
    Fulfill,
    Hello,
    Message,
    Settled,
    Step,
    Stored,
    Value,
    Welcome,
    decode_to_peer,
    encode,
)
from benchmarks.floor.node import FRAMES_MAX, NOBLOCK, pack, tags_of, unpack
from understudy.bench.deployment import free_port

#: calls in one frame of a fan-out: as many as keep all processes busy
FRAME_CALLS = 512
#: how long anything may take
LIMIT_S = 300.0
START_S = 20.0
HOUR_MS = 3_600_000


class Parent:
    """Makes calls. One socket, in the thread that uses it.

    `pids`: of the broker, then of those that perform calls.
    """

    def __init__(self, socket: zmq.Socket[bytes], pids: list[int]) -> None:
        self.socket = socket
        self.pids = pids
        self.run = secrets.token_hex(6)
        self.count = 0

    def wait_for_nodes(self, nodes: int) -> None:
        """Return when so many processes are there that perform calls."""
        ends_at = time.monotonic() + START_S
        while True:
            self.socket.send(encode([Hello("parent", serves=False)]))
            for message in self._read_now():
                if isinstance(message, Welcome) and message.peers >= nodes:
                    return
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{nodes} nodes of the floor did not come up")
            time.sleep(0.01)

    def fan_out(self, calls: int, name: str = "noop") -> int:
        """Like a durable parent: its own promise, `calls` calls, and its result at the end."""
        root = self.new_id()
        self._send_own(root)
        param = {"fn": name, "at": "app.py:40", "kind": "rfi"}
        timeout_at = _soon()
        total = outstanding = 0
        for start in range(0, calls, FRAME_CALLS):
            frame = [
                Create(
                    f"{root}.{number + 1}",
                    timeout_at,
                    Value(param, pack((number,))),
                    tags_of(root, root),
                )
                for number in range(start, min(start + FRAME_CALLS, calls))
            ]
            self.socket.send(encode(frame))
            outstanding += len(frame)
            # what has come back meanwhile, without waiting
            for settled in self._settled(self._read_now()):
                total += unpack(settled.value.data or b"")
                outstanding -= 1
        while outstanding:
            for settled in self._settled(self._read()):
                total += unpack(settled.value.data or b"")
                outstanding -= 1
        self._end_own(root, total)
        return total

    def windowed(
        self, calls: int, window: int, name: str, *args: Any
    ) -> tuple[list[float], list[Any]]:
        """`calls` calls, `window` at a time: the latency of each in ms, and its result."""
        began: dict[str, float] = {}
        latencies_ms: list[float] = []
        results: list[Any] = []
        started = 0
        while len(results) < calls:
            frame: list[Message] = []
            while started < calls and len(began) < window:
                id = self.new_id()
                began[id] = time.perf_counter()
                param = Value({"fn": name, "kind": "rpc"}, pack(args))
                tags = {"understudy:target": "poll://any@bench"}
                frame.append(Create(id, _soon(), param, tags))
                started += 1
            if frame:
                self.socket.send(encode(frame))
            for settled in self._settled(self._read()):
                latencies_ms.append((time.perf_counter() - began.pop(settled.id)) * 1000)
                results.append(unpack(settled.value.data or b""))
        return latencies_ms, results

    def steps(self, count: int, together: bool) -> int:
        """`count` stored steps: each waits for its commit, or they share commits."""
        root = self.new_id()
        self._send_own(root)
        param = {"fn": "noop", "at": "app.py:60", "kind": "lfi"}
        tags = {"understudy:scope": "local", **tags_of(root, root)}
        del tags["understudy:target"]
        size = FRAME_CALLS if together else 1
        timeout_at = _soon()
        stored = 0
        for start in range(0, count, size):
            frame = [
                Step(
                    f"{root}.{number + 1}",
                    timeout_at,
                    Value(param, pack((number,))),
                    Value({}, pack(number)),
                    tags,
                )
                for number in range(start, min(start + size, count))
            ]
            self.socket.send(encode(frame))
            while not together and stored <= start:
                stored += _count(self._read())
        while stored < count:
            stored += _count(self._read())
        self._end_own(root, count)
        return count

    def new_id(self) -> str:
        self.count += 1
        return f"floor-{self.run}-{self.count}"

    def _send_own(self, root: str) -> None:
        """Store the promise of this run; it is performed here."""
        param = Value({"fn": "fan_out", "kind": "rpc"}, b"\x90")
        self._tell(Step(root, _soon(), param, Value({}, None), {}))

    def _end_own(self, root: str, result: Any) -> None:
        self._tell(Fulfill(root, 1, "resolved", Value({}, pack(result))))

    def _tell(self, message: Message) -> None:
        self.socket.send(encode([message]))
        while not _count(self._read()):
            pass

    def _settled(self, messages: list[Any]) -> Iterator[Settled]:
        return (message for message in messages if isinstance(message, Settled))

    def _read(self) -> list[Any]:
        if not self.socket.poll(int(LIMIT_S * 1000)):
            raise TimeoutError("the floor does not answer")
        return self._read_now()

    def _read_now(self) -> list[Any]:
        messages: list[Any] = []
        try:
            for _ in range(FRAMES_MAX):
                messages += decode_to_peer(self.socket.recv(NOBLOCK))
        except zmq.Again:
            pass
        return messages


def _count(messages: list[Any]) -> int:
    return sum(message.count for message in messages if isinstance(message, Stored))


def _soon() -> int:
    return time.time_ns() // 1_000_000 + HOUR_MS


@contextmanager
def running(nodes: int = 2) -> Iterator[Parent]:
    """A broker, `nodes` processes, and a parent in this one; nothing is left afterwards."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-floor-"))
        start = stack.enter_context(_processes())
        pids = [start("broker", address, f"{folder}/floor.db")]
        pids += [start("node", address) for _ in range(nodes)]
        context = stack.enter_context(zmq.Context())
        socket = stack.enter_context(context.socket(zmq.DEALER))
        socket.set_hwm(0)
        socket.linger = 0
        socket.connect(address)
        parent = Parent(socket, pids)
        parent.wait_for_nodes(nodes)
        yield parent


@contextmanager
def _processes() -> Iterator[Callable[..., int]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, *arguments: str) -> int:
        command = [sys.executable, "-m", f"benchmarks.floor.{module}", *arguments]
        started.append(subprocess.Popen(command))
        return started[-1].pid

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()
