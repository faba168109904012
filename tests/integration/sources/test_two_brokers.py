"""A source that feeds two brokers, which share the slots, while one of them is away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.sdk.brokers import Two
from tests.integration.sdk.conftest import two as two  # the fixture
from tests.support import eventually
from tests.unit.sdk.sources.fakes import KIND, FakeQueue, message
from understudy import Runtime
from understudy.options import Options
from understudy.queues.window import Window
from understudy.sources.commands import Commands
from understudy.sources.feed import Feed
from understudy.sources.process import BrokerStore
from understudy.sources.report import Report
from understudy.sources.template import IdTemplate
from understudy.sources.translator import Translator

COUNT = 6000


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue([[message(n, b"[%d]" % n, id=str(n)) for n in range(COUNT)]])


@pytest.fixture
def feed(two: Two, queue: FakeQueue) -> Iterator[Callable[[], bool]]:
    """Run a feed on a thread of its own; return whether it runs yet."""
    runtime = Runtime("sources", url=f"{two.url('a')},{two.url('b')}", connect_timeout=3600)
    connection = runtime.session.connection
    connection.wait_connected(20)
    options = Options().merge(target="shop")
    commands = Commands(runtime.session.env, "double", options, {"source": "list:t"})
    translator = Translator(IdTemplate("call-{message_id}", KIND), commands.call)

    def ignore(*_: Any) -> None:
        return None

    report = Report(ignore, ignore, ignore)
    window = Window(100, 1 << 20)
    store = BrokerStore(connection)
    feed = Feed(queue, translator, commands, store, window, report, place="list:t")
    stop = threading.Event()
    thread = threading.Thread(target=feed.run, args=(stop.is_set,))
    thread.start()
    yield thread.is_alive
    stop.set()
    thread.join(20)
    runtime.stop()


def test_calls_go_to_both_brokers_and_wait_for_the_one_that_is_away(
    two: Two, queue: FakeQueue, feed: Callable[[], bool]
) -> None:
    eventually(lambda: queue.acknowledged[0] > 20)
    two.running["b"].stop()
    assert not queue.done
    # The window fills with calls of the broker that is away; nothing behind them is lost.
    eventually(lambda: queue.limits[-1] == 0)
    assert feed()
    assert not queue.done
    two.start("b")
    eventually(lambda: queue.done, 30.0)
    with Runtime("test", url=two.url("a")) as client:
        found = [
            promise.id for promise in client.promises.search(tags={"source": "list:t"}, limit=1000)
        ]
    assert sorted(found) == sorted(f"call-{number}" for number in range(COUNT))
    assert set(two.ids("b", 20)) <= set(found)
