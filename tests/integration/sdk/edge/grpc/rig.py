"""A broker, a node of group shop, and an edge with gRPC, in processes of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from tests.acceptance.system import PATIENCE_S, Program, System, until
from tests.integration.sdk.edge.rig import NODE, open_rig, start_edge
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import UnderstudyStub

#: what an edge is given to listen for gRPC
LISTEN = {"grpc": ("127.0.0.1", 0)}


class Grpc(NamedTuple):
    """The system, an edge in it, and a client of that edge."""

    system: System
    edge: Program
    port: int
    channel: grpc.Channel
    stub: UnderstudyStub

    def start(
        self, function: str, json: str = "", *, wait: float = PATIENCE_S, **more: Any
    ) -> v1.Call:
        """Start a call of group shop, and wait for it."""
        request = v1.StartRequest(group="shop", function=function, json=json, wait=wait, **more)
        return self.stub.Start(request, timeout=PATIENCE_S)

    def get(self, id_: str) -> v1.Call:
        """Read a promise."""
        return self.stub.Get(v1.GetRequest(id=id_), timeout=PATIENCE_S)

    def wait(self, id_: str) -> v1.Call:
        """Wait for a promise."""
        return self.stub.Wait(v1.WaitRequest(id=id_), timeout=PATIENCE_S)

    def resolve(self, id_: str, json: str) -> v1.Call:
        """Settle a promise, as soon as it is there."""
        until(f"there is {id_}", lambda: exists(self, id_))
        return self.stub.Settle(v1.SettleRequest(id=id_, json=json), timeout=PATIENCE_S)


@contextmanager
def open_grpc(folder: Path, node: str = NODE, **settings: Any) -> Iterator[Grpc]:
    """Open a system with an edge that has these settings."""
    with (
        open_rig(folder, node, **(LISTEN | settings)) as rig,
        connect(rig.system, rig.edge) as client,
    ):
        yield client


@contextmanager
def impatient_edge(system: System, write_timeout_s: float) -> Iterator[Grpc]:
    """Start an edge that lets one graph be watched, and cuts clients off that do not read."""
    source = f"""
        from understudy.edge.process import run_edge
        from understudy.edge.server import Limits
        from understudy.edge.settings import EdgeSettings

        limits = Limits(write_timeout_s={write_timeout_s})
        run_edge(EdgeSettings({system.url!r}, "127.0.0.1", 0, limits, streams_max=1, **{LISTEN}))
    """
    with connect(system, system.run("impatient", source)) as client:
        yield client


@contextmanager
def another_edge(system: System, **settings: Any) -> Iterator[Grpc]:
    """Start one more edge."""
    edge, _ = start_edge(system, **(LISTEN | settings))
    with connect(system, edge) as client:
        yield client


@contextmanager
def connect(system: System, edge: Program) -> Iterator[Grpc]:
    """Connect a client to an edge."""
    port = grpc_port(edge)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Grpc(system, edge, port, channel, UnderstudyStub(channel))


def grpc_port(edge: Program) -> int:
    """Return the port of an edge for gRPC, once it has said it."""
    pattern = re.compile(r"grpc://127\.0\.0\.1:(\d+)\n")
    until("the edge listens for gRPC", lambda: pattern.search(edge.output))
    found = pattern.search(edge.output)
    assert found is not None
    return int(found[1])


def exists(rig: Grpc, id_: str) -> bool:
    """Return whether a promise exists."""
    try:
        rig.get(id_)
    except grpc.RpcError as error:
        if code_of(error) is not grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return True


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of an RPC that has failed."""
    return _call(error).code()


def _call(error: object) -> grpc.Call:
    # grpc raises what is both, and its stubs say that nothing can be.
    assert isinstance(error, grpc.Call)
    return error


def raw(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return a method of the service, for messages that are bytes."""
    return channel.unary_unary(f"/understudy.v1.Understudy/{method}", bytes, bytes)


def refusal(rpc: Callable[[], object]) -> tuple[str, str]:
    """Return the status and the text of an RPC that must be refused."""
    with pytest.raises(grpc.RpcError) as caught:
        rpc()
    call = _call(caught.value)
    return call.code().name, call.details() or ""
