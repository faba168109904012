"""``understudy up``: run everything that a topology file names."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.errors import CliError, UsageError
from understudy.cli.log_options import LogFormat, LogLevel, follow
from understudy.cli.printing import err
from understudy.edge.address import parse_listen, place
from understudy_broker.log_format import FILE_VARIABLE, chosen_format

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from understudy_actors.processes import ProcessSpec
    from understudy_actors.processes.topology import Topology

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def up(
    file: Annotated[
        Path, typer.Argument(metavar="TOPOLOGY", help="The topology file.", show_default=True)
    ] = Path("topology.toml"),
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Run no dashboard.")] = False,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> int:
    """Run brokers, nodes and programs from one file.

    Processes that die are restarted. If one keeps dying, all are stopped and its last lines are
    shown. When every group has its nodes, a line says "up: ...". Ctrl-C stops programs, nodes and
    broker in this order, a second Ctrl-C kills them.

    \b
    Examples:
      understudy up
      understudy up examples/async_rpc/topology.toml

    \b
    A topology file:
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

    With the extra [http], an edge beside the broker speaks HTTP (see: understudy edge --help); http
    = "HOST:PORT" in [broker] says where, http = "off" that there is none.

    With the extra [ui], a dashboard runs as well (see: understudy ui --help), at 127.0.0.1:8080 or
    where UNDERSTUDY_UI__LISTEN says; --no-ui runs none. For its logs the processes write to a file
    beside the first broker's store, STORE.log, or to a temporary one if the store is no file.

    Several brokers, each written [[broker]] with a name and its own listen, share the work.

    \b
    Exit codes:
      1         a broker's address is in use, no broker answers, or a process keeps dying
      2         wrong usage, or the file is wrong
      129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM
    """
    from understudy.cli.client import Client
    from understudy.cli.log_keeper import log_file_beside
    from understudy.cli.process_pools import (
        BROKER_START_S,
        Say,
        run_pool,
        start_all,
        wait_for_all_brokers,
        wait_for_broker,
        wait_for_nodes,
    )
    from understudy.cli.store_files import file_of
    from understudy_actors.processes import Pool
    from understudy_actors.processes.topology import load_topology, processes
    from understudy_broker.output import protect_output

    protect_output()
    follow(log_format, log_level)
    if not file.exists():
        raise UsageError(
            f"there is no {file} in {Path.cwd()}: name the file (understudy up FILE), or write "
            "one like the example in understudy up --help"
        )
    topology = load_topology(file)
    for broker in topology.brokers:
        check_address_is_free(broker.listen)
    is_for_people = sys.stdout.isatty() and chosen_format() is None
    specs = [with_readable_log(spec) if is_for_people else spec for spec in processes(topology)]
    brokers, others = specs[: len(topology.brokers)], specs[len(topology.brokers) :]
    # One edge serves all brokers, so none of them keeps its own.
    brokers = [dataclasses.replace(spec, argv=[*spec.argv, "--no-http"]) for spec in brokers]
    http = http_of(topology) if brokers else None
    if http is not None:
        others.append(edge_spec(http, topology, {spec.name for spec in specs}))
    ui = ui_of(topology) if brokers and not no_ui else None
    wanted = {group.name: group.nodes for group in topology.groups}

    async def body(pool: Pool, say: Say) -> None:
        await start_all(pool, brokers)
        # Apps whose nodes are forked are imported while the broker starts.
        await pool.prepare(others)
        if brokers or wanted:
            await wait_for_broker(client)
        if len(brokers) > 1:
            await wait_for_all_brokers(client)
        await start_all(pool, others)
        if wanted:
            await wait_for_nodes(pool, client, wanted, say)
        page = "" if ui is None else f", dashboard at http://{ui}"
        say(f"up: {summary(topology, client.url, http)}{page}")

    advice = None
    if not topology.brokers:
        advice = f"; or add a [broker] table to {file}"
    with Client(topology.url, BROKER_START_S, advice) as client, ExitStack() as stack:
        if ui is not None:
            store = store_of(topology, brokers)
            in_file = None if store is None else file_of(store, Path.cwd())
            log_file = stack.enter_context(log_file_beside(in_file))
            # All processes follow it.
            os.environ[FILE_VARIABLE] = str(log_file)
            names = {spec.name for spec in (*brokers, *others)}
            others.append(ui_spec(ui, topology, names, log_file, store))
        return run_pool("up", [spec.name for spec in (*brokers, *others)], body)


def http_of(topology: Topology) -> str | None:
    """Return where the edge of a topology listens; None: it has none.

    As for a broker by itself, that is a setting of it, by default of the environment.

    Raises
    ------
    CliError, ConfigurationError
        An edge was asked for, and cannot run.
    """
    from understudy.cli.edge_keeper import OFF, check_installed, check_options, missing

    given = [broker.settings["http"] for broker in topology.brokers if "http" in broker.settings]
    http = given[0] if given else os.environ.get("UNDERSTUDY_BROKER__HTTP")
    if http == OFF:
        return None
    if http:
        host, port = parse_listen(http)
        check_installed()
        check_address_is_free(f"tcp://{place(host, port)}")
        check_options(topology.edge_file, http)
        return http
    if missing():
        return None
    listen = check_options(topology.edge_file).listen
    try:
        check_address_is_free(f"tcp://{listen}")
    except CliError:
        err(
            f"understudy up: no HTTP, because {listen} is in use. Choose another address: "
            'http = "HOST:PORT" in [broker]',
        )
        return None
    return listen


def ui_of(topology: Topology) -> str | None:
    """Return where the dashboard of a topology listens; None: it has none."""
    from understudy.cli.edge_keeper import OFF
    from understudy.cli.ui_keeper import ui_listen

    listen = ui_listen()
    # A broker with keys asks each peer for its own, and there is none here for the dashboard.
    if listen == OFF or any("keys" in broker.settings for broker in topology.brokers):
        return None
    try:
        check_address_is_free(f"tcp://{listen}")
    except CliError:
        err(
            f"understudy up: no dashboard, because {listen} is in use. Choose another address: "
            "UNDERSTUDY_UI__LISTEN"
        )
        return None
    return listen


def store_of(topology: Topology, specs: Sequence[ProcessSpec]) -> str | None:
    """Return the first broker's store, a file with its whole path; None if that is not known.

    Parameters
    ----------
    specs
        The processes of the brokers.
    """
    from understudy.cli.store_files import file_of
    from understudy_broker.server.settings import DEFAULT_FILE, ENV_PREFIX

    broker, folder = topology.brokers[0], Path(specs[0].cwd or Path.cwd())
    set_for_all = os.environ.get(f"{ENV_PREFIX}STORE")
    if broker.name is not None:
        store = set_for_all or broker.settings["store"]
    elif broker.store is None and set_for_all is None and (folder / DEFAULT_FILE).exists():
        return None  # The broker reads that file as well.
    else:
        store = broker.store or set_for_all or "understudy.db"
    file = file_of(store, folder)
    return store if file is None else str(file)


def ui_spec(
    listen: str, topology: Topology, names: Collection[str], log_file: Path, store: str | None
) -> ProcessSpec:
    """Return the dashboard, a process that is stopped before the nodes.

    Parameters
    ----------
    names
        Of the other processes.
    log_file
        Where it finds the log lines of calls.
    store
        The first broker's, which is that of queries if it is the only one.
    """
    from understudy.cli.ui_keeper import QUERY_ENV, ui_command
    from understudy_actors.processes import ProcessSpec
    from understudy_actors.processes.topology import PROCESS_STAGE
    from understudy_broker.deployment import is_database

    is_readable = store not in (None, "memory") and (
        len(topology.brokers) == 1 or is_database(store)
    )
    env = {QUERY_ENV: str(store)} if is_readable and QUERY_ENV not in os.environ else {}
    return ProcessSpec(
        name="ui" if "ui" not in names else "understudy-ui",
        argv=ui_command(listen, str(topology.url), log_file),
        env=env,
        stage=PROCESS_STAGE,
        watches_lifeline=True,
    )


def edge_spec(http: str, topology: Topology, names: Collection[str]) -> ProcessSpec:
    """Return the edge, a process that is stopped before the nodes.

    Parameters
    ----------
    names
        Of the other processes.
    """
    from understudy.cli.edge_keeper import edge_command
    from understudy_actors.processes import ProcessSpec
    from understudy_actors.processes.topology import PROCESS_STAGE

    return ProcessSpec(
        name="edge" if "edge" not in names else "understudy-edge",
        argv=edge_command(http, str(topology.url), topology.edge_file),
        stage=PROCESS_STAGE,
        watches_lifeline=True,
    )


def check_address_is_free(listen: str) -> None:
    """Raise `CliError` if another program listens at the address.

    Otherwise our broker would fail again and again, while our nodes joined the other broker.
    """
    from understudy_broker.transport.host_names import UnknownHostError, numeric_addresses

    if not listen.startswith("tcp://") or listen.endswith(":0"):
        return
    try:
        # The broker itself reports every fault of an address but this one.
        host, _, port = numeric_addresses(listen)[0].removeprefix("tcp://").rpartition(":")
    except UnknownHostError:
        return
    bare = "" if host == "*" else host.strip("[]")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bare, int(port)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CliError(
                    f"the address {listen} is in use by another broker or program. Stop it, or "
                    "choose another address"
                ) from None


def with_readable_log(spec: ProcessSpec) -> ProcessSpec:
    """Return the process with a log for people; behind a pipe a broker would log for programs."""
    return dataclasses.replace(spec, env={"UNDERSTUDY_BROKER__LOG_FORMAT": "console", **spec.env})


def summary(topology: Topology, url: str, http: str | None = None) -> str:
    """Describe a topology: ``broker at tcp://…, service-a 2 nodes, gateway``."""
    from understudy.cli.process_pools import count

    names = [broker.name for broker in topology.brokers if broker.name is not None]
    parts = [f"broker at {url}"] if topology.brokers else []
    if names:
        parts = [f"{'broker' if len(names) == 1 else 'brokers'} {', '.join(names)} at {url}"]
    parts += [f"{group.name} {count(group.nodes, 'node')}" for group in topology.groups]
    parts += [process.name for process in topology.processes]
    if http is not None:
        parts.append(f"HTTP at http://{http}")
    return ", ".join(parts)
