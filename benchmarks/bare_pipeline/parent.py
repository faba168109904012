"""The parent of the bare pipeline: starts its processes, and makes calls from this one."""

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

from benchmarks.bare_pipeline.messages import (
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
from benchmarks.bare_pipeline.node import FRAMES_MAX, NOBLOCK, pack, tags_of, unpack
from understudy.bench.deployment import free_port

#: Calls in one frame of a fan-out: enough to keep all processes busy.
FRAME_CALLS = 512
#: Seconds that anything may take.
LIMIT_S = 300.0
START_S = 20.0
HOUR_MS = 3_600_000


class Parent:
    """Makes calls through one socket, which belongs to the thread that uses it.

    Parameters
    ----------
    pids
        Process ids of the broker, then of the nodes.
    """

    def __init__(self, socket: zmq.Socket[bytes], pids: list[int]) -> None:
        self.socket = socket
        self.pids = pids
        self.run = secrets.token_hex(6)
        self.count = 0

    def wait_for_nodes(self, nodes: int) -> None:
        """Return when this many nodes are connected."""
        ends_at = time.monotonic() + START_S
        while True:
            self.socket.send(encode([Hello("parent", serves=False)]))
            for message in self._read_now():
                if isinstance(message, Welcome) and message.peers >= nodes:
                    return
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{nodes} nodes of the bare pipeline did not start")
            time.sleep(0.01)

    def fan_out(self, calls: int, name: str = "noop") -> int:
        """Make a fan-out as a durable parent does: its promise, `calls` calls, its result."""
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
            # Receive the results that have arrived, without waiting.
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
        """Make `calls` calls, `window` at a time; return latencies in ms, and results."""
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
        """Store `count` steps, each in a commit of its own, or together in shared commits."""
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
        return f"bare-{self.run}-{self.count}"

    def _send_own(self, root: str) -> None:
        """Store the promise of this run, which this process performs."""
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
            raise TimeoutError("the bare pipeline does not answer")
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
    """Start a broker and `nodes` nodes, and yield a parent; leave nothing behind."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-bare-"))
        start = stack.enter_context(_processes())
        pids = [start("broker", address, f"{folder}/bare.db")]
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
        command = [sys.executable, "-m", f"benchmarks.bare_pipeline.{module}", *arguments]
        started.append(subprocess.Popen(command))
        return started[-1].pid

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()
