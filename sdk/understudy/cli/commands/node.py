"""``understudy node``: run a node."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli.log_options import LogFormat, LogLevel, follow
from understudy.cli.options import App, JoinGroup
from understudy.cli.printing import err, out
from understudy_broker.address import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from understudy.runtime import Runtime

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_LOG: Final = logging.getLogger("understudy")
#: a year: a node waits for its broker until somebody stops it
_FOREVER_S: Final = 3600.0 * 24 * 365
#: function names in the line that announces the node
_NAMES_MAX: Final = 8


NodeName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The node's name, unique among all nodes. [default: a new one]"
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="The most functions that run at a time. [default: the Runtime's own]",
    ),
]
NodeUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Address of the broker. [default: the Runtime's own, else UNDERSTUDY_URL, else "
        f"{DEFAULT_ADDRESS}]",
    ),
]
NodeMetrics = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where to show metrics and health, as HOST:PORT or PORT. [default: nowhere]",
    ),
]


@app.command()
def node(
    runtime: App,
    group: JoinGroup = None,
    id: NodeName = None,
    concurrency: Concurrency = None,
    url: NodeUrl = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    metrics: NodeMetrics = None,
) -> int:
    """Run a node: perform calls with the functions of an app.

    The module is looked up in the working directory first. The first SIGTERM, SIGINT or SIGHUP
    stops the node cleanly: running functions finish, or are handed back after 10 s. The second
    SIGTERM or SIGINT stops it at once. Without a broker the node waits until one answers.

    UNDERSTUDY_BUILD names the build of the program, such as a commit: understudy groups and the
    dashboard show it.

    A node takes the calls of its group. If its Runtime has a task_source, or UNDERSTUDY_TASK_SOURCE
    is the URL of a queue (amqp://, nats:// or redis://), it takes what a connector puts there
    instead: see understudy connector --help.

    \b
    Examples:
      understudy node app:runtime
      understudy node shop.orders:runtime --group orders --id orders-1 --metrics 9100
      UNDERSTUDY_URL=tcp://10.0.0.5:5577 understudy node app
      UNDERSTUDY_TASK_SOURCE=amqp://me:secret@mq.internal/orders understudy node app

    \b
    Exit codes:
      1         another node has this id
      2         wrong usage, or the app cannot be imported
      129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM
    """
    from understudy import logs
    from understudy.cli.runtime_loader import load_runtime
    from understudy.client.address import broker_address
    from understudy_actors.processes.fork_server import fork_point, output_encoding, watch_import
    from understudy_broker.output import protect_output

    protect_output(output_encoding())
    follow(log_format, log_level)
    is_json = logs.configure()
    watch = watch_import()
    loaded = load_runtime(runtime)
    if own_args := fork_point("understudy.client.connection", watch=watch):
        own = dict(zip(own_args[::2], own_args[1::2], strict=True))
        id, metrics = own.get("--id", id), own.get("--metrics", metrics)
    if url is None and loaded.session.embedded is not None:
        # A node serves others, who could not reach the broker inside a Runtime.local().
        url = broker_address(None)
    loaded.configure(group=group, id=id, url=url, concurrency=concurrency, metrics=metrics)
    if not loaded.functions:
        text = (
            f"{runtime} has no registered function, so every call will be refused. Decorate "
            "functions with @runtime.register"
        )
        if is_json:
            _LOG.warning(text)
        else:
            err(f"understudy: {text}")
    threading.Thread(target=_announce, args=(loaded, is_json), daemon=True).start()
    number = loaded.serve()
    return 128 + number if number else 0


def _announce(runtime: Runtime, is_json: bool) -> None:
    """Print what the node serves and where, once a broker answers; until then, that none does."""
    from understudy.client.connection import Connection
    from understudy.errors import UnderstudyError

    connection = runtime.session.connection
    assert isinstance(connection, Connection)
    try:
        # A connection before that would be a client's, and ask for work before all is ready.
        connection.serves.wait()
        connection.wait_connected(_FOREVER_S)
    except UnderstudyError:
        return  # `serve` raises it too, on the main thread
    names = sorted({function.name for function in runtime.functions})
    shown = ", ".join(names[:_NAMES_MAX])
    if len(names) > _NAMES_MAX:
        shown += f" and {len(names) - _NAMES_MAX} more"
    source = runtime.task_source
    place = f"of group {runtime.group}" if source is None else f"takes tasks from {source} and"
    text = f"node {runtime.id} {place} serves {shown or 'nothing'} at {runtime.url}"
    if is_json:
        _LOG.info(text)
    else:
        out(text, flush=True)
