"""``understudy up``."""

from __future__ import annotations

import dataclasses
import errno
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from understudy_actors.processes import ProcessSpec
    from understudy_actors.processes.topology import Topology

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def up(
    file: Annotated[
        Path, typer.Argument(metavar="TOPOLOGY", help="The TOML file.", show_default=True)
    ] = Path("topology.toml"),
) -> int:
    """Start broker, nodes and programs from one file.

    Processes that die are started again; one that keeps dying ends all, with its last lines. When
    every group has its nodes one line says "up: ...". Ctrl-C stops in order: programs, nodes, the
    broker; twice kills.

    \b
    Examples:
      understudy up
      understudy up examples/async_rpc/topology.toml

    \b
    A topology.toml:
      [broker]
      listen = "tcp://127.0.0.1:5577"
      store = "sqlite:///calls.db"

    \b
      [[group]]
      name = "orders"
      app = "shop.orders:runtime"
      nodes = 2

    \b
      [[process]]
      name = "gateway"
      command = ["python", "-m", "shop.gateway"]
    """
    from understudy.cli.client import Client
    from understudy.cli.errors import UsageError
    from understudy.cli.process_pools import (
        BROKER_START_S,
        Say,
        run_pool,
        start_all,
        wait_for_broker,
        wait_for_nodes,
    )
    from understudy_actors.processes import Pool
    from understudy_actors.processes.topology import load_topology, processes

    if not file.exists():
        raise UsageError(
            f"there is no {file} in {Path.cwd()}: name the file (understudy up FILE), or write "
            "one; understudy up --help shows an example"
        )
    topology = load_topology(file)
    if topology.broker is not None:
        check_free(topology.broker.listen)
    specs = [for_people(spec) if sys.stdout.isatty() else spec for spec in processes(topology)]
    brokers = [spec for spec in specs if topology.broker is not None and spec.name == "broker"]
    others = specs[len(brokers) :]
    wanted = {group.name: group.nodes for group in topology.groups}

    async def body(pool: Pool, say: Say) -> None:
        await start_all(pool, brokers)
        # what is to be forked is imported while the broker starts
        await pool.prepare(others)
        if brokers or wanted:
            await wait_for_broker(client)
        await start_all(pool, others)
        if wanted:
            await wait_for_nodes(pool, client, wanted, say)
        say(f"up: {summary(topology, client.url)}")

    advice = None
    if topology.broker is None:
        advice = f"start one with: understudy broker; or give {file} a [broker]"
    with Client(topology.url, BROKER_START_S, advice) as client:
        return run_pool("up", [spec.name for spec in specs], body)


def check_free(listen: str) -> None:
    """Raise `CliError` if another program listens there.

    Our broker would fail, and be started again and again, while our nodes joined that other one.
    """
    from understudy.cli.errors import CliError

    host, _, port = listen.removeprefix("tcp://").rpartition(":")
    if not listen.startswith("tcp://") or port == "0":
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if host == "*" else host, int(port)))
        except OSError as error:
            # whatever else is wrong with the address, the broker says it better
            if error.errno == errno.EADDRINUSE:
                raise CliError(
                    f"the address {listen} is in use: another broker, or another program, listens "
                    "there. Stop it, or choose another address"
                ) from None


def for_people(spec: ProcessSpec) -> ProcessSpec:
    """The same, with a log to be read: behind a pipe, a broker would write for programs."""
    return dataclasses.replace(spec, env={"UNDERSTUDY_BROKER__LOG_FORMAT": "console", **spec.env})


def summary(topology: Topology, url: str) -> str:
    """``broker at tcp://…, service-a 2 nodes, gateway``."""
    from understudy.cli.process_pools import count

    parts = [f"broker at {url}"] if topology.broker is not None else []
    parts += [f"{group.name} {count(group.nodes, 'node')}" for group in topology.groups]
    parts += [process.name for process in topology.processes]
    return ", ".join(parts)
