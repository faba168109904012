"""``understudy rehearse``: replay the calls under way with new code, before it is deployed."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from typing import Annotated

import typer

from understudy.cli import completion
from understudy.cli.options import AsJson, Store, Url
from understudy.cli.printing import err, out

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def rehearse(
    runtime: Annotated[
        str,
        typer.Argument(
            metavar="APP",
            help="The Runtime with the new code, as module:name. The module alone is enough if it "
            "has only one.",
        ),
    ],
    function: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only calls of this function. [default: of all]"),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The group whose calls are rehearsed. [default: the Runtime's own]",
            autocompletion=completion.groups,
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="How the ids begin.")] = "",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The most calls. [default: all]")
    ] = None,
    time_limit: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="The most that the replay of one call may take. [default: 5]",
            show_default=False,
        ),
    ] = 5.0,
    store: Store = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Replay the calls under way with new code, to see which of them it can go on with.

    Run it from the folder of the new code, against the broker of production. For each call that the
    group has under way, the function runs again in this process, from its first line, and its
    recorded steps are answered from the store, as on a node that takes the call over. A call breaks
    if the code asks for another step than is recorded in its place (a node would park it), if the
    function or its version is gone, if it no longer takes the arguments, or if it fails at once.
    Calls that break for the same reason are counted together, with both places in the code.

    Nothing is sent or stored, no step runs, and no node loses a call. What stands between the steps
    does run: it must have no side effects, here as on a node. What the functions print goes to
    standard error. A function that has not made a step yet is not run at all, only its arguments
    are checked.

    The rights to search and to read promises are enough. Sealed values need the key.

    \b
    Examples:
      understudy rehearse app:runtime
      understudy rehearse shop.orders:runtime --group orders --function checkout
      understudy rehearse app:runtime --json > rehearsal.json || exit 1
      understudy rehearse app:runtime --store copy.db

    \b
    Exit codes:
      0  all of them go on
      1  some break
      2  none breaks, but it is not known of all (no key, a replay that hangs); or wrong usage
      3  the broker refused the request
      4  no broker answers
    """
    with redirect_stdout(sys.stderr):
        from understudy.cli.json_data import print_json
        from understudy.cli.runtime_loader import load_runtime
        from understudy.cli.store_client import reading
        from understudy.cli.under_way import calls_under_way, read_again
        from understudy.replays.rehearsal import BREAKS, Rehearsal
        from understudy.replays.rehearser import Rehearser

        loaded = load_runtime(runtime)
        wanted = group or loaded.group
        rehearsal = Rehearsal()
        began = time.monotonic()
        with reading(loaded, url, store) as source:
            env = loaded.session.env
            rehearser = Rehearser(env, time_limit)
            for task, record in calls_under_way(
                source,
                group=wanted,
                address="" if group else env.target,
                function=function,
                prefix=prefix,
                limit=limit,
            ):
                if task.settled:
                    continue
                verdict = rehearser.rehearse(task, record)
                if verdict.kind in BREAKS and not rehearsal.is_known(verdict):
                    # It may have gone on while it was read, page by page.
                    found = read_again(source, task)
                    if found is None:
                        continue
                    verdict = rehearser.rehearse(*found)
                rehearsal.add(verdict)
        took_s = time.monotonic() - began
    if as_json:
        print_json({"group": wanted, "seconds": round(took_s, 3), **rehearsal.as_data()})
    else:
        out(rehearsal.as_text(f"of group {wanted}"))
        if rehearsal.breaks:
            out(
                "\nWhat helps: register the changed function as a new version beside the old one, "
                "or let\nthese calls end on the old code first. To step through one of them:\n"
                f"  understudy debug {rehearsal.causes[0].examples[0]} {runtime}"
            )
        err(f"understudy rehearse: {rehearsal.calls:,} calls in {took_s:.1f} s, nothing was sent")
    return rehearsal.exit_code
