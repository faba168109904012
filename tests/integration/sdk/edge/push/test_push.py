"""Pushes with real processes: a broker, edges, and a receiver, some of which are killed."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.programs import Forked, environment
from tests.integration.sdk.edge.resonate.client import Client
from tests.integration.sdk.edge.resonate.world import url_of
from tests.support import eventually, free_url
from understudy import Runtime
from understudy.bench.deployment import free_port

PATIENCE_S = 30


class World:
    """A broker, and what is started beside it."""

    def __init__(self, folder: Path, stack: ExitStack, *more: str) -> None:
        self.folder = folder
        self.stack = stack
        self.url = free_url()
        self.port = free_port()
        self.target = f"http://127.0.0.1:{self.port}"
        (folder / "push.key").write_text(base64.b64encode(b"k" * 32).decode())
        self.broker = self.program("broker", "--listen", self.url, "--store", "memory", *more)
        self.broker.wait_for("listening on")

    def program(self, *args: str) -> Forked:
        return self.stack.enter_context(Forked(*args, cwd=self.folder))

    def edge(self, push: str | None = None) -> tuple[Forked, str]:
        """Start an edge that pushes, by default to the receiver; return it and its address."""
        edge = self.program(
            "edge", "--listen", f"127.0.0.1:{free_port()}", "--url", self.url,
            "--push", push or f"private:127.0.0.1:{self.port}", "--push-key-file", "push.key",
        )  # fmt: skip
        return edge, url_of(edge)

    def client(self, url: str) -> Client:
        return self.stack.enter_context(Client(url))

    def receiver(self) -> subprocess.Popen[str]:
        process = self.stack.enter_context(receiving(self.folder, self.port))
        assert process.stdout is not None
        assert process.stdout.readline() == "receiver listens\n"
        return process

    def notes(self, path: str | None = None) -> list[Any]:
        """What was pushed, to a path."""
        file = self.folder / "notes"
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines]
        return [message for where, message in found if path in (None, where)]

    def recover(self) -> None:
        (self.folder / "recovered").touch()


@contextmanager
def receiving(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    path = Path(__file__).with_name("receiver.py")
    process = subprocess.Popen(
        [sys.executable, str(path), str(port)],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def listened(client: Client, id_: str, address: str) -> None:
    """Settle a promise that an address listens to."""
    client.create(id_)
    client.ok("promise.register_listener", awaited=id_, address=address)
    client.settle(id_)


def state(client: Client, id_: str) -> Callable[[], Any]:
    return lambda: client.ok("promise.get", id=id_)["promise"]["state"] == "resolved"


def test_a_task_is_pushed_and_performed_over_http(world: World) -> None:
    world.receiver()
    _, url = world.edge()
    client = world.client(url)
    client.create("a", f"{world.target}/ok")
    eventually(state(client, "a"), PATIENCE_S)
    task = {"id": "a", "version": 0}
    assert world.notes() == [
        {"kind": "execute", "head": {"serverUrl": url}, "data": {"task": task}}
    ]
    # a call of ours waits for such a task as for any other
    with Runtime("clients", url=world.url) as runtime:
        assert runtime.promises.get("a") is not None
        waiting = runtime.options(target=f"{world.target}/ok").rpc("b", "anything")
        eventually(lambda: waiting.done, PATIENCE_S)

    # an edge beside it that may not push there is asked once, and nothing fails
    world.edge("example.org")
    for name in ("c", "d", "e"):
        client.create(name, f"{world.target}/ok")
    for name in ("c", "d", "e"):
        eventually(state(client, name), PATIENCE_S)
    assert "allow-list" not in world.broker.output


def test_a_receiver_that_redirects_or_fails_and_recovers(world: World) -> None:
    world.receiver()
    edge, url = world.edge()
    client = world.client(url)
    listened(client, "p", f"{world.target}/500")
    listened(client, "q", f"{world.target}/302")
    eventually(lambda: world.notes("/500") and world.notes("/302"), PATIENCE_S)
    world.broker.wait_for("a delivery has failed")
    world.recover()
    eventually(lambda: len(world.notes("/500")) > 1 and len(world.notes("/302")) > 1, PATIENCE_S)
    world.broker.wait_for("deliveries arrive again")
    assert world.notes("/ok") == []  # no redirect was followed
    for message in world.notes():
        assert (message["kind"], message["data"]["promise"]["state"]) == ("unblock", "resolved")
    assert edge.stop() == 0
    # what was taken is not sent again
    count = len(world.notes())
    _, url = world.edge()
    listened(world.client(url), "r", f"{world.target}/ok")
    eventually(lambda: world.notes("/ok"), PATIENCE_S)
    assert len(world.notes()) == count + 1


def test_the_edge_is_killed_while_the_receiver_hangs(world: World) -> None:
    world.receiver()
    first, url = world.edge()
    client = world.client(url)
    client.create("a", f"{world.target}/hang")
    listened(client, "p", f"{world.target}/hang")
    eventually(lambda: len(world.notes("/hang")) == 2, PATIENCE_S)
    # a target that hangs is not in the way of others
    client.create("b", f"{world.target}/ok")
    eventually(state(client, "b"), PATIENCE_S)
    world.recover()
    first.stop(signal.SIGKILL)
    world.edge()
    eventually(lambda: len(world.notes("/hang")) == 4, PATIENCE_S)
    kinds = [message["kind"] for message in world.notes("/hang")]
    assert (kinds.count("execute"), kinds.count("unblock")) == (2, 2)


def test_the_receiver_is_killed_in_the_middle(world: World) -> None:
    receiver = world.receiver()
    _, url = world.edge()
    client = world.client(url)
    listened(client, "p", f"{world.target}/hang")
    eventually(lambda: world.notes("/hang"), PATIENCE_S)
    receiver.kill()
    world.broker.wait_for("a delivery has failed")
    world.recover()
    world.receiver()
    eventually(lambda: len(world.notes("/hang")) > 1, PATIENCE_S)
    world.broker.wait_for("deliveries arrive again")


def test_what_waits_for_an_edge_that_pushes(world: World) -> None:
    world.receiver()
    plain = world.program("edge", "--listen", "127.0.0.1:0", "--url", world.url)
    world.client(url_of(plain)).create("a", f"{world.target}/ok")
    world.broker.wait_for("no edge and no connector delivers to this place")
    _, url = world.edge()
    eventually(state(world.client(url), "a"), PATIENCE_S)


def test_an_edge_without_a_key_does_not_start(tmp_path: Path) -> None:
    with Forked("edge", "--push", "pay.example", cwd=tmp_path) as edge:
        edge.wait_for("pushes are signed, so that receivers know who sends them")
        assert edge.process.wait(20) == 2
