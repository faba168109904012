"""Web services that perform what is pushed to them, over HTTP only, and are killed meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.cli.programs import environment, run_forked
from tests.integration.sdk.edge.push.test_push import PATIENCE_S, World
from tests.support import eventually
from understudy import Runtime


class ServiceWorld(World):
    """The same with a socket for the service."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        self.listener = stack.enter_context(socket.socket())
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ServiceWorld]:
    with ExitStack() as stack:
        yield ServiceWorld(tmp_path, stack)


@contextmanager
def serving(
    world: ServiceWorld, kind: str, edge: str, *more: str
) -> Iterator[subprocess.Popen[str]]:
    path, fd = Path(__file__).with_name("service.py"), world.listener.fileno()
    if kind == "grpc":
        world.listener.close()
    process = subprocess.Popen(
        [sys.executable, str(path), kind, str(world.port), str(fd), edge, *more],
        cwd=world.folder, env=environment(), stdout=subprocess.PIPE, text=True,
        pass_fds=[] if kind == "grpc" else [fd],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "service listens\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def said(world: ServiceWorld) -> list[str]:
    notes = world.folder / "notes"
    return notes.read_text().splitlines() if notes.exists() else []


def state_of(world: ServiceWorld, id_: str) -> str:
    ran = run_forked("tasks", "get", id_, "--json", "--url", world.url, cwd=world.folder)
    return json.loads(ran.stdout)["state"] if ran.returncode == 0 else ran.stderr


def target_of(world: ServiceWorld, kind: str) -> str:
    return f"grpc://127.0.0.1:{world.port}" if kind == "grpc" else f"{world.target}/understudy"


@pytest.mark.parametrize("kind", ["wsgi", "asgi", "grpc"])
def test_a_function_that_waits_is_resumed_by_a_later_push(world: ServiceWorld, kind: str) -> None:
    program, edge = world.edge()
    target = target_of(world, kind)
    with Runtime("clients", url=world.url) as runtime:
        with serving(world, kind, edge):
            call = runtime.options(target=target).rpc("charge-1", "charge", 100)
            eventually(lambda: said(world) == ["charge begins"], PATIENCE_S)
            eventually(lambda: state_of(world, "charge-1") == "waiting", PATIENCE_S)
        # Nobody is there now, and another process at this address goes on with it.
        with serving(world, kind, edge):
            runtime.promises.resolve("charge-1.approved")
            assert call.result(PATIENCE_S) == "100 and 10"
        assert said(world) == ["charge begins"]
        # It was no node: nothing but pushes came to it.
        groups = run_forked("groups", "--json", "--url", world.url, cwd=world.folder).stdout
        assert '"pay"' not in groups
    assert program.stop() == 0


def test_a_service_that_is_killed_at_work(world: ServiceWorld) -> None:
    _, edge = world.edge()
    target = f"{world.target}/understudy"
    with Runtime("clients", url=world.url) as runtime, serving(world, "wsgi", edge) as service:
        call = runtime.options(target=target).rpc("hold-1", "hold")
        eventually(lambda: said(world) == ["hold begins"], PATIENCE_S)
        service.kill()
        service.wait()
        with serving(world, "wsgi", edge):
            eventually(lambda: said(world) == ["hold begins"] * 2, PATIENCE_S)
            (world.folder / "go on").touch()
            assert call.result(PATIENCE_S) == "held"


def test_the_edge_of_a_service_is_killed(world: ServiceWorld) -> None:
    """Its connection goes through that edge; it goes on through another one."""
    first, one = world.edge()
    _, other = world.edge()
    target = f"{world.target}/understudy"
    with (
        Runtime("clients", url=world.url) as runtime,
        serving(world, "asgi", f"{one},{other}"),
    ):
        call = runtime.options(target=target).rpc("hold-1", "hold")
        eventually(lambda: said(world), PATIENCE_S)
        first.stop(signal.SIGKILL)
        later = runtime.options(target=target).rpc("fee-1", "fee_of", 50)
        assert later.result(PATIENCE_S) == 5
        (world.folder / "go on").touch()
        assert call.result(PATIENCE_S) == "held"
