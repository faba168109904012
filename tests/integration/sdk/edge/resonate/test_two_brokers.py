"""Listeners where two brokers share the work: members of both, with call graphs over both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.sdk.brokers import Two
from tests.integration.sdk.edge.resonate.client import Client, Stream, now
from tests.integration.sdk.edge.resonate.world import start_edge, url_of
from understudy_broker.protocol.placement import owners
from understudy_store.slots import slot_of


@contextmanager
def edge_of(two: Two, folder: Path) -> Iterator[tuple[str, Client]]:
    urls = f"{two.url('a')},{two.url('b')}"
    with start_edge(urls, folder) as edge:
        url = url_of(edge)
        with Client(url) as client:
            yield url, client


def callback(awaited: str, awaiter: str) -> dict[str, Any]:
    return {"kind": "promise.register_callback", "data": {"awaited": awaited, "awaiter": awaiter}}


def test_offers_and_unblocks_of_both(two: Two, tmp_path: Path) -> None:
    ids = {*two.ids("a", 3), *two.ids("b", 3)}
    with edge_of(two, tmp_path) as (url, client), Stream(url, "g", "w") as stream:
        for id_ in ids:
            client.create(id_, "poll://any@g")
        offered = [stream.execute() for _ in ids]
        assert {task["id"] for task in offered} == ids
        for task in offered:
            client.acquire(task)
        held = [{"id": id_, "version": 1} for id_ in ids]
        client.ok("task.heartbeat", pid="p", tasks=held)
        for id_ in ids:
            client.ok("promise.register_listener", awaited=id_, address="poll://uni@g/w")
            client.fulfill(id_, 1)
        assert {stream.unblock()["id"] for _ in ids} == ids
        found = client.ok("promise.search", tags={"resonate:target": "poll://any@g"}, limit=4)
        rest = client.ok("promise.search", limit=4, cursor=found["cursor"])
        pages = [each["id"] for each in found["promises"] + rest["promises"]]
        assert pages == sorted(ids)


def test_a_call_graph_over_both(two: Two, tmp_path: Path) -> None:
    """Ids of the newer dialect, ``root:1``, live apart from their root."""
    names = owners(two.slots)
    roots = [
        root
        for root in two.ids("a", 50, "root")
        if names[slot_of(f"{root}:1")] == "b" and names[slot_of(f"{root}:2")] == "a"
    ]
    root = roots[0]
    with edge_of(two, tmp_path) as (url, client), Stream(url, "g", "w") as stream:
        client.create(root, "poll://any@g")
        client.acquire(stream.execute())
        for n in (1, 2):
            tags = {"resonate:target": "poll://any@g", "resonate:parent": root}
            child = {"id": f"{root}:{n}", "timeoutAt": now() + 60_000, "tags": tags}
            action = {"kind": "promise.create", "data": child}
            found = client.ok("task.fence", id=root, version=1, action=action)
            assert found["action"]["data"]["promise"]["tags"] == tags
        children = [stream.execute() for _ in range(2)]
        assert {each["id"] for each in children} == {f"{root}:1", f"{root}:2"}
        actions = [callback(f"{root}:{n}", root) for n in (1, 2)]
        assert client.ok("task.suspend", id=root, version=1, actions=actions) == {}
        for each in children:
            client.acquire(each)
        client.fulfill(f"{root}:1", 1)
        assert stream.execute() == {"id": root, "version": 1}
        client.acquire({"id": root, "version": 1})
        client.fulfill(f"{root}:2", 1)
        client.fulfill(root, 2)


def test_a_broker_that_comes_back_finds_the_listener(two: Two, tmp_path: Path) -> None:
    (at_a,) = two.ids("a", 1)
    with edge_of(two, tmp_path) as (url, client), Stream(url, "g", "w") as stream:
        client.create(two.ids("b", 1)[0], "poll://any@g")
        stream.execute()
        two.running["a"].stop()
        two.start("a")
        client.create(at_a, "poll://any@g")
        assert stream.execute()["id"] == at_a
