"""``understudy node``."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from understudy.runtime import Runtime

app = typer.Typer(rich_markup_mode=None, add_completion=False)

LEVELS: Final = ("debug", "info", "warning", "error")
#: a node waits for its broker for as long as it takes
_FOREVER_S: Final = 3600.0 * 24 * 365


@app.command()
def node(
    runtime: Annotated[
        str,
        typer.Argument(
            metavar="APP", help="module:runtime; the module alone if it has one Runtime."
        ),
    ],
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The group to join, instead of the Runtime's own."),
    ] = None,
    id: Annotated[
        str | None, typer.Option(metavar="NAME", help="Unique among all nodes; else a fresh one.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Functions that may run at a time.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the broker is; else what the Runtime says, UNDERSTUDY_URL, the default.",
        ),
    ] = None,
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = "info",
) -> int:
    """Be a node: perform calls with the functions of an app.

    The module is searched in the working directory first. The first SIGTERM or SIGINT drains: what
    runs is finished or handed back, then the exit code is 143 or 130. The second ends it at once.

    \b
    Examples:
      understudy node app:runtime
      understudy node shop.orders:runtime --group orders --id orders-1
      UNDERSTUDY_URL=tcp://10.0.0.5:5577 understudy node app
    """
    from understudy.cli.errors import UsageError
    from understudy.cli.runtime_loader import load_runtime
    from understudy.client.address import broker_address
    from understudy_actors.processes.fork_server import fork_point

    if log_level not in LEVELS:
        raise UsageError(f"--log-level {log_level!r}: it is one of {', '.join(LEVELS)}")
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    loaded = load_runtime(runtime)
    if own_args := fork_point("understudy.client.connection"):
        _, id = own_args
    if url is None and loaded.is_embedded:
        url = broker_address(None)  # a node serves others: a broker of its own would be of no use
    loaded.configure(group=group, id=id, url=url, concurrency=concurrency)
    if not loaded.functions:
        print(
            f"understudy: {runtime} has no registered function: every call will be refused. "
            "Decorate some with @runtime.register",
            file=sys.stderr,
        )
    threading.Thread(target=_announce, args=(loaded,), daemon=True).start()
    number = loaded.serve()
    return 128 + number if number else 0


def _announce(runtime: Runtime) -> None:
    """Say what is served and where, once there is a broker; until then, that there is none."""
    from understudy.errors import UnderstudyError

    connection = runtime.session.connection
    try:
        # before the connection is made: it is then a node's from the start
        connection.serve()
        connection.wait_connected(_FOREVER_S)
    except UnderstudyError:
        return  # `serve` raises it, on the main thread
    names = sorted({function.name for function in runtime.functions})
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    print(
        f"node {runtime.id} of group {runtime.group} serves {shown or 'nothing'} at {runtime.url}",
        flush=True,
    )
