"""Call graphs that are watched over gRPC: what is told, where a client goes on, and the bounds."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.acceptance.system import PATIENCE_S, until
from tests.integration.sdk.edge.grpc.rig import (
    Grpc,
    another_edge,
    code_of,
    exists,
    impatient_edge,
    open_grpc,
    refusal,
)
from tests.integration.sdk.edge.rig import NODE
from understudy.edge.grpc.v1 import understudy_pb2 as v1

Told = tuple[str, str, str]


def watch(rig: Grpc, id_: str, position: str = "") -> Iterator[v1.WatchEvent]:
    """Watch a call graph."""
    request = v1.WatchRequest(id=id_, position=position)
    return iter(rig.stub.Watch(request, timeout=PATIENCE_S))


def told(events: Iterable[v1.WatchEvent]) -> list[Told]:
    """Return the changes: id, caller and state."""
    return [
        (e.change.call.id, e.change.parent, v1.State.Name(e.change.call.state))
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
    assert told(begin) == [
        ("tree", "", "STATE_PENDING"),
        ("tree.1", "tree", "STATE_RESOLVED"),
        ("tree.2", "tree", "STATE_RESOLVED"),
        ("tree.more", "tree", "STATE_PENDING"),
    ]
    assert [event.position for event in begin[:-1]] == [""] * 4
    assert begin[-1].position
    rig.resolve("tree.more", "40")
    rest = list(stream)
    assert ("tree.more", "tree", "STATE_RESOLVED") in told(rest)
    [(child, parent, _)] = {each for each in told(rest) if each[0] == "tree.4"} or [("", "", "")]
    assert (child, parent) == ("tree.4", "tree")
    assert told(rest)[-1] == ("tree", "", "STATE_RESOLVED")
    assert rest[-1].end.state == v1.STATE_RESOLVED
    assert rest[-2].change.call.value.json == str(0 + 2 + 1 + 2 + 40 + 2)


def test_a_graph_that_has_settled(rig: Grpc) -> None:
    call = rig.start("add", "[1]")
    events = list(watch(rig, call.id))
    assert [event.WhichOneof("event") for event in events] == ["change", "end"]
    assert events[0].change.call == call


def test_a_part_of_a_graph(rig: Grpc) -> None:
    start_fan_out(rig, "partly", 3)
    assert told(watch(rig, "partly.2")) == [("partly.2", "", "STATE_RESOLVED")]
    stream = watch(rig, "partly.more")
    assert told(until_caught_up(stream)) == [("partly.more", "", "STATE_PENDING")]
    rig.resolve("partly.more", "1")
    assert told(stream) == [("partly.more", "", "STATE_RESOLVED")]


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
        assert rest[-1].end.state == v1.STATE_RESOLVED
        # Whoever has got the end, and comes back long after it, gets only that.
        later = str(int(rest[-1].position) + 60_000)
        assert [event.WhichOneof("event") for event in watch(second, "moved", later)] == ["end"]


def test_positions_that_are_none(rig: Grpc) -> None:
    assert refusal(lambda: list(watch(rig, "tree", "x"))) == (
        "INVALID_ARGUMENT",
        "position='x': it must be the position of an event, or empty",
    )


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Grpc]:
    """An edge that lets one graph be watched."""
    with open_grpc(tmp_path, watching_max=1) as rig:
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


LARGE = """

@runtime.register
def text(ctx: Context, size: int):
    return "x" * size


@runtime.register
def large(ctx: Context, count: int, size: int):
    for _ in range(count):
        yield ctx.rpc(text, size)
    promise = yield ctx.promise(id=f"{ctx.id}.more")
    yield promise


if __name__ == "__main__":
"""


def memory_mb(rig: Grpc) -> float:
    """Return how much memory the edge has."""
    status = Path(f"/proc/{rig.edge.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    node = NODE.replace('\nif __name__ == "__main__":\n', LARGE)
    with open_grpc(tmp_path, node) as rig, impatient_edge(rig.system, 1.0) as edge:
        rig.start("large", "[150, 1000000]", id="large", wait=0)
        until("it asks", lambda: exists(rig, "large.more"))
        done = rig.start("add", "[1]")
        assert not _is_full(edge, done.id)
        before = memory_mb(edge)
        stream = edge.stub.Watch(v1.WatchRequest(id="large"))
        assert next(iter(stream)).change.call.id == "large"
        until("it is cut off", lambda: not _is_full(edge, done.id))
        held = memory_mb(edge) - before
        # It was sent a part, and that is all that was kept of the 150 MB.
        assert held < 50, f"{held:.0f} MB"
        assert refusal(lambda: list(stream))[0] in ("RESOURCE_EXHAUSTED", "CANCELLED")
