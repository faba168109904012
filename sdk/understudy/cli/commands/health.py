"""``understudy health``: ask a program whether it is healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli.options import AsJson, Url
from understudy.cli.printing import err, out
from understudy_broker.monitoring.address import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from understudy_broker.monitoring.address import Place

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: bytes of an answer that are read
_ANSWER_BYTES_MAX: Final = 64 * 1024


@app.command()
def health(
    http: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The address at which the program shows its metrics and health, as HOST:PORT or "
            f"PORT; of an edge, also the address of its API. [default: {DEFAULT_ADDRESS}]",
        ),
    ] = None,
    url: Url = None,
    ready: Annotated[
        bool,
        typer.Option("--ready", help="Ask whether it is ready for work, instead."),
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Ask whether a restart would help, instead."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long it may take to answer.")
    ] = 5.0,
    as_json: AsJson = False,
) -> int:
    """Ask a broker, a node or an edge whether it is healthy, and say so in one line.

    For health checks of containers. With --url, a broker is asked over the way that nodes take,
    which needs no address for metrics; without an option, the address at which a broker shows its
    metrics by default is asked.

    \b
    A broker is healthy if its loop turns. It is ready if it performs requests: its store keeps up,
    and its disk has room.
    A node is healthy if no function blocks an event loop, or all of its threads, for more than 5 s,
    and a broker answers. Otherwise the line of code is named. With --live it only says whether its
    loops turn: that is for checks that restart it.

    \b
    Examples:
      understudy health
      understudy health --ready
      understudy health --http 9101 --json
      understudy health --url tcp://broker:5577

    \b
    Exit codes:
      0  healthy
      1  not healthy, or there is no answer
      2  wrong usage
    """
    import json

    from understudy.cli.errors import UsageError
    from understudy_broker.monitoring.address import MonitoringAddressError, parse_place

    if ready and live:
        raise UsageError("--ready and --live ask for different things: give one of them")
    if url is not None and (http is not None or ready or live):
        raise UsageError("--url asks a broker over ZeroMQ: give it alone, or --http instead")
    if url is not None:
        is_healthy, text, where = _ask_broker(url, timeout)
    else:
        try:
            place = parse_place(http or DEFAULT_ADDRESS)
        except MonitoringAddressError as error:
            raise UsageError(str(error)) from None
        if place is None:
            raise UsageError(f"--http {http}: name the address that is to be asked")
        path = "/ready" if ready else "/live" if live else "/health"
        is_healthy, text = _ask(place, path, timeout)
        where = f"http://{place}{path}"
    if as_json:
        out(json.dumps({"healthy": is_healthy, "text": text, "asked": where}))
    elif is_healthy:
        out(text)
    else:
        err(f"understudy health: {where}: {text}")
    return 0 if is_healthy else 1


def _ask(place: Place, path: str, timeout_s: float) -> tuple[bool, str]:
    """Return whether a program answers with success, and what it says."""
    from http.client import HTTPConnection, HTTPException

    from understudy.cli.printing import printable_line

    connection = HTTPConnection(place.host, place.port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(_ANSWER_BYTES_MAX).decode("utf-8", "replace").strip()
    except TimeoutError:
        return False, f"no answer within {timeout_s:g} s"
    except OSError as error:
        return False, f"no answer: {error.strerror or error}"
    except HTTPException as error:
        return False, f"no answer of HTTP: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return answer.status == 200, printable_line(" ".join(text.split()) or str(answer.status))


def _ask_broker(url: str, timeout_s: float) -> tuple[bool, str, str]:
    """Return whether a broker answers a peer, what there is to say, and its address."""
    from understudy.cli.client import Client
    from understudy.errors import UnderstudyError
    from understudy_actors.errors import CommandError

    try:
        with Client(url, connect_timeout_s=timeout_s, more_advice=None) as client:
            report = client.groups()
    except CommandError:
        return True, "healthy, though it does not say more to this peer", url
    except UnderstudyError as error:
        return False, str(error), url
    return True, f"healthy: {len(report.groups)} groups", url
