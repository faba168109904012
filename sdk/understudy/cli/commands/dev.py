"""``understudy dev``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, Self

import typer

from understudy_actors.errors import describe_exit
from understudy_actors.processes.lifeline import LIFELINE_ENV, Lifeline
from understudy_broker.address import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from understudy.cli.file_watcher import Folder
    from understudy_broker.server.embedded import EmbeddedBroker

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: seconds between two looks at the files
LOOK_S: Final = 0.3
#: how many times as long as a look takes nothing is looked at
REST: Final = 10
#: seconds that a node gets to hand back what it holds, before the new code starts without it
DRAIN_S: Final = 5.0


@app.command()
def dev(
    runtime: Annotated[str, typer.Argument(metavar="APP", help="module:runtime, as for node.")],
    store: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Where promises are kept: memory, or a path to keep them for later."
        ),
    ] = "memory",
    listen: Annotated[
        str, typer.Option(metavar="URL", help="Where the broker listens.")
    ] = DEFAULT_ADDRESS,
    watch: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Whose .py files are watched.")
    ] = Path(),
) -> int:
    """Develop: a broker, and a node that reloads on change.

    The node starts again whenever a .py file changes. The broker stays, and so do the calls that
    are under way: the new code goes on with them. An error in the code is shown, and the next
    change is waited for. Ctrl-C ends it.

    \b
    Examples:
      understudy dev app
      understudy dev shop.orders:runtime --store dev.db

    \b
    In another terminal, with the group and a function that the node says it serves:
      understudy invoke hello-1 greet --arg world --target greeters --wait
    """
    from understudy.cli.errors import UsageError
    from understudy.cli.file_watcher import Folder
    from understudy_broker.server.embedded import EmbeddedBroker

    if not watch.is_dir():
        raise UsageError(f"--watch {str(watch)!r}: there is no such folder")
    folder = Folder(watch)
    with EmbeddedBroker(store, listen) as broker, _Node(runtime, broker.endpoint) as child:
        say(f"broker at {broker.endpoint}, store {store}; watching {folder.path}")
        return _until_signal(broker, child, folder)


def say(text: str) -> None:
    """A line of this command's own, among the node's."""
    print(f"dev: {text}", flush=True)


def _until_signal(broker: EmbeddedBroker, child: _Node, folder: Folder) -> int:
    stopped = threading.Event()
    received: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if received:
            child.kill()
            os._exit(128 + number)
        received.append(number)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    child.start()
    rest_s = LOOK_S
    while not stopped.wait(rest_s):
        if not broker.running:
            raise broker.error or RuntimeError("the broker has ended")
        began = time.monotonic()
        changed = folder.changes()
        # a large folder is looked at less often, not at the cost of the processor
        rest_s = max(LOOK_S, REST * (time.monotonic() - began))
        if changed:
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            say(f"changed: {', '.join(changed[:5])}{more}")
            child.stop()
            child.start()
        elif child.ended():
            say(f"the node {describe_exit(child.exit_code)}; waiting for a change")
    return 128 + received[0]


class _Node:
    """The process that runs the app; ends with this one, however that ends."""

    def __init__(self, runtime: str, url: str) -> None:
        self._argv = [sys.executable, "-m", "understudy", "node", runtime, "--url", url]
        self._lifeline = Lifeline()
        self._process: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._lifeline.close()

    def start(self) -> None:
        """Run the code as it is now."""
        fd = self._lifeline.read_fd
        self._process = subprocess.Popen(
            self._argv,
            env={"PYTHONUNBUFFERED": "1", **os.environ, LIFELINE_ENV: str(fd)},
            pass_fds=(fd,),
            # the terminal's Ctrl-C is for this process, which ends the node in order
            start_new_session=True,
        )

    def ended(self) -> bool:
        """Whether it has ended by itself; true once for each end."""
        if self._process is None or self._process.poll() is None:
            return False
        self.exit_code, self._process = self._process.returncode, None
        return True

    def stop(self) -> None:
        """Let it finish or hand back what it holds, a bounded time."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(DRAIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """At once, with all that it has started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
