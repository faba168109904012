"""Calls from streams of Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import pytest
import redis

from tests.integration.sources.contract import SourceContract
from tests.integration.sources.world import World, orders
from tests.services.fixture import running
from tests.services.redis import RedisServer
from tests.support import eventually
from understudy import PurgedError
from understudy.cli.client import Client
from understudy_store.commands import PromisePurge

_names = count(1)


class RedisQueue:
    """A stream of Redis; see `world.Queue`."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.name = f"orders.{next(_names)}"
        # A dead source's entries are taken over soon.
        self.command = ["redis", "--stream", self.name, "--claim", "2s"]
        self.env = {"UNDERSTUDY_SOURCE_SERVER": server.url}
        self.place = f"redis:{self.name}"
        self.kill, self.start = server.kill, server.start

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self._server.url, protocol=2)

    def publish(self, bodies: Sequence[bytes]) -> None:
        with self.client() as client, client.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.xadd(self.name, {"body": body, "tenant": "acme"})
            pipeline.execute()

    def waiting(self) -> int:
        with self.client() as client:
            length = int(client.xlen(self.name))
            groups = client.xinfo_groups(self.name)
            if not groups:
                return length
            [group] = groups
            return int(group["lag"] or 0) + int(group["pending"])


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(RedisServer) as server:
        yield server


@pytest.fixture
def queue(server: RedisServer) -> RedisQueue:
    return RedisQueue(server)


class TestRedis(SourceContract):
    """Calls from Redis, with kills in the middle."""

    def test_ids_are_made_of_the_entries(self, world: World, queue: RedisQueue) -> None:
        queue.publish(orders(0, 3))
        world.start_source("--header", "tenant")
        self.check_all(world, 3)
        with queue.client() as client:
            entries = [entry.decode() for entry, _ in client.xrange(queue.name)]
        name = queue.name.replace(".", ":")
        assert world.calls() == [f"{name}-{entry}" for entry in entries]
        assert len(list(world.runtime.promises.search(tags={"tenant": "acme"}))) == 3

    def test_a_consumer_with_a_name_goes_on_with_its_entries(
        self, world: World, queue: RedisQueue
    ) -> None:
        """They are not waited for until they may be taken over."""
        queue.publish(orders(0, 500))
        with queue.client() as client:
            client.xgroup_create(queue.name, "understudy", id="0")
            client.xreadgroup("understudy", "ann", {queue.name: ">"}, count=400)
            [first] = client.xrange(queue.name, count=1)
            client.xdel(queue.name, first[0])  # pending, and not to be read any more
        world.start_source("--consumer", "ann", "--claim", "1h")
        world.wait_performed(499)
        eventually(lambda: queue.waiting() == 0)

    def test_a_consumer_leaves_the_group_if_it_has_nothing(
        self, world: World, queue: RedisQueue
    ) -> None:
        queue.publish(orders(0, 3))
        world.start_source()
        self.check_all(world, 3)
        with queue.client() as client:
            assert client.xinfo_consumers(queue.name, "understudy") == []

    def test_a_message_that_comes_after_its_call_was_purged_is_done_already(
        self, world: World, queue: RedisQueue
    ) -> None:
        queue.publish(orders(0, 3))
        source = world.start_source()
        world.wait_performed(3)
        eventually(lambda: queue.waiting() == 0)
        ids = world.calls()
        with Client(world.url) as client:
            purged = client.command(PromisePurge(2**50)).purged or ()
        assert sorted(each.id for each in purged) == sorted(ids)
        # The group begins anew with the oldest entry; its order was performed long ago.
        with queue.client() as client:
            client.xgroup_destroy(queue.name, "understudy")
        source.wait_for("is back")
        queue.publish(orders(3, 2))
        world.wait_performed(5)
        self.wait_empty(world, 2)
        assert sorted(world.performed) == list(range(5))
        assert world.failures() == {}
        for id_ in ids:
            with pytest.raises(PurgedError, match="as resolved"):
                world.runtime.promises.get(id_)

    def test_an_entry_without_the_field_is_recorded(self, world: World, queue: RedisQueue) -> None:
        queue.publish(orders(0, 2))
        world.start_source("--field", "payload")
        self.wait_empty(world, 2)
        assert all("It is empty" in text for text in world.failures().values())

    def test_a_group_that_was_destroyed_is_made_again(
        self, world: World, queue: RedisQueue
    ) -> None:
        queue.publish(orders(0, 3))
        source = world.start_source()
        world.wait_performed(3)
        with queue.client() as client:
            client.xgroup_destroy(queue.name, "understudy")
        source.wait_for("is back")
        queue.publish(orders(3, 3))
        self.check_all(world, 6)
        # The group begins anew with the oldest entry, whose call is there.
        assert sorted(world.performed) == list(range(6))
