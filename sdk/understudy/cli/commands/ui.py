"""``understudy ui``: the dashboard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy import extras
from understudy.cli.options import Url
from understudy.cli.ui_keeper import DEFAULT_LISTEN, LISTEN_ENV, missing

if TYPE_CHECKING:
    from understudy.ui.facts import BrokerFacts

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def ui(
    listen: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", envvar=LISTEN_ENV, help="Where it listens."),
    ] = DEFAULT_LISTEN,
    url: Url = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Show the file of a store instead: a copy, a backup, or a live one.",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Show a recorded call graph (understudy.testing.record) instead."
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            envvar="UNDERSTUDY_UI__QUERY",
            help="The store that the page for queries in SQL reads: a file, or postgresql://...; "
            "a URL with a password belongs into the variable. [default: the one of --store]",
        ),
    ] = None,
    log_file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            envvar="UNDERSTUDY_LOG_FILE",
            help="A file of JSON log lines, whose lines the page of a call shows; may be repeated.",
        ),
    ] = None,
    log_link: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="UNDERSTUDY_UI__LOG_LINK",
            help="The address of a call's lines in your log system, with {id}, {origin}, {trace}, "
            "{from} or {to} in it.",
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser of this machine.")
    ] = False,
    names: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            envvar="UNDERSTUDY_UI__NAMES",
            help="Names by which browsers reach it, besides those of this machine; commas between.",
        ),
    ] = "",
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="UNDERSTUDY_UI__TOKENS",
            help="The tokens with which people log in, as an edge takes them.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate, for https.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its secret key.")] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option("--behind-proxy", help="TLS ends at a proxy, and only that reaches this."),
    ] = False,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Listen where other machines can connect: anyone there can do everything.",
        ),
    ] = False,
) -> int:
    """Show calls, groups and brokers in the browser, and act on them.

    The pages are made here and need no network but the brokers. They follow what happens by
    themselves. Needs the extra [ui].

    With --store or --history it shows a file, which it only reads, and needs no broker.

    Without --tokens there is no login. Where other machines can reach it, it starts only with
    tokens and TLS, unless you say otherwise. With a broker that has keys, it asks in the name of
    whoever has logged in, and whatever the role of that identity does not allow is refused.

    \b
    Examples:
      understudy ui --open
      understudy ui --store backup.db
      understudy ui --query calls.db
      understudy ui --history order-7.json --open
      understudy ui --log-file node.log --log-link 'https://logs.example/?q={id}&trace={trace}'
      understudy ui --listen 0.0.0.0:8080 --tokens tokens.toml --tls-cert u.pem --tls-key u.key

    \b
    Exit codes:
      0  stopped in order
      1  it could not listen, or a broker has refused it
      2  wrong usage
    """
    from understudy.cli.errors import CliError, UsageError
    from understudy.client.address import broker_address
    from understudy.edge.address import parse_listen
    from understudy.edge.exposure import check_exposure
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.output import protect_output

    if sum(given is not None for given in (url, store, history)) > 1:
        raise UsageError("--url, --store and --history exclude each other: give one of them")
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together: give both, or none")
    if name := missing():
        raise CliError(extras.advice("the dashboard", name, "ui"))
    host, port = parse_listen(listen)
    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    if not insecure:
        check_exposure(
            {"--listen": (host, port)},
            has_tokens=tokens is not None,
            has_tls=tls is not None,
            is_behind_proxy=behind_proxy,
        )
    # Imported here, because they need the extra [ui].
    from understudy.ui.log_link import LogLink, LogLinkError
    from understudy.ui.process import run_ui
    from understudy.ui.settings import UiSettings
    from understudy_store.errors import StoreAddressError
    from understudy_store.inquiry.opening import open_inquirer

    try:
        link = None if log_link is None else LogLink(log_link)
    except LogLinkError as error:
        raise UsageError(f"--log-link: {error}") from None
    try:
        if query is not None:
            open_inquirer(query)
    except StoreAddressError as error:
        raise UsageError(f"--query: {error}") from None
    for path in log_file or ():
        if path.is_dir():
            raise UsageError(f"--log-file {str(path)!r} is a folder: name a file in it")
    settings = UiSettings(
        "" if store or history else broker_address(url),
        host,
        port,
        store,
        history,
        tuple(filter(None, map(str.strip, names.lower().split(",")))),
        tokens,
        tls,
        tls is not None or behind_proxy,
        tuple(log_file or ()),
        link,
        query if query is not None or store is None else str(store),
    )
    protect_output()
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return run_ui(
        settings,
        _look_at_brokers,
        lambda stop: watch_lifeline(stop, on_stop=stop),
        _open_browser if open_browser else None,
    )


def _open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)


def _look_at_brokers(url: str) -> list[BrokerFacts]:
    """Ask each broker by itself."""
    from understudy.cli.deployment import read_statuses
    from understudy.ui.facts import BrokerFacts

    return [
        BrokerFacts(
            each.name,
            each.address,
            each.slots,
            each.report is not None,
            each.problem or "",
            None if each.report is None else each.report.counters.get("peers"),
        )
        for each in read_statuses(url)
    ]
