"""A broker, a node of group `g` and a client without functions, for the tests that name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sdk.brokers import Two
from tests.support import free_url
from understudy import Runtime
from understudy_broker.protocol.placement import shared_out
from understudy_broker.server.embedded import EmbeddedBroker


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker("memory", "tcp://127.0.0.1:0") as broker:
        yield broker


@pytest.fixture
def runtime(broker: EmbeddedBroker) -> Iterator[Runtime]:
    """A node of group `g`."""
    with Runtime("g", url=broker.endpoint) as runtime:
        yield runtime


@pytest.fixture
def client(broker: EmbeddedBroker) -> Iterator[Runtime]:
    """A caller that has no functions registered."""
    runtime = Runtime("clients", url=broker.endpoint)
    yield runtime.options(target="g")
    runtime.stop()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    slots = shared_out([("a", free_url()), ("b", free_url())])
    two = Two(slots, tmp_path, {})
    for name in "ab":
        two.start(name)
    yield two
    for broker in two.running.values():
        broker.stop()
