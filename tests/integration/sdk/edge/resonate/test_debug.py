"""``understudy edge --debug``: a store of its own, a clock that is set, and no broker."""

from __future__ import annotations

from pathlib import Path

from tests.integration.cli.programs import Forked
from tests.integration.sdk.edge.resonate.client import Client, Stream, now
from tests.integration.sdk.edge.resonate.world import url_of


def test_a_store_of_its_own(tmp_path: Path) -> None:
    with (
        Forked("edge", "--debug", "--listen", "127.0.0.1:0", cwd=tmp_path) as edge,
        Client(url_of(edge)) as client,
        Stream(url_of(edge), "g", "w") as stream,
    ):
        assert client.get("/ready") == (200, b"")
        client.create("a", "poll://any@g")
        assert stream.execute() == {"id": "a", "version": 0}
        client.create("b")
        client.ok("promise.register_listener", awaited="b", address="poll://uni@g/w")
        client.settle("b")
        assert stream.unblock()["id"] == "b"
        client.ok("debug.start")
        client.ok("debug.reset")
        assert client.ok("promise.search")["promises"] == []
        later = now() + 3_600_000
        client.ok("promise.create", id="c", timeoutAt=later)
        client.create("d", "poll://any@g")
        assert client.ok("debug.tick", time=later) == []
        snap = client.ok("debug.snap")
        states = {each["id"]: each["state"] for each in snap["promises"]}
        assert states["c"] == "rejected_timedout"
        client.ok("debug.stop")
        client.create("e", "poll://any@g")
        assert stream.execute()["id"] in ("d", "e")
