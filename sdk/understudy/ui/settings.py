"""The settings of a dashboard."""

from __future__ import annotations

from pathlib import Path

import msgspec

from understudy.edge.server import Limits
from understudy.ui.log_link import LogLink


class UiSettings(msgspec.Struct, frozen=True):
    """The settings of a dashboard, given at its start.

    Attributes
    ----------
    url
        The address of a broker, or several; the pages show its deployment, unless a file is given.
    host, port
        Where to listen.
    store, history
        The file of a store, or a history, that the pages show instead.
    names
        Names by which browsers reach the dashboard, besides those of this machine, where it listens
        to this machine alone; ``*``: any.
    tokens
        The file of the tokens with which people log in; None: nobody is asked for one.
    tls
        The files of the certificate and of its key; None: connections are in clear.
    is_secure
        Browsers reach it by https: cookies are sent over nothing else.
    log_files
        Files with the log lines of calls.
    log_link
        Leads to a call's lines in the log system of the team; None: there is none.
    query
        The store that the page for queries asks, as for a broker; None: there is none.
    patience_s
        How long a page waits for a broker.
    streams_max
        Pages that may be kept up to date at a time.
    """

    url: str
    host: str
    port: int
    store: Path | None = None
    history: Path | None = None
    names: tuple[str, ...] = ()
    tokens: Path | None = None
    tls: tuple[Path, Path] | None = None
    is_secure: bool = False
    log_files: tuple[Path, ...] = ()
    log_link: LogLink | None = None
    query: str | None = None
    patience_s: float = 3.0
    streams_max: int = 200
    limits: Limits = Limits(connections_max=500)
