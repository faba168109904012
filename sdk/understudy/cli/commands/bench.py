"""`understudy bench`: measures a deployment, or one that it starts for the purpose."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from understudy.bench.deployment import Deployment
from understudy.bench.runner import client_of, measure, medians
from understudy.bench.workloads import WORKLOADS, Figures
from understudy.cli.client import Client
from understudy.cli.options import AsJson

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help=(
        "Measure throughput and latency.\n\nWithout --url a broker (SQLite, every commit synced) "
        "and nodes of their own are started, and stopped again. With --url the nodes of group "
        "`bench` there are used: start them with `understudy spawn understudy.bench.app:runtime "
        "--group bench --nodes 2`.\n\nExample: understudy bench fan-out --calls 10000 --nodes 2"
    ),
)

Calls = Annotated[int | None, typer.Option(min=1, help="How many; each workload has its default.")]
Nodes = Annotated[int, typer.Option(min=1, help="Node processes to start, or to wait for.")]
BenchUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A broker with nodes of group bench; without it one of its own is started. What it "
        "is called for stays in its store.",
    ),
]
Repeat = Annotated[int, typer.Option(min=1, help="Runs; the medians are shown.")]


def _run(
    workload: str, calls: int | None, nodes: int, repeat: int, url: str | None, as_json: bool
) -> None:
    with _sigterm_too(), ExitStack() as stack:
        if url is None:
            url = stack.enter_context(Deployment(nodes)).url
        else:
            # says soon if nobody is there, and what to do
            with Client(url) as first:
                first.runtime.groups()
        client = stack.enter_context(client_of(url))
        progress = stack.enter_context(_Progress(workload, silent=as_json))
        runs = measure(
            client, workload, calls=calls, nodes=nodes, repeat=repeat, progress=progress.show
        )
    middle = medians(runs)
    if as_json:
        print(json.dumps({"workload": workload, "nodes": nodes, **middle, "runs": runs}))
    else:
        _table(workload, runs, middle)


@contextmanager
def _sigterm_too() -> Iterator[None]:
    """End in order at SIGTERM as at Ctrl-C: what was started is stopped, and nothing is left."""
    terminated = False

    def on_signal(_: int, __: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        # trio knows where that one may be raised
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


class _Progress:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, title: str, *, silent: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(
            console=console, transient=True, disable=silent or not sys.stderr.isatty()
        )
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)


def _table(workload: str, runs: list[Figures], middle: Figures) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{workload}: median of {len(runs)}", box=None, title_justify="left")
    table.add_column("")
    table.add_column("median", justify="right")
    table.add_column("lowest", justify="right")
    table.add_column("highest", justify="right")
    for name, value in middle.items():
        seen = [run[name] for run in runs]
        table.add_row(name, *(_worded(number) for number in (value, min(seen), max(seen))))
    Console().print(table)


def _worded(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.2f}"


def _command(workload: str) -> Any:
    function, default = WORKLOADS[workload]

    def command(
        calls: Calls = None,
        nodes: Nodes = 2,
        repeat: Repeat = 3,
        url: BenchUrl = None,
        as_json: AsJson = False,
    ) -> None:
        _run(workload, calls, nodes, repeat, url, as_json)

    command.__doc__ = f"{function.__doc__}\n\n    Default: {default:,} calls."
    return command


for _name in WORKLOADS:
    app.command(_name)(_command(_name))
