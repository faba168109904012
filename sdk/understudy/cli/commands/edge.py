"""``understudy edge``: run an edge, HTTP in front of the brokers."""

from __future__ import annotations

import logging
from typing import Annotated, Final

import typer

from understudy.cli.options import Url

#: modules that an edge imports, to the extras that install them
_EXTRAS: Final = {
    "starlette": "http",
    "hypercorn": "http",
    "grpc": "http,grpc",
    "google": "http,grpc",
    "google.protobuf": "http,grpc",
    "grpc_health": "http,grpc",
    "grpc_reflection": "http,grpc",
}

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Listen = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="Where to listen. Port 0: the system chooses one."),
]


Grpc = Annotated[
    str | None,
    typer.Option(
        "--grpc",
        metavar="HOST:PORT",
        help="Where to listen for gRPC as well, for instance 127.0.0.1:8003.",
    ),
]


@app.command()
def edge(listen: Listen = "127.0.0.1:8001", grpc: Grpc = None, url: Url = None) -> int:
    """Run an edge: HTTP in front of the brokers.

    An edge keeps nothing, so any number of them may run, behind a load balancer or not, and any of
    them may be killed. Needs the extra [http], and [grpc] for gRPC.

    The first SIGTERM, SIGINT or SIGHUP lets requests under way finish for 5 s; the second SIGTERM
    or SIGINT stops it at once. There is no authentication: let only trusted machines reach it.

    \b
    Examples:
      understudy edge
      understudy edge --grpc 127.0.0.1:8003
      understudy edge --listen 0.0.0.0:8001 --url tcp://10.0.0.5:5577,tcp://10.0.0.6:5577

    \b
    Exit codes:
      0  stopped in order
      1  it could not listen, or a broker has refused it
      2  wrong usage
    """
    from understudy.cli.errors import CliError
    from understudy.client.address import broker_address
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.output import protect_output

    try:
        from understudy.edge.process import run_edge
        from understudy.edge.settings import EdgeSettings, parse_listen

        if grpc is not None:
            import understudy.edge.grpc.server  # noqa: F401
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise CliError(
            f"an edge needs {error.name}, which is not installed: pip install 'understudy[{extra}]'"
        ) from None

    protect_output()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    host, port = parse_listen(listen)
    settings = EdgeSettings(
        broker_address(url),
        host,
        port,
        grpc=None if grpc is None else parse_listen(grpc.removeprefix("grpc://")),
    )
    return run_edge(settings, lambda stop: watch_lifeline(stop, on_stop=stop))
