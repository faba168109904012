"""A broker over PostgreSQL is killed; another one, at another address, goes on with its calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support import eventually, free_url
from understudy import Context, Runtime

if TYPE_CHECKING:
    from tests.cluster import Cluster


@contextmanager
def broker(listen: str, store: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "understudy", "broker", "--listen", listen, "--store", store]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_nodes_with_both_addresses_find_the_broker_that_took_over(postgres: Cluster) -> None:
    store, first, second = postgres.new_schema(), free_url(), free_url()
    runtime = Runtime("shop", url=f"{first},{second}", connect_timeout=30)

    @runtime.register
    def order(ctx: Context) -> Generator[Any, Any, Any]:
        approval = yield ctx.promise(id=f"{ctx.id}.approval")
        return (yield approval)

    with broker(first, store) as killed, runtime:
        handle = runtime.rpc("order-1", order)
        eventually(lambda: runtime.promises.search(prefix="order-1.approval"))
        killed.kill()
        killed.wait()
        with broker(second, store):
            runtime.promises.resolve("order-1.approval", "yes")
            assert handle.result(timeout=30) == "yes"
            runtime.stop()
