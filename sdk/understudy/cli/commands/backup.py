"""``understudy backup``: copy the store of a broker that runs, or of one that does not."""

from __future__ import annotations

import re
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli.printing import err, out

if TYPE_CHECKING:
    from understudy_broker.monitoring.address import Place

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: how long the tables may take to have what was acknowledged before, and how often is looked
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.2
_PAGE_BYTES_MAX: Final = 64 * 1024 * 1024
_LAG: Final = re.compile(r"^understudy_follower_lag_seconds (\S+)$", re.MULTILINE)


@app.command()
def backup(
    store: Annotated[
        str,
        typer.Argument(metavar="STORE", help="The file of a SQLite store, or sqlite:///PATH."),
    ],
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="The file of the copy, a new one.")],
    http: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The address at which the store's broker shows its metrics, as HOST:PORT or PORT: "
            "then the copy has everything that was acknowledged before this command began.",
        ),
    ] = None,
) -> int:
    """Copy the file of a store, while its broker runs or not.

    The copy is of one moment, is checked, and is for this user alone. The broker is not held up.

    A broker that runs has what it acknowledged in its last second or so in its journal only, of
    which there is no copy. With --http, the command waits until the file has what was acknowledged
    before it began. Of a broker that was stopped in order, everything is in the file.

    The store of a broker over PostgreSQL is copied by pg_dump.

    \b
    Examples:
      understudy backup calls.db /backups/calls-monday.db --http 127.0.0.1:9090
      understudy backup calls.db copy.db

    \b
    To restore it, stop the broker, put the copy in the place of the file, and start it once so:
      rm calls.db.journal calls.db-wal calls.db-shm
      understudy broker --store sqlite:///calls.db --accept-lost-journal

    \b
    Exit codes:
      0  the copy is there, whole
      1  it could not be made, or the broker's metrics did not answer
      2  wrong usage
    """
    from understudy.cli.errors import UsageError
    from understudy_broker.monitoring.address import MonitoringAddressError, parse_place
    from understudy_store.engines.sqlite.copying import copy_store

    if "://" in store.removeprefix("sqlite:///"):
        raise UsageError("STORE is the file of a SQLite store; a database is copied by pg_dump")
    path = Path(store.removeprefix("sqlite:///"))
    if http is not None:
        try:
            place = parse_place(http)
        except MonitoringAddressError as error:
            raise UsageError(str(error)) from None
        if place is None:
            raise UsageError(f"--http {http}: name the address that is to be asked")
        _wait_for_tables(place)
    elif path.with_name(f"{path.name}.journal").exists():
        err(
            "understudy backup: a broker runs with this store, or was killed: what it acknowledged "
            "in its last second may be missing in the copy. With --http that is waited for"
        )
    made = copy_store(path, copy)
    out(f"made {made}, {made.stat().st_size:,} bytes")
    return 0


def _wait_for_tables(place: Place) -> None:
    """Return when the file has all that was acknowledged before this call."""
    from understudy.cli.errors import CliError

    began = time.monotonic()
    while True:
        asked_at = time.monotonic()
        lag_s = _lag_s(place)
        # What was acknowledged before `began` is older than this. If the oldest commit that the
        # file lacks is younger, the file has it.
        if lag_s < asked_at - began or lag_s == 0.0:
            return
        if asked_at - began > _PATIENCE_S:
            raise CliError(
                f"the store's tables are {lag_s:.0f} s behind its journal, so that the copy would "
                "lack what was acknowledged since: another program may hold a lock on the store"
            )
        time.sleep(_POLL_S)


def _lag_s(place: Place) -> float:
    """Return how far the tables of a broker's store are behind its journal."""
    from understudy.cli.errors import CliError

    connection = HTTPConnection(place.host, place.port, timeout=10.0)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read(_PAGE_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise CliError(f"http://{place}/metrics does not answer: {error}") from None
    finally:
        connection.close()
    found = _LAG.search(text)
    if found is None:
        raise CliError(f"http://{place}/metrics shows no metrics of a broker with a SQLite store")
    return float(found[1])
