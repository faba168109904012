"""A broker, a node of the shop and a dashboard, each a process, with calls of all kinds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from tests.integration.cli.programs import Program, wait_until
from tests.support import free_url
from understudy import Runtime
from understudy.bench.deployment import free_port

ROOT = Path(__file__).parents[3]
#: an id that would be markup, script and terminal commands where it was not taken as text
HOSTILE = "\"><img src=x onerror=document.body.id='hit'>'javascript:alert(1)"


class Deployment:
    """A running deployment.

    Attributes
    ----------
    base
        The address of the dashboard.
    runtime
        Makes calls.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = free_url()
        self.base = f"http://127.0.0.1:{free_port()}"
        self.runtime = Runtime(group="tests", url=self.url)
        self._programs: dict[str, Program] = {}

    @property
    def store(self) -> Path:
        """The file of the broker's store."""
        return self.folder / "calls.db"

    def start(self, name: str) -> None:
        """Start the broker, the node or the dashboard."""
        own = ("--log-link", "https://logs.example/?q={id}", "--query", str(self.store))
        commands = {
            "broker": ("broker", "--store", f"sqlite:///{self.store}", "--listen", self.url),
            "node": ("node", "tests.integration.ui.shop:runtime", "--url", self.url, "--id", "s-1"),
            "ui": ("ui", "--url", self.url, "--listen", self.base.removeprefix("http://"), *own),
        }
        lines = {"broker": "listening on", "node": "of group shop serves", "ui": "understudy ui: h"}
        log_file = str(self.folder / "shop.log")
        program = Program(
            *commands[name], cwd=ROOT, UNDERSTUDY_LOG_FILE=log_file, UNDERSTUDY_BUILD="3f2a1c"
        )
        self._programs[name] = program
        program.wait_for(lines[name])

    def stop(self, name: str) -> None:
        """Stop a program in order."""
        program = self._programs.pop(name)
        assert program.stop() == 0, program.output

    def output(self, name: str) -> str:
        """All that a program has written."""
        return self._programs[name].output

    def fill(self, *, hostile: bool = True) -> None:
        """Make calls of all kinds."""
        shop = self.runtime.options(target="shop")
        shop.rpc("order-7", "checkout", ["book", "lamp", "chair"]).result(timeout=30)
        shop.rpc("stock-1", "stocktaking", 60)
        shop.rpc("refund-1", "refund", 5000)
        shop.rpc("print-1", "printing", 3)
        shop.rpc("remind-1", "reminder", 3600)
        shop.rpc("remind-2", "reminder", 3600)
        shop.rpc("trip-1", "approval", 120)
        if hostile:
            shop.rpc(HOSTILE, "approval", f"{HOSTILE}\u202e\x1b[31m" * 3)
            shop.rpc("large-1", "price", "x" * 1_000_000).result(timeout=30)
        self.runtime.options(target="bank").rpc("transfer-1", "transfer", 12)
        self.runtime.schedules.create("nightly", "0 3 * * *", "checkout", ["book"], target="shop")
        for id_ in ("refund-1", "stock-1"):
            wait_until(self.runtime.get(id_).done, lambda: "the first calls do not end")

    def call(self, id_: str, function: str, *args: object, target: str = "shop") -> None:
        """Make a call, and wait until it is stored."""
        trio.run(self.runtime.options(target=target).rpc(id_, function, *args).wait_stored)

    def close(self) -> None:
        """Stop everything."""
        self.runtime.stop(timeout=5)
        for program in reversed(self._programs.values()):
            program.__exit__(None, None, None)


@contextmanager
def deployment(folder: Path, *, hostile: bool = True) -> Iterator[Deployment]:
    """Run a deployment with calls of all kinds."""
    found = Deployment(folder)
    try:
        for name in ("broker", "node", "ui"):
            found.start(name)
        found.fill(hostile=hostile)
        yield found
    finally:
        found.close()
