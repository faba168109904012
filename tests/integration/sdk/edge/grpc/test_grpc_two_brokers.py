"""A call graph at two brokers, watched by way of one edge."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.acceptance.system import PATIENCE_S, Program
from tests.integration.sdk.brokers import Two
from tests.integration.sdk.edge.grpc.rig import grpc_port
from understudy import Context, Runtime
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import UnderstudyStub


@pytest.fixture
def node(two: Two) -> Iterator[Runtime]:
    runtime = Runtime("shop", "node", url=two.url("a"), connect_timeout=5)

    @runtime.register
    def double(_: Context, n: int) -> int:
        return 2 * n

    @runtime.register
    def at_homes(ctx: Context, homes: list[str], people: str) -> Any:
        calls = [ctx.begin_rpc(double, 3).options(home=home) for home in homes]
        total = sum((yield ctx.all(calls)))
        return total + (yield (yield ctx.promise(id=people)))

    with runtime:
        yield runtime


@pytest.fixture
def edge(two: Two, node: Runtime, tmp_path: Path) -> Iterator[UnderstudyStub]:
    places = ["--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--url", two.url("b")]
    command = [sys.executable, "-m", "understudy", "edge", *places]
    program = Program(command, tmp_path / "edge.log", {}, tmp_path)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port(program)}") as channel:
            yield UnderstudyStub(channel)
    finally:
        program.kill()


@pytest.mark.parametrize("root_at", ["a", "b"])
def test_a_graph_at_two_brokers(two: Two, edge: UnderstudyStub, root_at: str) -> None:
    homes = two.ids("a", 20, "part") + two.ids("b", 20, "part")
    [root], [people] = two.ids(root_at, 1), two.ids("b", 1, "people")
    names = ", ".join(f'"{home}"' for home in homes)
    request = v1.StartRequest(
        group="shop", function="at_homes", json=f'[[{names}], "{people}"]', id=root
    )
    edge.Start(request, timeout=PATIENCE_S, wait_for_ready=True)
    states: dict[str, v1.State.ValueType] = {}
    parents = set()
    for event in edge.Watch(v1.WatchRequest(id=root), timeout=PATIENCE_S):
        if event.HasField("change"):
            change = event.change
            states[change.id] = change.state
            parents.add(change.parent)
            if change.id == people and change.state == v1.STATE_PENDING:
                edge.Settle(v1.SettleRequest(id=people, json="1"), timeout=PATIENCE_S)
    # The root, the calls at their homes, and the promise, each to its end.
    assert len(states) == 42
    assert set(states.values()) == {v1.STATE_RESOLVED}
    assert parents == {"", root}
    result = edge.Wait(v1.WaitRequest(id=root), timeout=PATIENCE_S)
    assert result.value.json == str(40 * 6 + 1)
    everything = v1.ListRequest(origin=root, promises=True)
    assert len(edge.List(everything, timeout=PATIENCE_S).calls) == 42
