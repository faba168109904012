"""Waits over gRPC: they end before the deadline, with their client, and with the edge."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.acceptance.system import until
from tests.integration.sdk.edge.grpc.rig import Grpc, code_of, open_grpc, raw, refusal
from understudy.edge.grpc.v1 import understudy_pb2 as v1


def test_a_wait_returns_the_pending_call_before_its_deadline(rig: Grpc) -> None:
    call = rig.start("approve", wait=0)
    waiting = rig.stub.Wait.future(v1.WaitRequest(id=call.id), timeout=5)
    started = v1.StartRequest(group="shop", function="approve", id=call.id, wait=60)
    starting = rig.stub.Start.future(started, timeout=5)
    assert waiting.result().state == starting.result().state == v1.STATE_PENDING
    rig.resolve(f"{call.id}.answer", "1")
    assert rig.wait(call.id).state == v1.STATE_RESOLVED


def test_a_wait_ends_after_the_time_that_it_names(rig: Grpc) -> None:
    call = rig.start("approve", wait=0)
    assert rig.stub.Wait(v1.WaitRequest(id=call.id, wait=0.01)).state == v1.STATE_PENDING
    assert rig.stub.Wait(v1.WaitRequest(id=call.id, wait=0)).state == v1.STATE_PENDING
    assert rig.start("approve", id=call.id, wait=0.01).state == v1.STATE_PENDING


def test_a_wait_without_a_deadline_ends_with_the_call(rig: Grpc) -> None:
    call = rig.start("approve", wait=0)
    waiting = rig.stub.Wait.future(v1.WaitRequest(id=call.id))
    assert rig.get(call.id).state == v1.STATE_PENDING
    rig.resolve(f"{call.id}.answer", "1")
    assert waiting.result(timeout=30).state == v1.STATE_RESOLVED


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Grpc]:
    """An edge that lets one request wait."""
    with open_grpc(tmp_path, waiting_max=1) as rig:
        yield rig


def _is_full(rig: Grpc, id_: str) -> bool:
    """Return whether no request may wait."""
    try:
        rig.stub.Wait(v1.WaitRequest(id=id_, wait=0))
    except grpc.RpcError as error:
        return code_of(error) is grpc.StatusCode.RESOURCE_EXHAUSTED
    return False


def test_a_deadline_that_passes_while_the_broker_is_silent(small: Grpc) -> None:
    request = v1.StartRequest(group="shop", function="add", json="[1]", id="hasty", wait=30)
    small.system.broker.send_signal(signal.SIGSTOP)
    try:
        for rpc in (
            lambda: small.stub.Start(request, timeout=0.3),
            lambda: small.stub.Wait(v1.WaitRequest(id="hasty"), timeout=0.3),
            lambda: small.stub.Get(v1.GetRequest(id="hasty"), timeout=0.3),
        ):
            assert refusal(rpc)[0] == "DEADLINE_EXCEEDED"
    finally:
        small.system.broker.send_signal(signal.SIGCONT)
    # It may have been performed all the same. With its id, it is the same call again.
    until("there is room", lambda: not _is_full(small, "other"))
    assert small.stub.Start(request, timeout=30).value.json == "3"


class Waiter:
    """A client that waits for a promise, at an edge that lets one request wait."""

    def __init__(self, rig: Grpc, channel: grpc.Channel, id_: str) -> None:
        self._wait = raw(channel, "Wait")
        self._request = v1.WaitRequest(id=id_).SerializeToString()
        self.rpc = self._wait.future(self._request)
        until("it waits", lambda: self._has_begun(rig, id_))

    def _has_begun(self, rig: Grpc, id_: str) -> bool:
        if self.rpc.done():  # the look below was faster, and had the place
            self.rpc = self._wait.future(self._request)
        return _is_full(rig, id_) and not self.rpc.done()


def test_a_wait_ends_when_its_client_cancels_it(small: Grpc) -> None:
    call = small.start("approve", wait=0)
    waiter = Waiter(small, small.channel, call.id)
    assert refusal(lambda: small.start("add", "[1]", id="unstored")) == (
        "RESOURCE_EXHAUSTED",
        "1 requests wait at this edge, as many as may: try again, or at another edge",
    )
    assert refusal(lambda: small.get("unstored"))[0] == "NOT_FOUND"
    assert small.start("add", "[1]", wait=0).id
    waiter.rpc.cancel()
    until("there is room", lambda: not _is_full(small, call.id))
    # The call goes on.
    assert small.get(call.id).state == v1.STATE_PENDING
    small.resolve(f"{call.id}.answer", "1")
    assert small.wait(call.id).state == v1.STATE_RESOLVED


def test_a_wait_ends_when_its_client_is_gone(small: Grpc) -> None:
    call = small.start("approve", wait=0)
    other = grpc.insecure_channel(
        f"127.0.0.1:{small.port}", options=[("grpc.use_local_subchannel_pool", 1)]
    )
    waiter = Waiter(small, other, call.id)
    other.close()
    until("there is room", lambda: not _is_full(small, call.id))
    assert waiter.rpc.done()


def test_the_end_of_an_edge_ends_waits_with_what_is_known(small: Grpc) -> None:
    call = small.start("approve", wait=0)
    waiter = Waiter(small, small.channel, call.id)
    small.edge.send_signal(signal.SIGTERM)
    assert v1.Call.FromString(waiter.rpc.result(timeout=30)).state == v1.STATE_PENDING
    assert small.edge.wait() == 0
    assert "Traceback" not in small.edge.output
