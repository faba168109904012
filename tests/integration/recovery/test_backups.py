"""A backup that is taken under load, restored: each call acknowledged before is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.cli.programs import Forked
from tests.support import eventually, free_url
from understudy import Runtime
from understudy.bench.deployment import free_port
from understudy.cli import main
from understudy_broker.server.embedded import EmbeddedBroker

if TYPE_CHECKING:
    from tests.cluster import Cluster

#: calls that are acknowledged before the backup begins
BEFORE = 200


@contextmanager
def load(url: str) -> Iterator[list[str]]:
    """Make calls, one after the other, while the block runs; give those that are acknowledged."""
    acknowledged: list[str] = []
    over = threading.Event()

    def make() -> None:
        with Runtime("tests", url=url) as runtime:
            calls = runtime.options(target="nobody")
            while not over.is_set():
                id = f"call-{len(acknowledged)}"
                calls.rpc(id, "order", len(acknowledged))
                acknowledged.append(id)

    thread = threading.Thread(target=make)
    thread.start()
    try:
        eventually(lambda: len(acknowledged) >= BEFORE, 30)
        yield acknowledged
    finally:
        over.set()
        thread.join()


def check_restored(url: str, acknowledged: list[str]) -> None:
    with Runtime("tests", url=url) as runtime:
        for number, id in enumerate(acknowledged):
            assert runtime.promises.get(id).arguments() == ((number,), {})
        # It is a store as any other: calls are made, and nodes get what waits.
        runtime.options(target="nobody").rpc("later", "order", 0)


def test_a_copy_of_a_sqlite_store_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    url, metrics = free_url(), f"127.0.0.1:{free_port()}"
    store, copy = tmp_path / "calls.db", tmp_path / "copy.db"
    command = ("broker", "--store", f"sqlite:///{store}", "--listen", url)
    with Forked(*command, "--metrics", metrics, cwd=tmp_path) as broker:
        broker.wait_for("listening on")
        with load(url) as acknowledged:
            before = [*acknowledged]
            assert main(["backup", str(store), str(copy), "--http", metrics]) == 0
            went_on = len(acknowledged)
        assert len(acknowledged) >= went_on >= BEFORE
        broker.process.kill()
        broker.process.wait()
    for beside in tmp_path.glob("calls.db?*"):
        beside.unlink()
    copy.replace(store)
    # Its journal is gone, which has to be said.
    with Forked(*command, cwd=tmp_path) as broker:
        assert broker.process.wait(20) == 1
        assert "--accept-lost-journal" in broker.output
    with Forked(*command, "--accept-lost-journal", cwd=tmp_path) as broker:
        broker.wait_for("listening on")
        check_restored(url, before)


def test_a_dump_of_a_database_has_all_that_was_acknowledged(
    postgres: Cluster,
) -> None:
    url, dump = postgres.new_schema(), postgres.folder / "calls.sql"
    base, _, schema = url.partition("?schema=")
    database = postgres.url_of(postgres.new_database())
    with EmbeddedBroker(url) as broker, load(broker.endpoint) as acknowledged:
        before = [*acknowledged]
        postgres.run("pg_dump", f"--schema={schema}", f"--dbname={base}", f"--file={dump}")
    postgres.run("psql", "--quiet", f"--dbname={database}", f"--file={dump}")
    with EmbeddedBroker(f"{database}?schema={schema}") as broker:
        check_restored(broker.endpoint, before)
