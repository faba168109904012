"""Pushes over gRPC as the receiver reads them."""

from __future__ import annotations

import pytest

from understudy import ConfigurationError, Runtime, extras
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.push import add_push_servicer
from understudy.push.receiver import Offer
from understudy.push.rpc import offer_of


def test_what_is_pushed() -> None:
    execute = v1.Push(execute=v1.Push.Execute(id="a", version=2, server_url="http://edge"))
    assert offer_of(execute.SerializeToString()) == Offer("a", 2)
    unblock = v1.Push(unblock=v1.Push.Unblock(promise=v1.Call(id="p")))
    assert offer_of(unblock.SerializeToString()) is None


@pytest.mark.parametrize("body", [b"", b"\xff\xff", b"{}", b"\x1a\x00"])
def test_what_is_no_push(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        offer_of(body)


def test_grpcio_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "missing", lambda *_: "grpc")
    server: object = None
    with pytest.raises(ConfigurationError, match=r"needs grpc, .* the extra \[grpc\]"):
        add_push_servicer(server, Runtime("g"), key="x")  # type: ignore[arg-type]
