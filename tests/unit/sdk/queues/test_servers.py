"""URLs of servers that are none: no part of a password is in what is said of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from understudy.errors import ConfigurationError
from understudy.queues.kafka import KafkaTopic
from understudy.queues.nats import NatsStream
from understudy.queues.rabbitmq import RabbitQueue
from understudy.queues.redis import RedisStream
from understudy.queues.sqs import SqsQueue

MADE: dict[str, Callable[[str], object]] = {
    "nats": lambda url: NatsStream(url, "orders", "group"),
    "amqp": lambda url: RabbitQueue(url, "orders", 1),
    "redis": lambda url: RedisStream(url, "orders", "group", "me"),
    "https": lambda url: SqsQueue(url, "orders", region="eu-west-1"),
    "kafka": lambda url: KafkaTopic(url, "orders", "group"),
}


@pytest.mark.parametrize("scheme", MADE)
@pytest.mark.parametrize(
    "rest",
    [
        "me:secret/secret@127.0.0.1",
        "me:5/secret@127.0.0.1",
        "me:secret?secret@127.0.0.1",
        "me:secret#secret@127.0.0.1",
        "me:secret@host:70000",
        "[secret:secret@host",
    ],
)
def test_a_password_that_is_not_quoted(scheme: str, rest: str) -> None:
    with pytest.raises(ConfigurationError, match="--server") as raised:
        MADE[scheme](f"{scheme}://{rest}")
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_the_password_is_in_no_place() -> None:
    for scheme in ("nats", "amqp", "redis"):
        made = MADE[scheme](f"{scheme}://me:secret@host:7")
        assert getattr(made, "place").endswith(" at host:7")  # noqa: B009
