"""Event streams: offers and unblocks reach listeners, whatever ends and starts in between."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.integration.cli.programs import Forked
from tests.integration.sdk.edge.resonate.client import Client, Stream
from tests.integration.sdk.edge.resonate.world import World, broker_and_edge, start_edge, url_of
from tests.support import free_url


def test_an_offer(world: World, client: Client) -> None:
    with Stream(world.url, "g1", "w1") as stream:
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        client.create("offer", "poll://any@g1")
        message = stream.next()
        assert message == {
            "kind": "execute", "head": {"serverUrl": world.url},
            "data": {"task": {"id": "offer", "version": 0}},
        }  # fmt: skip
        client.acquire(message["data"]["task"])
        client.fulfill("offer", 1)


def test_an_offer_waits_for_a_listener_and_goes_on_to_another(world: World, client: Client) -> None:
    client.create("waits", "poll://any@g2/preferred")
    with Stream(world.url, "g2", "first") as stream:
        assert stream.execute() == {"id": "waits", "version": 0}
    # the first one is gone and has acquired nothing
    with Stream(world.url, "g2", "second") as stream:
        assert stream.execute() == {"id": "waits", "version": 0}
        client.acquire({"id": "waits", "version": 0}, ttl=300)
        # the lease lapses
        assert stream.execute() == {"id": "waits", "version": 1}


def test_a_resumed_task_is_offered(world: World, client: Client) -> None:
    with Stream(world.url, "g3", "w") as stream:
        client.create("parent", "poll://uni@g3/w")
        client.acquire(stream.execute())
        client.create("child")
        action = {
            "kind": "promise.register_callback", "data": {"awaited": "child", "awaiter": "parent"},
        }  # fmt: skip
        client.ok("task.suspend", id="parent", version=1, actions=[action])
        client.settle("child")
        assert stream.execute() == {"id": "parent", "version": 1}


def test_an_unblock(world: World, client: Client) -> None:
    client.create("told", "nobody")
    client.create("told later", "nobody")
    for id_ in ("told", "told later"):
        client.ok("promise.register_listener", awaited=id_, address="poll://uni@g4/w")
    client.settle("told later", value={"data": "x"})
    with Stream(world.url, "g4", "w") as stream:
        late = stream.unblock()
        assert late == client.ok("promise.get", id="told later")["promise"]
        client.settle("told")
        assert stream.unblock()["id"] == "told"
    # registered again, it is answered with the settlement
    found = client.ok("promise.register_listener", awaited="told", address="poll://uni@g4/w")
    assert found["promise"]["state"] == "resolved"


def test_two_streams_of_one_name(world: World, client: Client) -> None:
    with Stream(world.url, "g5", "w") as first, Stream(world.url, "g5", "w") as second:
        client.create("one", "poll://any@g5")
        assert first.execute()["id"] == "one"
        first.close()
        client.acquire({"id": "one", "version": 0})
        client.create("two", "poll://any@g5")
        assert second.execute()["id"] == "two"


@pytest.mark.parametrize("path", ["/poll/g", "/poll/g/", "/poll/g/a/b", "/poll/g%20/a", "/poll//a"])
def test_a_path_that_is_none(client: Client, path: str) -> None:
    assert client.get(path)[0] == 400


def test_names_may_be_quoted(world: World, client: Client) -> None:
    with Stream(world.url, "g6", "a%3Ab") as stream:
        client.create("quoted", "poll://uni@g6/a:b")
        assert stream.execute()["id"] == "quoted"


def test_a_killed_edge_loses_nothing(tmp_path: Path) -> None:
    with broker_and_edge(tmp_path) as world, Client(world.url) as client:
        with (
            start_edge(world.broker, tmp_path) as doomed,
            Stream(url_of(doomed), "g", "w") as stream,
        ):
            client.create("offered", "poll://any@g")
            client.create("awaited")
            client.ok("promise.register_listener", awaited="awaited", address="poll://uni@g/w")
            assert stream.execute()["id"] == "offered"
            doomed.stop(signal.SIGKILL)
        client.settle("awaited")
        with Stream(world.url, "g", "w") as stream:
            assert {stream.next()["kind"] for _ in range(2)} == {"execute", "unblock"}


def test_a_restarted_broker_finds_listeners_and_leases(tmp_path: Path) -> None:
    where = free_url()
    broker_args = ("broker", "--listen", where, "--store", "store.db")
    with (
        start_edge(where, tmp_path) as edge,
        Forked(*broker_args, cwd=tmp_path) as broker,
        Client(url_of(edge)) as client,
        Stream(url_of(edge), "g", "w") as stream,
    ):
        client.create("held", "poll://any@g")
        client.acquire(stream.execute())
        client.create("awaited")
        client.ok("promise.register_listener", awaited="awaited", address="poll://uni@g/w")
        broker.stop(signal.SIGKILL)
        with Forked(*broker_args, cwd=tmp_path):
            client.settle("awaited")
            assert stream.unblock()["id"] == "awaited"
            client.create("more", "poll://any@g")
            assert stream.execute()["id"] == "more"
            client.ok("task.heartbeat", pid="p", tasks=[{"id": "held", "version": 1}])
            client.fulfill("held", 1)


def test_streams_end_with_the_edge(tmp_path: Path, world: World) -> None:
    with start_edge(world.broker, tmp_path) as edge, Stream(url_of(edge), "g7", "w") as stream:
        edge.process.send_signal(signal.SIGTERM)
        assert stream.ends()
        assert edge.wait_for_exit() == 0
