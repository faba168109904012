"""What is pushed over gRPC: messages, signatures, and what answers mean."""

from __future__ import annotations

import base64
import doctest

import pytest
from grpc import StatusCode

from understudy.edge.grpc import push_messages, pusher
from understudy.edge.grpc.push_messages import place_of, push_of, rest_of, signature_of
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.signatures import parse_keys, verify
from understudy_broker.protocol.messages import Forward
from understudy_store.records import EMPTY, PromiseRecord, Value

KEYS = parse_keys(base64.b64encode(b"k" * 32).decode(), "a test")
SETTLED = PromiseRecord("p", "resolved", EMPTY, Value({}, b"7"), {}, 9, 1, 2)
NOW = 1_700_000_000.9


def test_the_offer_of_a_task() -> None:
    forward = Forward("grpc://pay.example:50051/x", "order 7/ä", 3)
    push = push_of(forward, "https://edge.example")
    found = v1.Push.FromString(push)
    assert (found.execute.id, found.execute.version) == ("order 7/ä", 3)
    assert found.execute.server_url == "https://edge.example"
    metadata = dict(signature_of(forward, push, KEYS, NOW))
    verify(KEYS, metadata, push, NOW)
    assert all(name == name.lower() for name in metadata)


def test_a_settlement_is_shown_as_the_service_shows_it() -> None:
    push = push_of(Forward("grpc://pay.example", "p", 0, SETTLED), "")
    found = v1.Push.FromString(push)
    assert found.WhichOneof("what") == "unblock"
    assert (found.unblock.promise.state, found.unblock.promise.settled_at) == (v1.STATE_RESOLVED, 2)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("grpc://pay.example", ("grpc", "pay.example", 80)),
        ("grpcs://pay.example/x?y", ("grpcs", "pay.example", 443)),
        ("grpc://[::1]:50051", ("grpc", "::1", 50_051)),
    ],
)
def test_places(address: str, place: tuple[str, str, int]) -> None:
    found = place_of(address)
    assert (found.scheme, found.host, found.port) == place


@pytest.mark.parametrize(
    ("code", "text", "rest_s"),
    [
        (StatusCode.UNAVAILABLE, "0", 0.0),
        (StatusCode.RESOURCE_EXHAUSTED, "2500", 2.5),
        (StatusCode.INTERNAL, "2500", None),
        (StatusCode.UNAVAILABLE, "-1", None),
        (StatusCode.UNAVAILABLE, "soon", None),
        (StatusCode.UNAVAILABLE, "9" * 30, None),
        (StatusCode.UNAVAILABLE, b"2500", None),
    ],
)
def test_how_long_a_receiver_wants_to_be_left_alone(
    code: StatusCode, text: str | bytes, rest_s: float | None
) -> None:
    assert rest_of(code, [("x", "1"), ("grpc-retry-pushback-ms", text)]) == rest_s
    assert rest_of(code, []) is None


@pytest.mark.parametrize("module", [push_messages, pusher])
def test_the_examples_in_docstrings(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted
    assert not found.failed
