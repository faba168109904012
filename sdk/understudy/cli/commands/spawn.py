"""``understudy spawn``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from understudy.cli.options import Url

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def spawn(
    runtime: Annotated[str, typer.Argument(metavar="APP", help="module:runtime, as for node.")],
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The group to join, instead of the Runtime's own."),
    ] = None,
    nodes: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="How many processes.")
    ] = 1,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Functions at a time, in each node.")
    ] = None,
    url: Url = None,
) -> int:
    """Start several nodes of a group, and keep them up.

    Each is an `understudy node` process; every line that it writes is printed with its name. One
    that keeps dying ends all, with its last lines. Ctrl-C drains them, twice kills them.

    \b
    Examples:
      understudy spawn app:runtime --group orders --nodes 4
      understudy spawn shop.orders --group orders --url tcp://10.0.0.5:5577
    """
    from understudy.cli.client import Client
    from understudy.cli.process_pools import Say, count, run_pool, start_all, wait_for_nodes
    from understudy_actors.processes import Pool, ProcessSpec
    from understudy_store.addresses import check_name

    if group is None:
        from understudy.cli.runtime_loader import load_runtime

        group = load_runtime(runtime).group
    check_name(group, "--group")
    argv = [sys.executable, "-m", "understudy", "node", runtime, "--group", group]
    if url is not None:
        argv += ["--url", url]
    if concurrency is not None:
        argv += ["--concurrency", str(concurrency)]
    specs = [
        ProcessSpec(name=f"{group}/{number}", argv=argv, forks=True, watches_lifeline=True)
        for number in range(1, nodes + 1)
    ]

    async def body(pool: Pool, say: Say) -> None:
        await start_all(pool, specs)
        await wait_for_nodes(pool, client, {group: nodes}, say)
        say(f"up: {group} {count(nodes, 'node')}, at {client.url}")

    with Client(url) as client:
        client.connect()
        return run_pool("spawn", [spec.name for spec in specs], body)
