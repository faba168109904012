"""``understudy tree``: show a call graph."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli import completion
from understudy.cli.options import AsJson, Url
from understudy.cli.printing import err, out, out_painted

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy.cli.deployment import BrokerStatus
    from understudy.cli.part_client import PartClient
    from understudy.views.call_graph import Line, Node
    from understudy.views.call_graph_data import Surroundings

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: the least pause between two reads with --follow, in seconds
_POLL_S: Final = 0.3
#: the pause after a read, as a multiple of the time it took, so that a large graph costs little
_PAUSE_FACTOR: Final = 4


@app.command()
def tree(
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The id of any call; often the root of its graph.",
            autocompletion=completion.promise_ids,
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show changes until the call is settled.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show all children, instead of counting similar ones.")
    ] = False,
    children: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="The most similar children of a call to show. [default: 5, or all if there are "
            "20 or fewer]",
        ),
    ] = None,
    attempts: Annotated[
        bool,
        typer.Option("--attempts", help="Show below each call its attempts that ended badly."),
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Show a call graph: all calls below one call.

    Each line has the id, the function and its arguments, the status (with the node that runs it),
    the time from creation to end, the number of attempts if there were several, and the reason for
    a failure.
    Children are in call order. "local" marks steps that ran inside their caller, "detached" marks
    calls that their caller does not wait for. If many children are similar, a few are shown and
    the rest are counted. A detached call with an id of its own is a graph of its own: ask for that
    id.

    --attempts adds the attempts that ended badly: which node had the call, how long, and why the
    attempt ended. Of a call, the first three and the last twenty are there.

    --json prints one object with nested children, always all of them. With --follow, but not on a
    terminal, each change is printed as a line.

    \b
    Examples:
      understudy tree order-7
      understudy tree order-7 --attempts
      understudy tree order-7 --follow
      understudy tree import-7 --children 200
      understudy tree order-7 --json | jq '.. | objects | select(.error?) | .id'

    If one of several brokers is away, what the others have is shown, and the exit code is 4.

    \b
    Exit codes:
      1  the promise does not exist
      4  no broker answers, or one of several does not
    """
    from understudy.cli.call_graph_text import draw
    from understudy.cli.client import Client
    from understudy.cli.errors import EXIT_NO_BROKER, UsageError
    from understudy.cli.json_data import print_json
    from understudy.cli.part_client import PartClient
    from understudy.errors import BrokerUnavailableError
    from understudy.views.call_graph_data import as_data

    if follow and as_json:
        raise UsageError("--follow and --json exclude each other: repeat the command with --json")
    with Client(url) as client:
        if follow:
            _follow(client, id, everything, children)
            return 0
        away: Sequence[BrokerStatus] = ()
        whole = everything or as_json
        try:
            root, shown, around = read_graph(
                client, id, everything=whole, children=children, attempts=attempts
            )
        except BrokerUnavailableError as error:
            if not error.others_answer:
                raise
            part = PartClient(url)
            away = part.away
            root, shown, around = read_graph(
                part, id, everything=whole, children=children, attempts=attempts
            )
    if as_json:
        print_json(as_data(root, around))
    else:
        out_painted("\n".join(draw(shown, around)))
    for status in away:
        text = f"the broker {status.name} at {status.address} does not answer"
        err(f"understudy: {text}: what it has is not shown")
    return EXIT_NO_BROKER if away else 0


def read_graph(
    client: Client | PartClient,
    id: str,
    *,
    everything: bool,
    children: int | None = None,
    attempts: bool = False,
) -> tuple[Node, list[Line], Surroundings]:
    """Read a call graph as it is now.

    Parameters
    ----------
    attempts
        Whether to read the attempt logs of the calls that are shown.


    Returns
    -------
    The tree, the lines to show, and the tasks and groups of the promises in these lines.
    """
    from dataclasses import replace

    from understudy.cli.errors import CliError
    from understudy.cli.times import now_ms
    from understudy.views.call_graph import Node, build, lines
    from understudy.views.call_graph_data import surroundings
    from understudy_store.records import TAG_TARGET, origin_of

    record = client.find_promise(id)
    if record is None:
        raise CliError(
            f"there is no promise {id!r} at {client.url}. To list them: understudy promises search"
        )
    # A detached call has an origin of its own, but its id is below its caller's.
    records = {found.id: found for found in client.promises(prefix=f"{id}.")}
    origin = origin_of(record)
    records |= {found.id: found for found in client.promises(origin=origin)}
    # If the search found the root too, that record is newer.
    records.setdefault(id, record)
    root = build(records.values(), id)
    assert root is not None
    shown = lines(root, everything=everything, children=children)
    calls = [
        line.item.id
        for line in shown
        if isinstance(line.item, Node) and TAG_TARGET in line.item.record.tags
    ]
    replies = client.tasks_of(calls)
    around = surroundings(now_ms(), records, replies, client.groups())
    if attempts:
        logged = [reply.task.id for reply in replies if reply.task and reply.task.logged]
        around = replace(around, log=client.attempts_of(logged))
    return root, shown, around


def _follow(client: Client, id: str, everything: bool, children: int | None) -> None:
    if not sys.stdout.isatty():
        _follow_in_lines(client, id, everything, children)
        return
    from rich.live import Live
    from rich.text import Text

    from understudy.cli.call_graph_text import draw
    from understudy.cli.colors import paint_lines
    from understudy.cli.printing import printable

    with Live(auto_refresh=False) as live:

        def redraw(shown: list[Line], around: Surroundings) -> None:
            drawn = paint_lines(printable("\n".join(draw(shown, around))))
            live.update(Text.from_ansi(drawn, no_wrap=True, overflow="ellipsis"), refresh=True)

        _poll(client, id, everything, children, redraw)


def _follow_in_lines(client: Client, id: str, everything: bool, children: int | None) -> None:
    from understudy.cli.call_graph_text import progress_line
    from understudy.views.call_graph import Node

    printed: set[str] = set()

    def print_changes(shown: list[Line], around: Surroundings) -> None:
        for line in shown:
            if isinstance(line.item, Node):
                text = progress_line(line.item, around)
                if text not in printed:
                    printed.add(text)
                    out(text, flush=True)

    _poll(client, id, everything, children, print_changes)


def _poll(
    client: Client,
    id: str,
    everything: bool,
    children: int | None,
    show: Callable[[list[Line], Surroundings], None],
) -> None:
    """Read and show the graph again and again, until its root is settled."""
    settled = client.watch(id)
    while True:
        began = time.monotonic()
        # Asked before the read, so that a root that is settled now is shown as settled.
        is_done = settled.done()
        _, shown, around = read_graph(client, id, everything=everything, children=children)
        show(shown, around)
        if is_done:
            return
        pause_s = max(_POLL_S, _PAUSE_FACTOR * (time.monotonic() - began))
        try:
            # Ends early when the root settles.
            settled.exception(pause_s)
        except TimeoutError:
            continue
