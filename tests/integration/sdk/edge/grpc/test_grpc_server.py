"""The server: health, reflection, addresses, bounds, and edges that die."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.acceptance.system import PATIENCE_S, open_system, until
from tests.integration.sdk.edge.grpc.rig import (
    Grpc,
    another_edge,
    code_of,
    connect,
    open_grpc,
    raw,
    refusal,
)
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import UnderstudyStub

STATUS = health_pb2.HealthCheckResponse


def health(rig: Grpc, service: str = "") -> int:
    """Return the status of a health check."""
    stub: Any = health_pb2_grpc.HealthStub(rig.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return int(stub.Check(request, timeout=10).status)


def test_health(tmp_path: Path) -> None:
    with open_grpc(tmp_path) as rig:
        until("it serves", lambda: health(rig) == STATUS.SERVING)
        assert health(rig, "understudy.v1.Understudy") == STATUS.SERVING
        rig.system.broker.kill()
        until("it says so", lambda: health(rig) == STATUS.NOT_SERVING)
        rig.system.start_broker()
        until("it serves again", lambda: health(rig) == STATUS.SERVING)
        # A stream of health checks, as load balancers have it, does not hold up the end.
        stub: Any = health_pb2_grpc.HealthStub(rig.channel)
        watch = iter(stub.Watch(health_pb2.HealthCheckRequest()))
        assert next(watch).status == STATUS.SERVING
        rig.edge.send_signal(signal.SIGTERM)
        assert next(watch).status == STATUS.NOT_SERVING
        assert rig.edge.wait() == 0


def test_reflection(rig: Grpc) -> None:
    database = ProtoReflectionDescriptorDatabase(rig.channel)
    assert set(database.get_services()) == {
        "understudy.v1.Understudy",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    [name] = [
        file.name
        for file in [database.FindFileContainingSymbol("understudy.v1.Understudy")]
        if "Understudy" in {service.name for service in file.service}
    ]
    assert name.endswith("understudy.proto")


def test_an_edge_that_dies_while_its_client_waits(tmp_path: Path) -> None:
    with open_grpc(tmp_path) as first, another_edge(first.system) as second:
        request = v1.StartRequest(group="shop", function="approve", id="call", wait=PATIENCE_S)
        waiting = first.stub.Start.future(request, timeout=PATIENCE_S)
        until("it asks", lambda: second.system.runtime.promises.search(prefix="call."))
        first.edge.kill()
        error = waiting.exception(timeout=30)
        assert isinstance(error, grpc.RpcError)
        assert code_of(error) is grpc.StatusCode.UNAVAILABLE
        # The same request again, at the edge that is left, is the same call.
        waiting = second.stub.Start.future(request, timeout=PATIENCE_S)
        second.resolve("call.answer", "7")
        assert waiting.result(timeout=30).value.json == '{"answer":7}'
        listed = second.stub.List(v1.ListRequest(prefix="call"), timeout=10)
        assert [call.id for call in listed.calls] == ["call"]


def test_an_edge_without_a_broker(tmp_path: Path) -> None:
    with open_grpc(tmp_path, patience_s=0.2) as rig:
        rig.system.broker.kill()
        code, text = refusal(lambda: rig.start("add", "[1]", id="lost"))
        assert code == "UNAVAILABLE"
        assert text.startswith("no broker has answered ")
        rig.system.start_broker()

        def answers() -> bool:
            try:
                return rig.start("add", "[1]", id="lost").value.json == "3"
            except grpc.RpcError as error:
                if code_of(error) is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False

        until("it goes on", answers)


def test_messages_that_are_too_large_and_metadata(rig: Grpc) -> None:
    start = raw(rig.channel, "Start")
    code, text = refusal(lambda: start(b"\x00" * 6_300_000, timeout=10))
    assert (code, text.startswith("SERVER: Received message larger than max")) == (
        "RESOURCE_EXHAUSTED",
        True,
    )
    long = (("x", "y" * 100_000),)
    request = v1.GetRequest(id="x")
    assert refusal(lambda: rig.stub.Get(request, timeout=10, metadata=long))[0] == (
        "RESOURCE_EXHAUSTED"
    )
    assert rig.start("add", "[1]").value.json == "3"


def test_bytes_that_are_no_grpc(rig: Grpc) -> None:
    for data in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\xff" * 5000, b""):
        with socket.create_connection(("127.0.0.1", rig.port), PATIENCE_S) as connection:
            connection.settimeout(PATIENCE_S)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert rig.start("add", "[1]").value.json == "3"
    assert "Traceback" not in rig.edge.output


def test_the_command(tmp_path: Path) -> None:
    with open_system(tmp_path) as system:
        edge = system.command("edge", "--listen", "127.0.0.1:0", "--grpc", "localhost:0")
        with connect(system, edge) as rig:
            until("it serves", lambda: health(rig) == STATUS.SERVING)
            assert "can be reached by other machines" not in edge.output
            taken = system.command("edge", "--listen", "127.0.0.1:0", "--grpc", str(rig.port))
            assert taken.wait() == 2
            at = f"127.0.0.1:{rig.port}"
            taken = system.command("edge", "--listen", "127.0.0.1:0", "--grpc", at)
            assert taken.wait() == 1
            assert taken.output == (
                f"understudy edge: it cannot listen at {at}: Address already in use. Give another "
                "address with --grpc\n"
            )
        everywhere = system.command(
            "edge", "--listen", "127.0.0.1:0", "--grpc", "grpc://[::]:0", "--insecure"
        )
        until("it listens", lambda: "grpc://[::]:" in everywhere.output)
        until("it warns", lambda: "can be reached by other machines" in everywhere.output)


def test_a_port_that_is_taken_at_the_last_moment(rig: Grpc) -> None:
    source = f"""
        import sys
        from understudy.edge import process
        from understudy.edge.settings import EdgeSettings

        process._probe = lambda grpc: grpc
        settings = EdgeSettings({rig.system.url!r}, "127.0.0.1", 0, grpc=("127.0.0.1", {rig.port}))
        sys.exit(process.run_edge(settings))
    """
    late = rig.system.run("late", source)
    assert late.wait() == 1
    assert f"it cannot listen at 127.0.0.1:{rig.port} for gRPC" in late.output
    assert "Traceback" not in late.output


def test_a_burst_of_waits(rig: Grpc) -> None:
    call = rig.start("approve", wait=0)

    async def wait(count: int) -> set[v1.State.ValueType]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{rig.port}") as channel:
            stub = UnderstudyStub(channel)
            request = v1.WaitRequest(id=call.id)
            rpcs = [stub.Wait(request, timeout=PATIENCE_S) for _ in range(count)]
            await asyncio.to_thread(rig.resolve, f"{call.id}.answer", "1")
            return {(await rpc).state for rpc in rpcs}

    # grpc's core would cancel a part of them by itself.
    assert asyncio.run(wait(2000)) == {v1.STATE_RESOLVED}


@pytest.mark.parametrize("statement", ["import understudy", "import understudy.edge.process"])
def test_only_an_edge_that_speaks_grpc_imports_it(statement: str) -> None:
    script = f"{statement}\nimport sys\nprint([n for n in ('grpc', 'google') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
