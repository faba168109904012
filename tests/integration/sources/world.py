"""A broker, a node and sources as processes, and a queue of a real server."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.integration.cli.programs import Forked
from tests.support import eventually, free_url
from understudy import Runtime

#: seconds that a queue may take until it is empty, on a busy machine
PATIENCE_S = 90.0

_APP = """
from pathlib import Path

from understudy import Context, Runtime

runtime = Runtime(group="shop")
ledger = Path("ledger").open("a", buffering=1)

@runtime.register
def checkout(ctx: Context, order: int, note: str = "") -> int:
    ledger.write(f"{order}\\n")
    return order
"""


class Queue(Protocol):
    """A queue of one kind, on a server that can be killed."""

    @property
    def command(self) -> Sequence[str]:
        """The command, without the part that all have."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """The variables with the server's address."""
        ...

    @property
    def place(self) -> str:
        """The tag of everything that comes from it."""
        ...

    def publish(self, bodies: Sequence[bytes]) -> None:
        """Publish messages, each with an id or position of its own; return when they are stored."""
        ...

    def waiting(self) -> int:
        """Return how many messages are not acknowledged."""
        ...

    def kill(self) -> None:
        """Kill the server."""
        ...

    def start(self) -> None:
        """Start it again, on its files."""
        ...


class World:
    """What a test of a source starts, stops and kills."""

    def __init__(self, folder: Path, queue: Queue) -> None:
        self.folder = folder
        self.queue = queue
        self.url = free_url()
        self.programs: list[Forked] = []
        (folder / "app.py").write_text(_APP)
        self.broker = self.start_broker()
        self._start("node", "app:runtime", "--url", self.url)
        self.runtime = Runtime(group="test", url=self.url, connect_timeout=PATIENCE_S)

    def _start(self, *args: str, **env: str) -> Forked:
        program = Forked(*args, cwd=self.folder, **env)
        self.programs.append(program)
        return program

    def start_broker(self) -> Forked:
        """Start the broker, or start it again on its store."""
        return self._start("broker", "--listen", self.url, "--store", "sqlite:///calls.db")

    def start_source(self, *more: str, call: str = "shop/checkout") -> Forked:
        """Start a source."""
        command = ["source", *self.queue.command, "--call", call, "--url", self.url, *more]
        return self._start(*command, **self.queue.env)

    def stop_sources(self) -> None:
        """Stop the sources that run, in order."""
        for program in self.programs:
            if program.args[0] == "source" and program.process.poll() is None:
                # Before, it may not have its handlers of signals yet.
                program.wait_for("a broker answers")
                assert program.stop() == 0

    def kill(self, program: Forked) -> None:
        """Kill a process with SIGKILL."""
        program.process.send_signal(signal.SIGKILL)
        program.process.wait(PATIENCE_S)

    # What there is --------------------------------------------------------------------------------

    @property
    def performed(self) -> list[int]:
        """The orders that were checked out."""
        path = self.folder / "ledger"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait_performed(self, count: int) -> None:
        """Return once so many different orders were checked out."""
        eventually(lambda: len(set(self.performed)) >= count, PATIENCE_S)

    def calls(self) -> list[str]:
        """Return the ids of all calls from the queue."""
        found = self.runtime.promises.search(tags={"source": self.queue.place}, limit=1000)
        return [promise.id for promise in found if promise.function is not None]

    def failures(self) -> dict[str, str]:
        """Return the records of poison: id to the text of the error."""
        found = self.runtime.promises.search(
            tags={"source": self.queue.place}, state="rejected", limit=1000
        )
        texts = {}
        for promise in found:
            try:
                promise.value()
            except RuntimeError as error:
                texts[promise.id] = str(error)
        return texts

    def close(self) -> None:
        self.runtime.stop()
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.process.kill()
            program.wait_for_exit()

    def report(self) -> str:
        """Return the output of all programs."""
        return "\n".join(f"--- {p.args[0]}\n{p.output[-3000:]}" for p in self.programs)


def orders(first: int, count: int) -> list[bytes]:
    """Return the bodies of messages: every second one names its argument."""
    return [
        json.dumps([n] if n % 2 else {"order": n}).encode() for n in range(first, first + count)
    ]
