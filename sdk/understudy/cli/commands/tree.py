"""``understudy tree``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli.options import AsJson, Url

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy.cli.graph import Line, Node
    from understudy.cli.graph_text import Surroundings

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: seconds between two looks with --follow, at least; a graph that takes long to read is read less
LOOK_S: Final = 0.3
#: how many times its own reading it rests
REST: Final = 4


@app.command()
def tree(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of any call; often the root.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing it, until it is settled.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All children, where they would be summed up.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Show a call graph: who called what, and how it stands.

    Each line has the id, the function, the state (with the node that holds it), the time from its
    creation to its end, how often it was tried if more than once, and why it failed. Children
    stand in call order; "local" marks steps that ran inside their caller, "detached" calls that
    their caller does not wait for. Of many like children a few are shown and the rest is counted.
    A detached call that was given an id of its own is a graph of its own: ask for it by that id.

    With --follow and no terminal, each change is printed as a line.

    \b
    Examples:
      understudy tree order-7
      understudy tree order-7 --follow
      understudy tree order-7 --json | jq '.. | objects | select(.error?) | .id'
    """
    from understudy.cli.client import Client
    from understudy.cli.errors import UsageError
    from understudy.cli.graph_text import as_data, drawn
    from understudy.cli.tables import print_json

    if follow and as_json:
        raise UsageError("--follow and --json exclude each other: repeat the one with --json")
    with Client(url) as client:
        if follow:
            _follow(client, id, everything)
            return 0
        root, shown, around = look(client, id, everything=everything or as_json)
    if as_json:
        print_json(as_data(root, around))
    else:
        print("\n".join(drawn(shown, around)))
    return 0


def look(client: Client, id: str, *, everything: bool) -> tuple[Node, list[Line], Surroundings]:
    """Read the graph as it is now: the tree, the lines to show, and what else is known of these."""
    from understudy.cli.errors import CliError
    from understudy.cli.graph import Node, build, lines
    from understudy.cli.graph_text import Surroundings
    from understudy_store.records import TAG_ORIGIN, TAG_TARGET

    record = client.promise(id)
    if record is None:
        raise CliError(
            f"there is no promise {id!r} at {client.url}. "
            "To see what there is: understudy promises search"
        )
    # detached calls have an origin of their own, but ids below their caller's
    records = {found.id: found for found in client.promises(prefix=f"{id}.")}
    origin = record.tags.get(TAG_ORIGIN, id)
    records |= {found.id: found for found in client.promises(origin=origin)}
    # read first, put in last: where a search saw it settled it may be newer
    records.setdefault(id, record)
    root = build(records.values(), id)
    assert root is not None
    shown = lines(root, everything=everything)
    targeted = [
        line.item.id
        for line in shown
        if isinstance(line.item, Node) and TAG_TARGET in line.item.record.tags
    ]
    around = Surroundings(
        now_ms=time.time_ns() // 1_000_000,
        tasks=client.tasks_of(targeted),
        served={group.name: len(group.nodes) for group in client.groups().groups},
    )
    return root, shown, around


def _follow(client: Client, id: str, everything: bool) -> None:
    if not sys.stdout.isatty():
        _follow_as_lines(client, id, everything)
        return
    from rich.live import Live
    from rich.text import Text

    from understudy.cli.graph_text import drawn

    with Live(auto_refresh=False) as live:

        def redraw(shown: list[Line], around: Surroundings) -> None:
            text = Text("\n".join(drawn(shown, around)), no_wrap=True, overflow="ellipsis")
            live.update(text, refresh=True)

        _watch(client, id, everything, redraw)


def _follow_as_lines(client: Client, id: str, everything: bool) -> None:
    from understudy.cli.graph import Node
    from understudy.cli.graph_text import change

    seen: set[str] = set()

    def tell(shown: list[Line], around: Surroundings) -> None:
        for line in shown:
            if isinstance(line.item, Node):
                text = change(line.item, around)
                if text not in seen:
                    seen.add(text)
                    print(text, flush=True)

    _watch(client, id, everything, tell)


def _watch(
    client: Client, id: str, everything: bool, show: Callable[[list[Line], Surroundings], None]
) -> None:
    """Look and show, until the root is settled; at once when it settles."""
    settled = client.settled(id)
    while True:
        began = time.monotonic()
        # asked before the look: what is settled then is shown as settled
        done = settled.done()
        _, shown, around = look(client, id, everything=everything)
        show(shown, around)
        if done:
            return
        rest_s = max(LOOK_S, REST * (time.monotonic() - began))
        try:
            settled.exception(rest_s)
        except TimeoutError:
            continue
