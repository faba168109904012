"""A broker, an edge, and a node of ours, each as a process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.integration.cli.programs import Forked
from tests.support import free_url

#: the functions of the group `ours`
OURS = """
import time
from pathlib import Path

from understudy import Context, Never, Runtime

runtime = Runtime(group="ours")

@runtime.register
def double(ctx: Context, n: int) -> int:
    return 2 * n

@runtime.register
def echo(ctx: Context, value):
    return value

@runtime.register
def hold(ctx: Context, value, until: str):
    while not Path(until).exists():
        time.sleep(0.02)
    return value

@runtime.register
def greet(ctx: Context, who: str) -> str:
    return f"hello {who}"

@runtime.register(retry=Never())
def boom(ctx: Context, why: str):
    raise RuntimeError(f"the well is {why}")

@runtime.register
def calls_theirs(ctx: Context, n: int):
    a = yield ctx.rfc("add", n, 1).options(target="theirs")
    return (yield ctx.rfc("double", a))

@runtime.register(retry=Never())
def sees_theirs_fail(ctx: Context):
    try:
        yield ctx.rfc("fails").options(target="theirs")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


class World(NamedTuple):
    """Where everything is."""

    broker: str
    url: str
    #: of the older event streams
    poll_port: int | None = None


def start_edge(broker: str, folder: Path, *args: str, listen: str = "127.0.0.1:0") -> Forked:
    """Start an edge; see `url_of`."""
    return Forked("edge", "--listen", listen, "--url", broker, *args, cwd=folder)


def url_of(edge: Forked) -> str:
    """Wait until an edge listens, and return its address."""
    edge.wait_for("understudy edge: http")
    if "--legacy" in edge.args:
        edge.wait_for("for older event streams")
    found = re.search(r"understudy edge: (http://\S+)", edge.output)
    assert found is not None
    return found[1]


@contextmanager
def broker_and_edge(folder: Path, *edge_args: str) -> Iterator[World]:
    """Start a broker with a store in memory, and an edge."""
    where = free_url()
    with (
        Forked("broker", "--listen", where, "--store", "memory", cwd=folder) as broker,
        start_edge(where, folder, *edge_args) as edge,
    ):
        broker.wait_for("listening on")
        url = url_of(edge)
        poll = re.search(r":(\d+) for older event streams", edge.output)
        yield World(where, url, None if poll is None else int(poll[1]))


@contextmanager
def our_node(folder: Path, broker: str) -> Iterator[Forked]:
    """Start a node of the group `ours`."""
    (folder / "ours.py").write_text(OURS)
    with Forked("node", "ours:runtime", "--id", "ours-1", "--url", broker, cwd=folder) as node:
        node.wait_for("node ours-1 of group ours serves")
        yield node
