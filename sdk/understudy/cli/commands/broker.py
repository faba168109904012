"""``understudy broker``: run a broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from understudy.edge.address import DEFAULT_LISTEN
from understudy_broker.address import DEFAULT_ADDRESS
from understudy_broker.monitoring.address import DEFAULT_ADDRESS as DEFAULT_METRICS

app = typer.Typer(rich_markup_mode=None, add_completion=False)


Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The name among several brokers: over one PostgreSQL any that no other has, "
        "otherwise that of a [[broker]] table of the file.",
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help=f"The address to listen at. [default: UNDERSTUDY_URL, else {DEFAULT_ADDRESS}]",
    ),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where to keep promises, tasks and schedules: memory, a path, sqlite:///PATH, "
        "or postgresql://USER@HOST/DATABASE. "
        "[default: sqlite:///understudy.db]",
    ),
]
AcceptLostJournal = Annotated[
    bool | None,
    typer.Option(
        "--accept-lost-journal",
        help="Open a store whose journal is missing or cut short. Its lost commits stay lost.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A TOML file with a [broker] table, or with several [[broker]] tables, and with an "
        "[edge] table for the edge beside it. "
        "[default: understudy.toml, if it exists]",
    ),
]
Http = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help=f"Where an edge listens for HTTP, a process beside the broker. "
        f"[default: {DEFAULT_LISTEN}, with the extra \\[http]]",
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where to show metrics and health, as HOST:PORT or PORT; none: nowhere. "
        f"[default: {DEFAULT_METRICS}, if it is free]",
    ),
]
Keys = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The folder that understudy keys init has made: only peers with keys of its "
        "rights.toml may connect, and all traffic is encrypted. [default: no keys]",
    ),
]
Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure",
        help="Listen without keys where other machines can connect, for whom all is permitted.",
    ),
]
AllowRoot = Annotated[
    bool | None,
    typer.Option(
        "--allow-root", help="Run as root although other machines can connect, as in a container."
    ),
]
Audit = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where to note who was let in or refused, and who changed what from outside "
        "(see: understudy audit --help). [default: nowhere]",
    ),
]
NoHttp = Annotated[bool, typer.Option("--no-http", help="Run no edge.")]
LogLevel = Annotated[
    str | None,
    typer.Option(
        metavar="LEVEL",
        help="One of debug, info, warning and error. [default: UNDERSTUDY_LOG_LEVEL, else info]",
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="text (for people), json (for programs) or auto (text on a terminal). [default: "
        "UNDERSTUDY_LOG_FORMAT, else auto]",
    ),
]
AcceptClock = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="The date today, as 2026-11-29: confirms the machine's clock where the broker doubts "
        "it because it is far from the latest time in the store.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting. May be repeated."),
]


@app.command()
def broker(
    name: Name = None,
    listen: Listen = None,
    store: StoreUrl = None,
    keys: Keys = None,
    insecure: Insecure = None,
    allow_root: AllowRoot = None,
    audit: Audit = None,
    http: Http = None,
    no_http: NoHttp = False,
    metrics: Metrics = None,
    accept_lost_journal: AcceptLostJournal = None,
    config: ConfigFile = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    accept_clock: AcceptClock = None,
    settings: Settings = None,
) -> int:
    """Run a broker.

    A broker keeps promises in its store and hands out tasks to nodes. The first SIGTERM, SIGINT
    or SIGHUP stops it cleanly, the second SIGTERM or SIGINT at once. Neither loses anything, and
    neither does a crash: nodes reconnect by themselves and continue.

    \b
    Examples:
      understudy broker
      understudy broker --store memory --listen tcp://127.0.0.1:6000
      understudy broker --config production.toml --set lease_ttl_s=5
      understudy broker --config production.toml --name a
      understudy broker --listen tcp://10.0.0.5:5577 --keys /etc/understudy/keys
      understudy broker --audit /var/log/understudy/audit.jsonl
      understudy broker --name a --store postgresql://understudy@db.example/calls

    Several brokers share the work. Over one PostgreSQL, give each a --name of its own and the same
    --store; they find each other there. If one listens on all interfaces, say where the others
    reach it, by --set address=URL. With a SQLite store each, the file has a [[broker]] table for
    each; run each of them with the same file and its own --name.

    Flags override environment variables (UNDERSTUDY_BROKER__STORE and so on), which override the
    file. If none of them says where to listen, UNDERSTUDY_URL does.

    Without --keys there is no authentication, so the broker listens only where no other machine can
    connect, unless you say --insecure. With keys, peers name theirs in UNDERSTUDY_KEY and the
    broker's in UNDERSTUDY_BROKER_KEY (see: understudy keys --help). A broker with keys and without
    a terminal, as a service, reads its rights again at SIGHUP instead of stopping.

    With the extra [http], an edge runs beside the broker: a process of its own that speaks HTTP
    (see: understudy edge --help). It is started again if it dies, and ends with the broker.

    Metrics for Prometheus are at /metrics of its --metrics address, and /health and /ready say
    how it is (see: understudy health --help).

    \b
    Exit codes:
      0  stopped cleanly
      1  it could not start, or the store failed
      2  wrong usage, or a setting is wrong
    """
    from understudy.cli.edge_keeper import OFF, edge_beside, edge_with_keys
    from understudy.cli.options import parse_pairs
    from understudy_actors.processes.fork_server import fork_point
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.output import protect_output
    from understudy_broker.server.daemon import log_of, run_broker
    from understudy_broker.server.settings import load_settings

    protect_output()
    flags: dict[str, object] = {
        "name": name,
        "listen": listen,
        "store": store,
        "keys": keys,
        "insecure": insecure,
        "allow_root": allow_root,
        "audit": audit,
        "http": OFF if no_http else http,
        "metrics": metrics,
        "accept_lost_journal": accept_lost_journal,
        "log_level": log_level,
        "log_format": log_format,
        "accept_clock": accept_clock,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    loaded = load_settings(config, {**parse_pairs(settings, "--set"), **given})
    fork_point("understudy_store.engines.sqlite.engine")

    def watch(stop: Callable[[], None]) -> Callable[[], None] | None:
        lifeline = watch_lifeline(stop, on_stop=stop)
        return None if lifeline is None else lifeline.ask_to_stop

    log = log_of(loaded)

    def say(text: str) -> None:
        log("warning", text, {})

    http, variables = edge_with_keys(loaded.http, loaded.keys, say)
    with edge_beside(http, say, config, variables, insecure=loaded.insecure) as edge:
        return run_broker(loaded, watch, edge.start)
