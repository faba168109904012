"""``understudy bench``: measure a deployment."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Annotated

import typer

from understudy.bench.deployment import Deployment
from understudy.bench.runner import client_of, measure, medians
from understudy.bench.workloads import WORKLOADS, Figures, Workload
from understudy.cli.client import Client
from understudy.cli.options import AsJson
from understudy.cli.printing import out

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="""Measure throughput and latency.

    Without --url, bench starts a broker (SQLite, every commit synced) and nodes of its own, and
    stops them afterwards. With --url it uses the nodes of group bench at that broker. Each command
    is a workload.

    \b
    Examples:
      understudy bench fan-out --calls 10000 --nodes 2
      understudy bench chain --json

    \b
    Measure a deployment of yours:
      understudy spawn understudy.bench.app:runtime --group bench --nodes 2
      understudy bench fan-out --url tcp://10.0.0.5:5577
    """,
)

Calls = Annotated[
    int | None,
    typer.Option(min=1, help="The number of calls. [default: depends on the workload]"),
]
Nodes = Annotated[int, typer.Option(min=1, help="Node processes to start, or to wait for.")]
BenchUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A broker with nodes of group bench. The calls stay in its store. "
        "[default: a broker of its own]",
    ),
]
Repeat = Annotated[int, typer.Option(min=1, help="The number of runs; their medians are shown.")]


def _run(
    workload: str, calls: int | None, nodes: int, repeat: int, url: str | None, as_json: bool
) -> None:
    with _stop_on_sigterm(), ExitStack() as stack:
        if url is None:
            url = stack.enter_context(Deployment(nodes)).url
        else:
            # If no broker answers, this client says so soon, and what to do.
            with Client(url) as first:
                first.groups()
        client = stack.enter_context(client_of(url))
        progress = stack.enter_context(_ProgressBar(workload, silent=as_json))
        runs = measure(
            client, workload, calls=calls, nodes=nodes, repeat=repeat, progress=progress.show
        )
    middle = medians(runs)
    if as_json:
        out(json.dumps({"workload": workload, "nodes": nodes, **middle, "runs": runs}))
    else:
        _print_table(workload, runs, middle)


@contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Stop in order on SIGTERM as on Ctrl-C, so that no started process is left."""
    terminated = False

    def on_signal(_: int, __: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # A script that runs this command in the background has the shell ignore Ctrl-C for it.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        # trio knows where a KeyboardInterrupt may be raised.
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    except KeyboardInterrupt:
        if terminated:
            raise typer.Exit(128 + signal.SIGTERM) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


class _ProgressBar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, title: str, *, silent: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(
            console=console, transient=True, disable=silent or not sys.stderr.isatty()
        )
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> _ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """Show that `done` of `total` calls are done."""
        self._bar.update(self._task, completed=done, total=total)


def _print_table(workload: str, runs: list[Figures], middle: Figures) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{workload}: median of {len(runs)}", box=None, title_justify="left")
    table.add_column("")
    table.add_column("median", justify="right")
    table.add_column("lowest", justify="right")
    table.add_column("highest", justify="right")
    for name, value in middle.items():
        found = [run[name] for run in runs]
        table.add_row(name, *(_format(number) for number in (value, min(found), max(found))))
    Console().print(table)


def _format(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.2f}"


def _command(workload: Workload) -> Callable[..., None]:
    def command(
        calls: Calls = None,
        nodes: Nodes = 2,
        repeat: Repeat = 3,
        url: BenchUrl = None,
        as_json: AsJson = False,
    ) -> None:
        _run(workload.name, calls, nodes, repeat, url, as_json)

    command.__doc__ = (
        f"{workload.summary}\n\n    The default is {workload.calls:,} calls. --json prints one "
        f"object with the medians, and the figures of each run.\n\n    \b\n    Example:\n"
        f"      understudy bench {workload.name} --calls {workload.calls}"
    )
    return command


for _workload in WORKLOADS.values():
    app.command(_workload.name)(_command(_workload))
