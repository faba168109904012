"""``understudy dev``: a broker, and a node that restarts when its code changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

import typer

from understudy.cli.options import App
from understudy.cli.printing import out
from understudy.client.keys import NO_KEYS
from understudy.edge.address import DEFAULT_LISTEN
from understudy_actors.errors import describe_exit
from understudy_actors.processes.lifeline import LIFELINE_ENV, Lifeline
from understudy_broker.address import (
    DEFAULT_ADDRESS,
    InvalidBrokerAddressError,
    check_address,
    is_reachable_by_others,
)
from understudy_broker.log_format import FILE_VARIABLE
from understudy_broker.process import StopSignals

if TYPE_CHECKING:
    from understudy.cli.file_watcher import FileWatcher
    from understudy_broker.server.embedded import EmbeddedBroker

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: the least pause between two scans of the files, in seconds
_SCAN_S: Final = 0.3
#: the pause after a scan, as a multiple of the time it took, so that a large folder costs little
_PAUSE_FACTOR: Final = 10
#: seconds that a node gets to hand back its tasks before the new code starts without it
_DRAIN_S: Final = 5.0


@app.command()
def dev(
    runtime: App,
    store: Annotated[
        str,
        typer.Option(metavar="URL", help="memory, or a path to keep promises for the next time."),
    ] = "memory",
    listen: Annotated[
        str, typer.Option(metavar="URL", help="The address that the broker listens at.")
    ] = DEFAULT_ADDRESS,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="UNDERSTUDY_BROKER__HTTP",
            show_envvar=False,
            help=f"Where an edge listens for HTTP. [default: {DEFAULT_LISTEN}, with the extra "
            "\\[http]]",
        ),
    ] = None,
    no_http: Annotated[bool, typer.Option("--no-http", help="Run no edge.")] = False,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Run no dashboard.")] = False,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Listen where other machines can connect: anyone there can do everything.",
        ),
    ] = False,
    watch: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder whose .py files are watched.")
    ] = Path(),
) -> int:
    """Run a broker, and a node that restarts on change.

    The node restarts whenever a .py file changes. The broker keeps running, so pending calls
    continue with the new code. If the new code fails, its error is shown and the next change is
    awaited. Ctrl-C stops both.

    Where the extra [ui] is installed, a dashboard runs beside it (understudy ui). For its logs the
    node writes to a file, STORE.log, or to a temporary one for a store in memory.

    \b
    Examples:
      understudy dev app
      understudy dev shop.orders:runtime --store dev.db

    \b
    Then, in another terminal, call a function that the node serves:
      understudy invoke hello-1 greet --arg world --target greeters --wait

    Exits with 130 because it is stopped with Ctrl-C, or with 1 if the broker fails.
    """
    from understudy.cli.edge_keeper import OFF, edge_beside
    from understudy.cli.errors import UsageError
    from understudy.cli.file_watcher import FileWatcher
    from understudy.cli.log_keeper import log_file_beside
    from understudy.cli.store_files import file_of
    from understudy.cli.ui_keeper import QUERY_ENV, ui_beside, ui_listen
    from understudy_broker.output import protect_output
    from understudy_broker.server.embedded import EmbeddedBroker

    protect_output()
    if not watch.is_dir():
        raise UsageError(f"--watch {str(watch)!r} is not a folder: name one that exists")
    if not insecure:
        check_secure(listen)
    watcher = FileWatcher(watch)
    stopped = threading.Event()
    ui = OFF if no_ui else ui_listen()
    file = file_of(store, Path.cwd())
    variables = dict(NO_KEYS)
    if QUERY_ENV not in os.environ and store != "memory":
        variables[QUERY_ENV] = store if file is None else str(file)
    kept = nullcontext() if ui == OFF else log_file_beside(file)
    with (
        kept as log_file,
        EmbeddedBroker(store, listen) as broker,
        edge_beside(OFF if no_http else http, say, variables=NO_KEYS, insecure=insecure) as edge,
        ui_beside(ui, say, variables, log_file) as dashboard,
    ):
        say(f"broker at {broker.endpoint}, store {store}; watching {watcher.folder}")
        edge.start(broker.endpoint)
        dashboard.start(broker.endpoint)
        node = _NodeProcess(runtime, broker.endpoint, log_file)
        # The node ends within the block of the signals, so that a second one kills it meanwhile.
        with StopSignals(stopped.set, on_kill=node.kill) as signals, node:
            _reload_until(stopped, broker, node, watcher)
    return 128 + signals.received


def check_secure(listen: str) -> None:
    """Raise `UsageError` if other machines can reach an address; a wrong one is no matter here."""
    from understudy.cli.errors import UsageError

    with suppress(InvalidBrokerAddressError):
        if is_reachable_by_others(check_address(listen)):
            raise UsageError(
                f"--listen {listen}: other machines can reach it, and this broker has no keys, so "
                "anyone there can call, read and cancel everything. Say --insecure if only trusted "
                "machines can reach it, or run: understudy broker --keys FOLDER"
            )


def say(text: str) -> None:
    """Print a line of this command itself, among the node's."""
    out(f"dev: {text}", flush=True)


def _reload_until(
    stopped: threading.Event, broker: EmbeddedBroker, node: _NodeProcess, watcher: FileWatcher
) -> None:
    node.start()
    pause_s = _SCAN_S
    while not stopped.wait(pause_s):
        if not broker.running:
            raise broker.error or RuntimeError("the broker has ended")
        began = time.monotonic()
        changed = watcher.changes()
        pause_s = max(_SCAN_S, _PAUSE_FACTOR * (time.monotonic() - began))
        if changed:
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            say(f"changed: {', '.join(changed[:5])}{more}")
            node.stop()
            node.start()
        elif node.take_exit():
            say(f"the node {describe_exit(node.exit_code)}; waiting for a change")


class _NodeProcess:
    """The process that runs the app. It ends when this process ends, however that happens."""

    def __init__(self, runtime: str, url: str, log_file: Path | None) -> None:
        self._argv = [sys.executable, "-m", "understudy", "node", runtime, "--url", url]
        self._variables = {} if log_file is None else {FILE_VARIABLE: str(log_file)}
        self._lifeline = Lifeline()
        self._process: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._lifeline.close()

    def start(self) -> None:
        """Start the node with the present code."""
        fd = self._lifeline.child_fd
        self._process = subprocess.Popen(
            self._argv,
            env={
                "PYTHONUNBUFFERED": "1",
                **os.environ,
                **NO_KEYS,
                **self._variables,
                LIFELINE_ENV: str(fd),
            },
            pass_fds=(fd,),
            # The terminal's Ctrl-C must reach only this process, which stops the node in order.
            start_new_session=True,
        )

    def take_exit(self) -> bool:
        """Return whether the node has ended by itself; true once for each end."""
        if self._process is None or self._process.poll() is None:
            return False
        self.exit_code, self._process = self._process.returncode, None
        return True

    def stop(self) -> None:
        """Let the node finish or hand back its tasks for a bounded time, then kill it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the node at once, with everything that it has started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
