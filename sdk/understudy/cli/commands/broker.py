"""``understudy broker``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def broker(
    listen: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where to listen; else tcp://127.0.0.1:5577."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where promises are kept; else sqlite:///understudy.db, here."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML with a [broker] table; else understudy.toml."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="auto, console (for people) or json (for programs)."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; may be repeated."),
    ] = None,
) -> int:
    """Route calls between nodes, and keep their promises.

    The first SIGTERM or SIGINT stops it in order, the second at once. Nothing is lost either way,
    nor by a crash: nodes come back by themselves, and go on.

    \b
    Examples:
      understudy broker
      understudy broker --store memory --listen tcp://127.0.0.1:6000
      understudy broker --config production.toml --set lease_ttl_s=5

    Settings come from the file, over it the environment (UNDERSTUDY_BROKER__STORE and so on), over
    that these flags. There is no authentication: let only trusted machines reach it.
    """
    from understudy.cli.options import pairs
    from understudy_actors.processes.fork_server import fork_point
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.server.daemon import run_broker
    from understudy_broker.server.settings import load_settings

    flags: dict[str, object] = {
        "listen": listen,
        "store": store,
        "log_level": log_level,
        "log_format": log_format,
    }
    loaded = load_settings(config, {**pairs(settings, "--set"), **_given(flags)})
    fork_point("understudy_store.engines.sqlite.engine")
    watch_lifeline(lambda: os.kill(os.getpid(), signal.SIGTERM))
    return run_broker(loaded)


def _given(flags: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in flags.items() if value is not None}
