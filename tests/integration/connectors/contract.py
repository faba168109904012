"""The contract of every connector and task source, checked with a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.programs import run_forked
from tests.integration.connectors.world import PATIENCE_S, Queue, World, offer
from tests.support import eventually
from understudy import Handles

_POISON = [
    b"hello", b"\xff\xfe", b"[]", b"{}", b'{"kind": "execute", "data": {}}',
    b'{"kind": "unblock", "head": {}, "data": {}}', b"{" * 5_000, b"x" * 100_000,
    offer("nobody-has-made-it"), offer("a\nb"), offer("", 0), offer("a", -1),
]  # fmt: skip


class ConnectorContract:
    """Tests that hold for each kind of queue. A subclass has the fixture `queue`."""

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

    def test_a_call_goes_through_the_queue(self, world: World, queue: Queue) -> None:
        world.start_connector()
        call = world.calls.rpc("a", "outer", 1)
        eventually(lambda: queue.waiting() == 1, PATIENCE_S)
        shown = run_forked("tree", "a", "--url", world.url, cwd=world.folder).stdout
        assert f"waits in {queue.target}" in shown, shown
        queue.publish(_POISON)
        node = world.start_node()
        assert call.result(timeout=PATIENCE_S) == 3
        node.wait_for(f"takes tasks from {queue.target} and serves baz")
        eventually(lambda: queue.waiting() == 0, PATIENCE_S)
        assert "offer no task, which are dropped" in node.output
        queue.publish([offer("a"), offer("a.0", 0), *_POISON])
        assert world.calls.rpc("b", "baz", 7).result(timeout=PATIENCE_S) == 8
        eventually(lambda: queue.waiting() == 0, PATIENCE_S)
        assert sorted(world.performed) == [1, 2, 7]
        assert node.output.count("offer no task") == 1
        assert node.stop() == 143

    def test_everything_dies(self, world: World, queue: Queue) -> None:
        """Each call ends exactly once, whatever is killed in the middle."""
        # A server that is killed may lose what it has confirmed: that is offered again.
        connectors = [world.start_connector("--again", "5") for _ in range(2)]
        nodes = [world.start_node() for _ in range(2)]
        for each in (*connectors, *nodes):
            each.wait_for("broker at" if each in connectors else "takes tasks from")
        count = 800

        def begin(name: str, enough: int) -> Handles[int]:
            """Make calls, and return once some of them have ended."""
            handles = world.calls.map(name, "baz", range(count))
            eventually(lambda: sum(each.done() for each in handles) >= enough, PATIENCE_S)
            return handles

        def end(handles: Handles[int]) -> None:
            results = [each.result(timeout=PATIENCE_S) for each in handles]
            assert results == list(range(1, count + 1))

        handles = begin("a", 100)
        world.kill(connectors[0])
        eventually(lambda: sum(each.done() for each in handles) >= 250, PATIENCE_S)
        queue.kill()
        queue.start()
        end(handles)
        # Messages that came twice were not performed twice.
        assert sorted(world.performed) == list(range(count))
        handles = begin("b", 100)
        world.kill(nodes[0])
        end(handles)
        assert set(world.performed[count:]) == set(range(count))
        eventually(lambda: queue.waiting() == 0, PATIENCE_S)
        assert connectors[1].stop() == 0

    def test_a_queue_that_is_not_allowed_is_refused(self, world: World, queue: Queue) -> None:
        connector = world.start_connector()
        connector.wait_for("a broker answers")
        world.runtime.options(target=queue.target + "-other").rpc("a", "baz", 1)
        world.broker.wait_for("a delivery has failed")
        assert f"allows no queue '{queue.name}-other'" in world.broker.output
        assert queue.waiting() == 0
