"""A demo as a program: it tells a story, ends at a signal, and explains a failure.

This demo and that of the cluster have it in common.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

#: Lines of the processes' output that are shown if a demo fails.
TAIL_LINES = 40


class DemoError(Exception):
    """The demo has failed; the message says why."""


class ProcessLog:
    """The lines that the processes write, kept in a file, and in memory to search."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._lines: list[tuple[str, str]] = []

    def add(self, name: str, line: str) -> None:
        """Add a line of the process `name`."""
        self._lines.append((name, line))
        self._file.write(f"{name:<11} | {line}\n")
        self._file.flush()

    def has(self, name: str, text: str) -> bool:
        """Return whether the process `name` has written a line that contains `text`."""
        return any(text in line for writer, line in self._lines if writer == name)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


#: Tells a story, with a folder for its files; it cleans up when it is canceled.
Story = Callable[[Path, ProcessLog], Awaitable[None]]


def play(story: Story) -> int:
    """Run a demo; return 0 on success, 1 on failure, 128 + its number after a signal."""
    started_at = time.monotonic()
    received: list[int] = []
    with tempfile.TemporaryDirectory(prefix="understudy-demo-") as name:
        log = ProcessLog(Path(name, "demo.log"))
        try:
            trio.run(_run, story, Path(name), log, received)
        except Exception as error:
            _report_failure(error, log)
            return 1
        finally:
            log.close()
    if received:
        say("\ninterrupted: everything is stopped")
        return 128 + received[0]
    say(f"\nEverything is stopped. The demo took {time.monotonic() - started_at:.0f} s.")
    return 0


def say(text: str) -> None:
    """Print a line of the story at once, even into a pipe."""
    print(text, flush=True)


def since(start: float) -> str:
    """Return the time since `start`, as text."""
    return f"{time.monotonic() - start:.2f} s"


async def _run(story: Story, folder: Path, log: ProcessLog, received: list[int]) -> None:
    """Tell the story until its end, or until the first signal."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        listening: trio.CancelScope = await nursery.start(_cancel_on_signal, scope, received)
        with scope:
            try:
                await story(folder, log)
            except Exception as error:
                # Raised below, because the nursery would wrap it in an exception group.
                failure = error
        listening.cancel()
    if failure is not None:
        raise failure


async def _cancel_on_signal(
    scope: trio.CancelScope,
    received: list[int],
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    """Cancel `scope` on SIGINT or SIGTERM, and add the signal to `received`.

    It goes on listening, since a second signal must not keep the program from cleaning up.
    """
    with (
        trio.CancelScope() as own,
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
    ):
        task_status.started(own)
        async for number in signals:
            received.append(number)
            scope.cancel()


def _report_failure(error: BaseException, log: ProcessLog) -> None:
    """Print the failure and the last lines of the processes; keep all lines in a file."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kept = Path(tempfile.gettempdir(), f"understudy-demo-{os.getpid()}.log")
    shutil.copyfile(log.path, kept)
    tail = kept.read_text(encoding="utf-8").splitlines()[-TAIL_LINES:]
    print("\n".join(["", *tail]), file=sys.stderr)
    print(f"\nThe demo failed: {str(error) or type(error).__name__}", file=sys.stderr)
    print(f"Above are the last lines of its processes; all lines are in {kept}", file=sys.stderr)
