"""``understudy codec``: open sealed values for a page that shows them."""

from __future__ import annotations

from typing import Annotated

import typer

from understudy.cli.printing import err, out

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Listen = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="Where to listen. Port 0: the system chooses one."),
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--origin",
        metavar="ORIGIN",
        help="A site whose pages may ask, as https://dashboard.example. May be repeated.",
    ),
]


@app.callback(invoke_without_command=True)
def codec(listen: Listen = "127.0.0.1:8090", origin: Origins = None) -> int:
    """Open sealed values for a page that shows them, with the keys in UNDERSTUDY_SEAL_KEYS.

    POST /open takes {"values": [{"id": ..., "part": ..., "function": ..., "data": ...}]}: the id of
    the promise; param, or the state that it is settled with, such as resolved; the function, for a
    param; and the sealed value in base64, as an edge without seal keys shows it. It answers
    {"values": [...]}, where each has a "value", or a "problem".

    There is no authentication, so it listens to this machine alone unless told otherwise. Needs the
    extras [http] and [seal].

    \b
    Example:
      understudy codec --origin https://dashboard.example

    \b
    Exit codes:
      0  stopped in order
      1  it could not listen
      2  wrong usage, or no seal keys
    """
    from understudy.cli.edge_keeper import check_installed
    from understudy.cli.errors import UsageError
    from understudy.client.seal_keys import SEAL_KEYS_ENV, process_sealer

    check_installed()
    sealer = process_sealer(required=False)
    if sealer is None:
        raise UsageError(f"there are no seal keys to open with: name their file in {SEAL_KEYS_ENV}")
    import trio

    from understudy.edge.address import is_loopback, parse_listen, place
    from understudy.edge.codec import serve_codec
    from understudy.edge.server import bind
    from understudy.edge.stop import Stop
    from understudy_broker.output import protect_output
    from understudy_broker.process import StopSignals

    protect_output()
    host, port = parse_listen(listen)
    try:
        sock = bind(host, port)
    except OSError as error:
        err(f"understudy codec: it cannot listen at {place(host, port)}: {error.strerror}")
        return 1
    host, port = sock.getsockname()[:2]
    if not is_loopback(host):
        err(
            f"understudy codec: {place(host, port)} can be reached by other machines, and there is "
            "no authentication: anyone who can reach it can have sealed values opened"
        )
    stop = Stop()

    async def main() -> None:
        stopped = stop.attach()
        out(f"understudy codec: http://{place(host, port)}", flush=True)
        await serve_codec(sock, sealer, origin or (), stopped.wait)

    with StopSignals(stop.request):
        trio.run(main)
    return 0
