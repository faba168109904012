"""Deliveries of a connector: which are made, and what is said of the others."""

from __future__ import annotations

import json

import pytest
import trio

from understudy.connectors.deliveries import Deliveries
from understudy.connectors.port import RefusedError, ServerAwayError
from understudy.edge.carrier import DeliveryError
from understudy.queues.addresses import parse_server
from understudy_broker.protocol.messages import Forward
from understudy_store.records import PromiseRecord, Value


class Server:
    """A server that notes what is put, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.put_: list[tuple[str, bytes]] = []

    async def put(self, queue: str, body: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.put_.append((queue, body))


def deliveries(server: Server, url: str = "amqp://me:secret@mq") -> Deliveries:
    return Deliveries(
        parse_server(url), ["service-*"], server.put, again_ms=7, edge_url="http://edge"
    )


def deliver(server: Server, address: str, promise: PromiseRecord | None = None) -> int:
    return trio.run(deliveries(server).deliver, Forward(address, "a", 3, promise))


def test_the_offer_of_a_task() -> None:
    server = Server()
    assert deliver(server, "amqp://mq/service-baz") == 7
    [(queue, body)] = server.put_
    assert queue == "service-baz"
    assert json.loads(body) == {
        "kind": "execute",
        "head": {"serverUrl": "http://edge"},
        "data": {"task": {"id": "a", "version": 3}},
    }


def test_a_settlement() -> None:
    server = Server()
    promise = PromiseRecord("a", "resolved", Value({}), Value({}), {}, 9, 1, 2)
    deliver(server, "amqp://mq:5672/%2F/service-baz", promise)
    [(queue, body)] = server.put_
    assert (queue, json.loads(body)["kind"]) == ("service-baz", "unblock")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("amqp://other/service-baz", "this connector is for amqp://mq"),
        ("amqps://mq/service-baz", "this connector is for amqp://mq"),
        ("amqp://mq/shop/service-baz", "this connector is for amqp://mq"),
        ("amqp://mq/orders", r"allows no queue 'orders' \(--queue\)"),
        ("amqp://mq/", "names no queue"),
    ],
)
def test_what_is_refused(address: str, text: str) -> None:
    server = Server()
    with pytest.raises(DeliveryError, match=text) as raised:
        deliver(server, address)
    assert raised.value.again_ms is None
    assert "secret" not in str(raised.value)
    assert not server.put_


def test_a_server_that_is_away_is_tried_soon_and_one_that_refuses_is_not() -> None:
    with pytest.raises(DeliveryError, match="gone") as away:
        deliver(Server(ServerAwayError("gone")), "amqp://mq/service-baz")
    assert away.value.again_ms == 1_000
    with pytest.raises(DeliveryError, match="amqp://mq refuses 'service-baz': full") as refused:
        deliver(Server(RefusedError("full")), "amqp://mq/service-baz")
    assert refused.value.again_ms is None
