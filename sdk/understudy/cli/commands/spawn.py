"""``understudy spawn``: run several nodes of a group."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from understudy.cli.log_options import LogFormat, LogLevel, follow
from understudy.cli.options import App, JoinGroup, Url
from understudy_actors.processes.topology import NODES_MAX

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def spawn(
    runtime: App,
    group: JoinGroup = None,
    nodes: Annotated[
        int, typer.Option(metavar="N", min=1, max=NODES_MAX, help="The number of nodes.")
    ] = 1,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="The most functions that run at a time in each node. [default: the Runtime's own]",
        ),
    ] = None,
    url: Url = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where the first node shows metrics and health, as HOST:PORT or PORT; each "
            "further one does at the next port. [default: nowhere]",
        ),
    ] = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> int:
    """Run several nodes of a group, and restart them when they die.

    Each is an `understudy node` process. Every line that it writes is printed after its name. If a
    node keeps dying, all are stopped and its last lines are shown. Ctrl-C stops the nodes cleanly,
    a second Ctrl-C kills them.

    \b
    Examples:
      understudy spawn app:runtime --group orders --nodes 4
      understudy spawn app:runtime --group orders --nodes 4 --metrics 9101
      understudy spawn shop.orders --group orders --url tcp://10.0.0.5:5577

    \b
    Exit codes:
      1         a node keeps dying
      2         wrong usage
      4         no broker answers at the start
      129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM
    """
    from understudy.cli.client import Client
    from understudy.cli.process_pools import Say, count, run_pool, start_all, wait_for_nodes
    from understudy_actors.processes import Pool, ProcessSpec
    from understudy_actors.processes.topology import metrics_args
    from understudy_broker.monitoring.address import parse_place
    from understudy_broker.output import protect_output
    from understudy_store.addresses import check_name

    protect_output()
    follow(log_format, log_level)
    if group is None:
        from understudy.cli.runtime_loader import load_runtime

        group = load_runtime(runtime).group
    check_name(group, "--group")
    argv = [sys.executable, "-m", "understudy", "node", runtime, "--group", group]
    if url is not None:
        argv += ["--url", url]
    if concurrency is not None:
        argv += ["--concurrency", str(concurrency)]
    place = None if metrics is None else parse_place(metrics)
    specs = [
        ProcessSpec(
            name=f"{group}/{number}",
            argv=argv,
            own_args=metrics_args(place, number),
            forks=True,
            watches_lifeline=True,
        )
        for number in range(1, nodes + 1)
    ]

    async def body(pool: Pool, say: Say) -> None:
        await start_all(pool, specs)
        await wait_for_nodes(pool, client, {group: nodes}, say)
        say(f"up: {group} {count(nodes, 'node')}, at {client.url}")

    with Client(url) as client:
        client.connect()
        return run_pool("spawn", [spec.name for spec in specs], body)
