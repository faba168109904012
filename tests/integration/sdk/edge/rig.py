"""A broker, a node and an edge in processes of their own, and clients for the edge."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.acceptance.system import PATIENCE_S, Program, System, open_system, until

#: the functions that the tests call
NODE = """
import threading
from dataclasses import dataclass
from datetime import datetime

from understudy import Context, Never, Runtime

runtime = Runtime("shop")


@dataclass
class Order:
    customer: str
    amount: int
    due: datetime | None = None


@runtime.register
def add(ctx: Context, a: int, b: int = 2) -> int:
    return a + b


@runtime.register(retry=Never())
def fail(ctx: Context, why: str) -> None:
    raise ValueError(why)


@runtime.register
def approve(ctx: Context):
    promise = yield ctx.promise(id=f"{ctx.id}.answer")
    return {"answer": (yield promise)}


@runtime.register
def echo(ctx: Context, value):
    return value


@runtime.register
def describe(ctx: Context, order: Order) -> str:
    return f"{type(order).__name__} {order.amount} {type(order.due).__name__}"


@runtime.register
def later(ctx: Context, when: datetime) -> datetime:
    return when.replace(year=when.year + 1)


@runtime.register
def raw(ctx: Context):
    return {"bytes": b"ab", "set": {2, 1}, "big": 10**30, "when": datetime(2026, 1, 2), 3: "three"}


@runtime.register
def fan_out(ctx: Context, count: int):
    calls = []
    for number in range(count):
        calls.append((yield ctx.begin_rpc(add, number)))
    promise = yield ctx.promise(id=f"{ctx.id}.more")
    calls.append((yield ctx.begin_rpc(add, (yield promise))))
    total = 0
    for call in calls:
        total += yield call
    return total


if __name__ == "__main__":
    runtime.serve()
"""


class Rig(NamedTuple):
    """The system, and the edge in it."""

    system: System
    edge: Program
    port: int
    http: httpx.Client

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Send a POST request, with JSON if there is a body."""
        return self.http.post(path, **({} if body is None else {"json": body}), **more)

    def connect(self) -> socket.socket:
        """Return a connection to the edge."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        connection.settimeout(PATIENCE_S)
        return connection

    def exchange(self, data: bytes) -> bytes:
        """Send bytes, and return everything that comes until the edge closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    got = b""
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return got
        if not data:
            return got
        got += data


def read_until(connection: socket.socket, text: bytes) -> bytes:
    """Return what comes, up to and with a text."""
    got = b""
    while text not in got:
        data = connection.recv(65536)
        assert data, got
        got += data
    return got


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of the answers in a stream of bytes."""
    return [int(text) for text in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


def events_in(text: str) -> list[tuple[str, int | None, Any]]:
    """Return the events in the text of a stream: name, id and data."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if "event" in fields:
            id_ = int(fields["id"]) if "id" in fields else None
            found.append((fields["event"], id_, json.loads(fields["data"])))
    return found


def start_edge(system: System, **settings: Any) -> tuple[Program, int]:
    """Start an edge, with settings that the command line does not have; return it and its port."""
    source = f"""
        from understudy.edge.process import run_edge
        from understudy.edge.settings import EdgeSettings

        run_edge(EdgeSettings({system.url!r}, "127.0.0.1", 0, **{settings!r}))
    """
    program = system.run(f"edge-{time.monotonic_ns()}", source)
    return program, port_of(program)


def port_of(edge: Program) -> int:
    """Return the port of an edge, once it has said it."""
    pattern = re.compile(r"http://127\.0\.0\.1:(\d+)")
    until("the edge listens", lambda: pattern.search(edge.output))
    found = pattern.search(edge.output)
    assert found is not None
    return int(found[1])


@contextmanager
def client_of(port: int) -> Iterator[httpx.Client]:
    """Open a client of an edge on this machine."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S
    ) as http:
        yield http


@contextmanager
def open_rig(folder: Path, node: str = NODE, **settings: Any) -> Iterator[Rig]:
    """Open a system with a node of group shop and an edge."""
    with open_system(folder) as system:
        system.wait_for_broker()
        system.run("node", node)
        if settings:
            edge, port = start_edge(system, **settings)
        else:
            edge = system.command("edge", "--listen", "127.0.0.1:0")
            port = port_of(edge)
        with client_of(port) as http:
            until("the edge is ready", lambda: http.get("/ready").status_code == 200)
            until("the node is there", lambda: system.nodes("shop"))
            yield Rig(system, edge, port, http)


def eventually(goal: str, condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds, and return its value."""
    found: list[Any] = []

    def holds() -> bool:
        found[:] = [condition()]
        return bool(found[0])

    until(goal, holds)
    return found[0]
