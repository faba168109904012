"""An idle node sends fewer heartbeats than one that holds a task."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import eventually
from understudy import Context, Runtime
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker

#: a heartbeat every 0.2 s, and every 0.6 s from idle nodes
CONFIG = BrokerConfig(lease_ttl_ms=8_000, beat_ms=200)

_release = threading.Event()


def wait(ctx: Context) -> str:
    _release.wait(20)
    return "released"


@contextmanager
def closing(runtime: Runtime) -> Iterator[Runtime]:
    try:
        yield runtime
    finally:
        runtime.stop()


@pytest.fixture
def url() -> Iterator[str]:
    with EmbeddedBroker("memory", config=CONFIG) as broker:
        yield broker.endpoint


def silent_s(observer: Runtime) -> float:
    (node,) = (node for group in observer.groups().groups for node in group.nodes)
    return node.silent_s


def share_of_long_silence(observer: Runtime) -> float:
    """Return the share of moments at which the last heartbeat was over 1.5 intervals ago."""
    seen: list[bool] = []
    until = time.monotonic() + 1.8
    while time.monotonic() < until:
        seen.append(silent_s(observer) > 0.3)
        time.sleep(0.01)
    return sum(seen) / len(seen)


def test_a_node_sends_fewer_heartbeats_while_it_holds_nothing(url: str) -> None:
    _release.clear()
    node = Runtime(group="workers", url=url)
    node.register(wait)
    with node, closing(Runtime(group="observers", url=url)) as observer:
        eventually(lambda: any(group.nodes for group in observer.groups().groups))
        assert share_of_long_silence(observer) > 0.3
        handle = observer.options(target="workers").rpc("busy", "wait")
        eventually(lambda: any(n.held for g in observer.groups().groups for n in g.nodes))
        assert share_of_long_silence(observer) < 0.2
        _release.set()
        assert handle.result(10) == "released"
