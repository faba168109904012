"""``understudy edge``: run an edge, HTTP in front of the brokers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.log_options import LogFormat, LogLevel, follow
from understudy.cli.options import Url
from understudy.edge.address import DEFAULT_LISTEN

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Listen = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help=f"Where to listen. Port 0: the system chooses one. [default: {DEFAULT_LISTEN}]",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A TOML file with a table [edge]. [default: understudy.toml, if it exists]",
    ),
]
Grpc = Annotated[
    str | None,
    typer.Option(
        "--grpc",
        metavar="HOST:PORT",
        help="Where to listen for gRPC as well, for instance 127.0.0.1:8003.",
    ),
]


Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where to show metrics and health, as HOST:PORT or PORT. [default: nowhere]",
    ),
]


Names = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="Names by which clients reach it, besides addresses and localhost, as through a proxy "
        "on this machine; * for any. Without, requests for other names are refused where it "
        "listens to this machine alone.",
    ),
]


Push = Annotated[
    str | None,
    typer.Option(
        metavar="HOST[:PORT],...",
        help="Push tasks and settlements to targets at these hosts: http://, https://, and with "
        "the extra [grpc] grpc:// and grpcs://. "
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


PushTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="How long the receiver of a push may take to answer. [default: 20]",
    ),
]


PushMax = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Pushes under way at a time for each broker; at most half of them to one host. "
        "[default: 64]",
    ),
]


Strict = Annotated[
    bool | None,
    typer.Option(
        "--strict",
        help="Resonate protocol: also refuse what only the newest of its own servers refuses.",
    ),
]


Debug = Annotated[
    bool | None,
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


Tokens = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Serve only requests with a token that this file takes (understudy tokens --help).",
    ),
]


TlsCert = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The certificate for TLS, PEM, with those between it and the root behind it.",
    ),
]


TlsKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The secret key of the certificate, PEM, without password."),
]


BehindProxy = Annotated[
    bool | None,
    typer.Option(
        "--behind-proxy",
        help="TLS ends at a proxy in front, and only that can reach this edge.",
    ),
]


Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure",
        help="Listen where other machines can connect, also without tokens and in clear.",
    ),
]


Legacy = Annotated[
    bool | None,
    typer.Option(
        "--legacy",
        help="Also serve the older REST of Resonate's first servers, for its SDKs 0.5 and 0.6.",
    ),
]


LegacyPoll = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="With --legacy: where to listen for its event streams, /GROUP/ID. "
        "[default: 127.0.0.1:8002]",
    ),
]


@app.command()
def edge(
    listen: Listen = None,
    url: Url = None,
    names: Names = None,
    grpc: Grpc = None,
    metrics: Metrics = None,
    push: Push = None,
    push_key_file: PushKeyFile = None,
    push_url: PushUrl = None,
    push_timeout: PushTimeout = None,
    push_max: PushMax = None,
    hooks: Hooks = None,
    tokens: Tokens = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    behind_proxy: BehindProxy = None,
    insecure: Insecure = None,
    strict: Strict = None,
    debug: Debug = None,
    legacy: Legacy = None,
    legacy_poll: LegacyPoll = None,
    config: ConfigFile = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> int:
    """Run an edge: HTTP in front of the brokers.

    An edge keeps nothing, so any number of them may run, behind a load balancer or not, and any of
    them may be killed. Needs the extra [http], and [grpc] for gRPC.

    The first SIGTERM, SIGINT or SIGHUP lets requests under way finish for 5 s; the second SIGTERM
    or SIGINT stops it at once.

    Without --tokens there is no authentication. Where other machines can reach it, it starts only
    with tokens and TLS, unless you say otherwise.

    Flags override environment variables (UNDERSTUDY_EDGE__PUSH_URL and so on), which override the
    table [edge] of the file, which has the same names. The edge that a broker keeps running beside
    it has its options from there.

    \b
    Examples:
      understudy edge
      understudy edge --grpc 127.0.0.1:8003
      understudy edge --url tcp://10.0.0.5:5577,tcp://10.0.0.6:5577
      understudy edge --listen 0.0.0.0:8001 --tokens tokens.toml --tls-cert e.pem --tls-key e.key
      understudy edge --push '*.run.app' --push-key-file push.key --push-url https://edge.example

    \b
    Exit codes:
      0  stopped in order
      1  it could not listen, or a broker has refused it
      2  wrong usage
    """
    from understudy import logs
    from understudy.cli.edge_keeper import check_installed
    from understudy.edge.options import load_options
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.output import protect_output

    flags: dict[str, object] = {
        "listen": listen,
        "url": url,
        "names": names,
        "grpc": grpc,
        "metrics": metrics,
        "push": push,
        "push_key_file": push_key_file,
        "push_url": push_url,
        "push_timeout": push_timeout,
        "push_max": push_max,
        "hooks": hooks,
        "tokens": tokens,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "behind_proxy": behind_proxy,
        "insecure": insecure,
        "strict": strict,
        "debug": debug,
        "legacy": legacy,
        "legacy_poll": legacy_poll,
    }
    follow(log_format, log_level)
    options = load_options(config, flags)
    check_installed()
    from understudy.cli.edge_settings import settings_of
    from understudy.edge.process import run_edge

    protect_output()
    logs.configure()
    return run_edge(settings_of(options), lambda stop: watch_lifeline(stop, on_stop=stop))
