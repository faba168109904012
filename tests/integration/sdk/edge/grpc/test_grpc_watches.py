"""Call graphs that are watched over gRPC: what is told, where a client goes on, and the bounds."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.acceptance.system import PATIENCE_S, until
from tests.integration.sdk.edge.grpc.rig import (
    LISTEN,
    Grpc,
    another_edge,
    code_of,
    connect,
    exists,
    impatient_edge,
    open_grpc,
    refusal,
)
from tests.integration.sdk.edge.rig import NODE
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import UnderstudyStub

Told = tuple[str, str, str]


def watch(rig: Grpc, id_: str, position: str = "") -> Iterator[v1.WatchEvent]:
    """Watch a call graph."""
    request = v1.WatchRequest(id=id_, position=position)
    return iter(rig.stub.Watch(request, timeout=PATIENCE_S))


def told(events: Iterable[v1.WatchEvent]) -> list[Told]:
    """Return the changes: id, caller and state."""
    return [
        (e.change.id, e.change.parent, v1.State.Name(e.change.state))
        for e in events
        if e.HasField("change")
    ]


def until_caught_up(stream: Iterator[v1.WatchEvent]) -> list[v1.WatchEvent]:
    """Return the events up to the one that says that everything was told."""
    events = [next(stream)]
    while not events[-1].HasField("caught_up"):
        events.append(next(stream))
    return events


def start_fan_out(rig: Grpc, id_: str, count: int) -> None:
    """Start a call that waits for a promise, once all its calls but one have settled."""
    rig.start("fan_out", f"[{count}]", id=id_, wait=0)
    until("it asks", lambda: exists(rig, f"{id_}.more"))
    for number in range(1, count + 1):
        rig.wait(f"{id_}.{number}")


def test_a_graph_from_its_beginning_to_its_end(rig: Grpc) -> None:
    start_fan_out(rig, "tree", 2)
    stream = watch(rig, "tree")
    begin = until_caught_up(stream)
    assert sorted(told(begin)) == [
        ("tree", "", "STATE_PENDING"),
        ("tree.1", "tree", "STATE_RESOLVED"),
        ("tree.2", "tree", "STATE_RESOLVED"),
        ("tree.more", "tree", "STATE_PENDING"),
    ]
    assert {event.change.role for event in begin[:-1]} == {"call", "promise"}
    assert {event.change.function for event in begin[:-1]} == {"fan_out", "add", "promise"}
    rig.resolve("tree.more", "40")
    rest = list(stream)
    assert ("tree.more", "tree", "STATE_RESOLVED") in told(rest)
    # A call that was made after the promise was settled.
    assert ("tree.4", "tree", "STATE_RESOLVED") in told(rest)
    assert ("tree", "", "STATE_RESOLVED") in told(rest)
    assert rest[-1].end.call == rig.get("tree")
    assert rest[-1].end.call.value.json == str(0 + 2 + 1 + 2 + 40 + 2)
    positions = [int(event.position) for event in begin + rest]
    assert positions == sorted(positions)


def test_a_graph_that_has_settled(rig: Grpc) -> None:
    call = rig.start("add", "[1]")
    events = list(watch(rig, call.id))
    assert [event.WhichOneof("event") for event in events] == ["change", "caught_up", "end"]
    assert events[-1].end.call == call
    assert events[0].change.settled_at == call.settled_at


def test_a_failure_in_a_graph(rig: Grpc) -> None:
    call = rig.start("fail", '["no stock"]')
    events = list(watch(rig, call.id))
    assert events[0].change.state == v1.STATE_REJECTED
    assert events[0].change.error == v1.Error(type="ValueError", message="no stock")
    assert events[-1].end.call.error.traceback


def test_a_part_of_a_graph(rig: Grpc) -> None:
    start_fan_out(rig, "partly", 3)
    assert told(watch(rig, "partly.2")) == [("partly.2", "", "STATE_RESOLVED")]
    stream = watch(rig, "partly.more")
    assert told(until_caught_up(stream)) == [("partly.more", "", "STATE_PENDING")]
    rig.resolve("partly.more", "1")
    assert told(stream) == [("partly.more", "", "STATE_RESOLVED")]


def test_a_graph_that_is_too_large(rig: Grpc) -> None:
    start_fan_out(rig, "large", 5)
    source = f"""
        from understudy.edge.native import graphs
        from understudy.edge.process import run_edge
        from understudy.edge.settings import EdgeSettings

        graphs.PROMISES_MAX = 5
        run_edge(EdgeSettings({rig.system.url!r}, "127.0.0.1", 0, **{LISTEN}))
    """
    with connect(rig.system, rig.system.run("narrow", source)) as narrow:
        until("it is there", lambda: exists(narrow, "large"))
        code, text = refusal(lambda: list(watch(narrow, "large")))
        assert code == "RESOURCE_EXHAUSTED"
        assert text.startswith("the call graph has more promises than can be watched: read them in")


def test_a_client_goes_on_at_another_edge(tmp_path: Path) -> None:
    with open_grpc(tmp_path) as first, another_edge(first.system) as second:
        start_fan_out(first, "moved", 2)
        stream = watch(first, "moved")
        position = until_caught_up(stream)[-1].position
        first.edge.kill()
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert code_of(caught.value) is grpc.StatusCode.UNAVAILABLE
        # The same call, at the edge that is left.
        again = v1.StartRequest(group="shop", function="fan_out", json="[2]", id="moved")
        assert second.stub.Start(again, timeout=PATIENCE_S).state == v1.STATE_PENDING
        stream = watch(second, "moved", position)
        until_caught_up(stream)
        second.resolve("moved.more", "40")
        rest = list(stream)
        assert ("moved.more", "moved", "STATE_RESOLVED") in told(rest)
        assert rest[-1].end.call.state == v1.STATE_RESOLVED
        # Whoever has got the end, and comes back, gets only that.
        assert list(watch(second, "moved", rest[-1].position)) == [rest[-1]]


def test_positions_that_are_none(rig: Grpc) -> None:
    assert refusal(lambda: list(watch(rig, "tree", "x"))) == (
        "INVALID_ARGUMENT",
        "position='x': it must be the position of an event, or empty",
    )


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Grpc]:
    """An edge that lets one graph be watched."""
    with open_grpc(tmp_path, streams_max=1) as rig:
        yield rig


def _is_full(rig: Grpc, id_: str) -> bool:
    """Return whether no graph may be watched any more."""
    try:
        list(watch(rig, id_))
    except grpc.RpcError as error:
        return code_of(error) is grpc.StatusCode.RESOURCE_EXHAUSTED
    return False


def test_a_stream_ends_when_its_client_cancels_it(small: Grpc) -> None:
    done = small.start("add", "[1]")
    call = small.start("approve", wait=0)
    stream = small.stub.Watch(v1.WatchRequest(id=call.id))
    next(iter(stream))
    assert refusal(lambda: list(watch(small, done.id))) == (
        "RESOURCE_EXHAUSTED",
        "1 streams are open at this edge, as many as may: try again, or at another edge",
    )
    stream.cancel()
    until("there is room", lambda: not _is_full(small, done.id))
    assert small.get(call.id).state == v1.STATE_PENDING


def test_the_end_of_an_edge_ends_its_streams(small: Grpc) -> None:
    call = small.start("approve", wait=0)
    stream = watch(small, call.id)
    until_caught_up(stream)
    small.edge.send_signal(signal.SIGTERM)
    assert refusal(lambda: list(stream)) == (
        "UNAVAILABLE",
        "this edge ends: resume at another one, with the position of the last event",
    )
    assert small.edge.wait() == 0
    assert "Traceback" not in small.edge.output


def memory_mb(rig: Grpc) -> float:
    """Return how much memory the edge has."""
    status = Path(f"/proc/{rig.edge.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


MANY = """

@runtime.register
def many(ctx: Context, count: int, error: int):
    calls = []
    for number in range(count):
        calls.append((yield ctx.begin_rpc(fail, "x" * error)))
    promise = yield ctx.promise(id=f"{ctx.id}.more")
    yield promise


if __name__ == "__main__":
"""


def narrow_channel(port: int) -> grpc.Channel:
    """Return a channel that takes no more than a few messages in advance."""
    options = [
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65_535),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=options)


def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    node = NODE.replace('\nif __name__ == "__main__":\n', MANY)
    with open_grpc(tmp_path, node) as rig, impatient_edge(rig.system, 1.0) as edge:
        rig.start("many", "[100, 300000]", id="many", wait=0)
        until("it asks", lambda: exists(rig, "many.more"))
        for number in range(1, 101):
            rig.wait(f"many.{number}")
        done = rig.start("add", "[1]")
        assert not _is_full(edge, done.id)
        with narrow_channel(edge.port) as channel:
            stream = UnderstudyStub(channel).Watch(v1.WatchRequest(id="many"))
            next(iter(stream))
            before = memory_mb(edge)
            until("it is cut off", lambda: not _is_full(edge, done.id))
            assert memory_mb(edge) - before < 30
            assert refusal(lambda: list(stream))[0] in ("RESOURCE_EXHAUSTED", "CANCELLED")
