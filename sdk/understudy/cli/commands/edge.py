"""``understudy edge``: run an edge, HTTP in front of the brokers."""

from __future__ import annotations

import logging
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from understudy.cli.options import Url
from understudy.edge.address import DEFAULT_LISTEN

#: modules of the extra [grpc]
_GRPC: Final = ("grpc", "grpc_health", "grpc_reflection")

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


Push = Annotated[
    str,
    typer.Option(
        metavar="HOST[:PORT],...",
        help="Push tasks and settlements to targets at these hosts, http:// and https://. "
        "*.HOST means all names below HOST; private:HOST a host of your own network.",
    ),
]


PushKeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file with the key that pushes are signed with. [default: UNDERSTUDY_PUSH_KEY]",
    ),
]


PushUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The address of the edge that receivers of a push are told. [default: where it "
        "listens]",
    ),
]


Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Resonate protocol: also refuse what only the newest of its own servers refuses.",
    ),
]


Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Resonate protocol, for test suites only: without a broker, everything in memory, "
        "with the debug operations.",
    ),
]

Hooks = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="UNDERSTUDY_HOOKS",
        show_envvar=False,
        help="Webhooks to take, a TOML file with a table [[hook]] for each. "
        "[default: UNDERSTUDY_HOOKS, else none]",
    ),
]


Legacy = Annotated[
    bool,
    typer.Option(
        "--legacy",
        help="Also serve the older REST of Resonate's first servers, for its SDKs 0.5 and 0.6.",
    ),
]


LegacyPoll = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT",
        help="With --legacy: where to listen for its event streams, /GROUP/ID.",
    ),
]


@app.command()
def edge(
    listen: Listen = DEFAULT_LISTEN,
    url: Url = None,
    grpc: Grpc = None,
    push: Push = "",
    push_key_file: PushKeyFile = None,
    push_url: PushUrl = None,
    hooks: Hooks = None,
    strict: Strict = False,
    debug: Debug = False,
    legacy: Legacy = False,
    legacy_poll: LegacyPoll = "127.0.0.1:8002",
) -> int:
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
      understudy edge --push '*.run.app' --push-key-file push.key --push-url https://edge.example

    \b
    Exit codes:
      0  stopped in order
      1  it could not listen, or a broker has refused it
      2  wrong usage
    """
    from understudy.cli.edge_keeper import check_installed
    from understudy.client.address import broker_address
    from understudy.edge.address import parse_listen
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.output import protect_output

    host, port = parse_listen(listen)
    grpc_place = None if grpc is None else parse_listen(grpc.removeprefix("grpc://"))
    check_installed()
    if grpc_place is not None:
        _check_grpc_installed()
    from understudy.edge.hooks import parse_hooks
    from understudy.edge.process import run_edge
    from understudy.edge.push.settings import push_settings
    from understudy.edge.settings import EdgeSettings

    protect_output()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    pushes = push_settings(push, push_key_file, push_url)
    taken = () if hooks is None else parse_hooks(_read_hooks(hooks), os.environ)
    settings = EdgeSettings(
        broker_address(url),
        host,
        port,
        grpc=grpc_place,
        hooks=taken,
        push=pushes,
        strict=strict,
        debug=debug,
        legacy_poll=parse_listen(legacy_poll) if legacy and not debug else None,
    )
    return run_edge(settings, lambda stop: watch_lifeline(stop, on_stop=stop))


def _read_hooks(file: Path) -> dict[str, Any]:
    """Read a file of webhooks."""
    from understudy.cli.errors import UsageError

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--hooks {file}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--hooks {file} is no TOML: {error}") from None


def _check_grpc_installed() -> None:
    from understudy import extras
    from understudy.cli.errors import CliError

    if name := extras.missing(*_GRPC):
        raise CliError(extras.advice("gRPC", name, "grpc"))
