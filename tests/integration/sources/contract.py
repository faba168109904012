"""The contract of every source, checked with a real server: one file of tests inherits it for each.

The figures are chosen so that a kill comes in the middle: thousands of messages wait, of which
some hundreds were performed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.sources.world import PATIENCE_S, Queue, World, orders
from tests.support import eventually

#: orders that are performed before something is killed
SOME = 150


class SourceContract:
    """Tests that hold for each kind of queue. A subclass has the fixture `queue`."""

    #: messages where something is killed in the middle; fewer where the server itself is slow
    many = 3000

    @pytest.fixture
    def world(
        self, tmp_path: Path, queue: Queue, has_failed: Callable[[], bool]
    ) -> Iterator[World]:
        world = World(tmp_path, queue)
        try:
            yield world
        finally:
            if has_failed():
                print(world.report())
            world.close()

    def wait_empty(self, world: World, filed: int) -> None:
        """Return once all is acknowledged: then nothing comes back when the sources have ended.

        Parameters
        ----------
        filed
            The calls and records that there will be.
        """
        eventually(lambda: len(world.calls()) + len(world.failures()) == filed, PATIENCE_S)
        eventually(lambda: world.queue.waiting() == 0, PATIENCE_S)
        world.stop_sources()
        eventually(lambda: world.queue.waiting() == 0, PATIENCE_S)

    def check_all(self, world: World, count: int) -> None:
        """Check that each of so many orders is one call, and was acknowledged."""
        world.wait_performed(count)
        self.wait_empty(world, count)
        assert sorted(set(world.performed)) == list(range(count))
        assert len(world.calls()) == count
        assert world.failures() == {}

    def test_messages_become_calls_and_poison_is_recorded(self, world: World) -> None:
        world.queue.publish([*orders(0, 20), b"nonsense", *orders(20, 20), b'"text"', b""])
        world.start_source()
        world.wait_performed(40)
        self.wait_empty(world, 43)
        assert sorted(world.performed) == list(range(40))
        failures = world.failures()
        assert len(failures) == 3
        text = next(text for text in failures.values() if "nonsense" in text)
        assert "is no JSON" in text
        assert "has 8 bytes and is b'nonsense'" in text
        assert len(world.calls()) == 40

    def test_a_killed_source_is_succeeded_by_another(self, world: World) -> None:
        world.queue.publish(orders(0, self.many))
        first = world.start_source("--in-flight", "500")
        world.wait_performed(SOME)
        world.kill(first)
        second = world.start_source("--in-flight", "500")
        world.wait_performed(len(set(world.performed)) + SOME)
        world.kill(second)
        world.start_source()
        self.check_all(world, self.many)

    def test_two_sources_share_a_queue_and_one_dies(self, world: World) -> None:
        first = world.start_source()
        world.start_source()
        world.queue.publish(orders(0, self.many // 2))
        world.wait_performed(SOME)
        world.kill(first)
        world.queue.publish(orders(self.many // 2, self.many // 2))
        self.check_all(world, self.many)

    def test_a_killed_broker_is_waited_for(self, world: World) -> None:
        world.queue.publish(orders(0, self.many))
        source = world.start_source("--in-flight", "500")
        world.wait_performed(SOME)
        world.kill(world.broker)
        source.wait_for("no broker answers")
        world.start_broker()
        self.check_all(world, self.many)

    def test_a_source_may_start_before_its_broker(self, world: World) -> None:
        world.kill(world.broker)
        world.queue.publish(orders(0, 10))
        source = world.start_source()
        source.wait_for("no broker answers")
        assert world.queue.waiting() == 10
        world.start_broker()
        self.check_all(world, 10)

    def test_a_killed_queue_is_waited_for(self, world: World) -> None:
        world.queue.publish(orders(0, self.many))
        source = world.start_source("--in-flight", "500")
        world.wait_performed(SOME)
        world.queue.kill()
        try:
            source.wait_for("is away")
        finally:
            world.queue.start()
        source.wait_for("is back")
        self.check_all(world, self.many)

    def test_a_stop_acknowledges_what_is_stored_and_nothing_else(self, world: World) -> None:
        world.queue.publish(orders(0, self.many))
        source = world.start_source("--in-flight", "200")
        world.wait_performed(SOME)
        assert source.stop(signal.SIGTERM) == 0
        assert "stopped: " in source.output
        eventually(lambda: world.queue.waiting() + len(world.calls()) == self.many, PATIENCE_S)
        world.start_source()
        self.check_all(world, self.many)
