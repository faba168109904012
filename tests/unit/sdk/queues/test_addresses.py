"""Addresses of queues: what names which queue, and that no secret is in any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import ConfigurationError
from understudy.queues.addresses import (
    QueueName,
    QueueNameError,
    allows,
    parse_server,
    parse_task_source,
    queue_of,
)
from understudy_broker.core.carriers import place_of


@pytest.mark.parametrize(
    ("address", "space", "name"),
    [
        ("amqp://mq/orders", "/", "orders"),
        ("amqps://mq:5671/shop/orders", "shop", "orders"),
        ("amqp://mq/%2F/a%2Fb", "/", "a/b"),
        ("amqp://mq/orders?x=1#y", "/", "orders"),
        ("redis://mq/orders", "0", "orders"),
        ("rediss://mq/2/orders", "2", "orders"),
        ("nats://mq/orders.eu", "", "orders.eu"),
    ],
)
def test_the_queue_of_an_address(address: str, space: str, name: str) -> None:
    assert queue_of(address) == QueueName(space, name)


@pytest.mark.parametrize(
    "address",
    [
        "amqp://mq",
        "amqp://mq/",
        "amqp://mq//x",
        "amqp://mq/a/b/c",
        "nats://mq/a/b",
        "redis://mq/1/",
    ],
)
def test_an_address_that_names_no_queue(address: str) -> None:
    with pytest.raises(QueueNameError, match="names no queue"):
        queue_of(address)


@pytest.mark.parametrize(
    ("url", "names", "places"),
    [
        ("nats://me:s@MQ.internal", (), {"nats://mq.internal", "nats://mq.internal:4222"}),
        ("nats://a:4222,nats://b:1", (), {"nats://a", "nats://a:4222", "nats://b:1"}),
        ("redis://mq:7000/2", (), {"redis://mq:7000/2"}),
        ("redis://mq", (), {
            "redis://mq", "redis://mq/0", "redis://mq:6379", "redis://mq:6379/0"
        }),
        ("amqp://me:s@mq/shop", ("[::1]", "alias:7"), {
            "amqp://mq/shop", "amqp://mq:5672/shop", "amqp://[::1]/shop", "amqp://[::1]:5672/shop",
            "amqp://alias:7/shop",
        }),
    ],
)  # fmt: skip
def test_the_places_of_a_server(url: str, names: tuple[str, ...], places: set[str]) -> None:
    server = parse_server(url, names)
    assert set(server.places) == places
    assert all(place_of(f"{place}/queue") == place for place in places)


@pytest.mark.parametrize(
    "url",
    [
        "", "mq.internal", "http://secret:secret@mq", "amqp://secret@mq,amqp://secret@other",
        "nats://secret@mq/x", "amqp://secret:secret@mq/a/b", "amqp://secret:se/cret@mq",
        "amqp://secret@mq:x", "amqp://secret@", "kafka://secret@mq", "nats://secret@a,redis://b",
        "nats://me:secret/secret@mq", "amqp://me:5/secret@mq", "redis://me:se,cret@mq",
        "nats://[secret:secret@mq", "redis://me:5?secret@mq",
    ],
)  # fmt: skip
def test_no_server(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_server(url)
    assert "secret" not in str(raised.value)


def test_the_task_source_of_a_runtime() -> None:
    source = parse_task_source("amqp://me:secret@MQ.internal:5672/shop/orders?heartbeat=5")
    assert source.target == "amqp://mq.internal:5672/shop/orders"
    assert source.server_url == "amqp://me:secret@MQ.internal:5672/shop?heartbeat=5"
    assert source.queue == QueueName("shop", "orders")
    assert "secret" not in repr(source)
    assert parse_task_source("amqp://mq/orders").server_url == "amqp://mq/%2F"
    assert parse_task_source("nats://mq/orders.eu").server_url == "nats://mq"
    assert parse_task_source("redis://mq/orders").server_url == "redis://mq/0"


@pytest.mark.parametrize(
    "url", ["secret", "http://secret@mq/x", "amqp://secret@mq", "amqp://secret@/x", "amqp://[secret",
            "amqp://me:se/cret/x/y@mq/orders", "amqp://me:se/secret@mq"]
)  # fmt: skip
def test_no_task_source(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_task_source(url)
    assert "secret" not in str(raised.value)


def test_patterns_of_queues() -> None:
    assert allows(["a", "service-*"], "service-")
    assert not allows(["a", "service-*"], "xservice-1")
    assert not allows([], "a")
    assert allows(["*"], "a/b.c d")


@given(st.sampled_from(["amqp", "amqps", "nats", "redis", "rediss"]), st.text())
def test_any_path_is_a_queue_or_is_refused(scheme: str, path: str) -> None:
    try:
        queue = queue_of(f"{scheme}://mq/{path}")
    except QueueNameError:
        return
    except ValueError:
        return  # It is no URL, which the store refuses.
    assert queue.name
