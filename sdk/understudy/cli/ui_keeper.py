"""Keeps a dashboard running beside a broker, as a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from understudy import extras
from understudy.cli.edge_keeper import NO_VARIABLES, OFF, EdgeKeeper

#: where it listens unless it is told otherwise
DEFAULT_LISTEN: Final = "127.0.0.1:8080"
#: the variable that tells it; "off": none is run beside a broker
LISTEN_ENV: Final = "UNDERSTUDY_UI__LISTEN"
#: the variable that names the store for queries in SQL; no option, because of passwords in it
QUERY_ENV: Final = "UNDERSTUDY_UI__QUERY"
#: modules of the extra [ui]
_NEEDED: Final = ("starlette", "hypercorn", "jinja2")


def missing() -> str:
    """Return what is not installed that a dashboard needs; empty if it has everything."""
    return extras.missing(*_NEEDED)


def ui_command(listen: str, url: str, log_file: Path | None = None) -> list[str]:
    """Return the command that runs a dashboard.

    Parameters
    ----------
    log_file
        Where it finds the log lines of calls.
    """
    command = [sys.executable, "-m", "understudy", "ui", "--listen", listen, "--url", url]
    return command if log_file is None else [*command, "--log-file", str(log_file)]


def ui_listen() -> str:
    """Return where a dashboard beside a broker listens; "off" if none is to run."""
    return OFF if missing() else os.environ.get(LISTEN_ENV) or DEFAULT_LISTEN


@contextmanager
def ui_beside(
    listen: str,
    say: Callable[[str], None],
    variables: Mapping[str, str] = NO_VARIABLES,
    log_file: Path | None = None,
) -> Iterator[EdgeKeeper]:
    """Keep a dashboard running beside the broker of this process, once it is started in the block.

    Parameters
    ----------
    listen
        As HOST:PORT; "off": none runs.
    say
        Told, once, of a dashboard that ends.
    variables
        What its environment has beyond that of this process.
    log_file
        Where it finds the log lines of calls.
    """

    def command(listen: str, url: str) -> list[str]:
        return ui_command(listen, url, log_file)

    keeper = EdgeKeeper(listen, say, None, variables, command, "dashboard")
    try:
        yield keeper
    finally:
        keeper.stop()
