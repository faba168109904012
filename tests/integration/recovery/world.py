"""A broker, nodes and clients as processes, for tests that kill them."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

from tests.forked import PATIENCE_S, Forker, Process
from tests.integration.recovery.app import FOLDER_ENV
from understudy import CommandError, Node, Runtime, StoredPromise
from understudy.bench.deployment import free_port
from understudy_store.commands import TaskGet
from understudy_store.records import TaskRecord

LAUNCH: Final = "tests.integration.recovery.launch"
#: seconds between two checks
LOOK_S: Final = 0.01
#: Seconds until a dead node is replaced, at most. Its lease would last ten seconds, so this tells
#: the two apart, and it is long enough for a busy machine.
SOON_S: Final = 6.0
#: seconds until peers are back after their broker, at most
BACK_S: Final = 2.0

T = TypeVar("T")


def until(what: str, condition: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Wait until `condition()` is true, and return its value; `what` is for the failure."""
    ends_at = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < ends_at, f"waited {patience_s:g} s in vain until {what}"
        time.sleep(LOOK_S)
    return value


class Line(NamedTuple):
    """A line of the ledger; `at` is a time of `time.monotonic`."""

    kind: str
    name: str
    pid: int
    at: float


class World:
    """A folder, an address, and the processes of one test."""

    def __init__(self, folder: Path, forker: Forker) -> None:
        self.folder = folder
        self.url = f"tcp://127.0.0.1:{free_port()}"
        self.store = folder / "calls.db"
        self.settings: dict[str, object] = {}
        self._forker = forker
        self._processes: list[Process] = []
        self._runtime: Runtime | None = None
        self.broker: Process

    # Processes ---------------------------------------------------------------------------------

    def start_broker(self, **env: str) -> Process:
        """Start the broker, for the first time or again, and wait until it listens."""
        self.broker = self.fork_broker(**env)
        self.broker.wait_for("listening on")
        return self.broker

    def fork_broker(self, **env: str) -> Process:
        """Start the broker without waiting, because it may fail."""
        return self._fork("broker", f"{LAUNCH}:start", self._broker_argv(), **env)

    def execute_broker(self, **env: str) -> Process:
        """Start the broker as a new program, which LD_PRELOAD needs; else as `start_broker`."""
        argv = [sys.executable, "-m", "understudy", *self._broker_argv()]
        self.broker = self._fork("broker", f"{LAUNCH}:execute", argv, **env)
        self.broker.wait_for("listening on")
        return self.broker

    def _broker_argv(self) -> list[str]:
        argv = ["broker", "--listen", self.url, "--store", f"sqlite:///{self.store}"]
        argv += ["--log-format", "json"]
        for name, value in self.settings.items():
            argv += ["--set", f"{name}={value}"]
        return argv

    def start_node(
        self,
        name: str,
        group: str = "g",
        *args: str,
        url: str | None = None,
        wait: bool = True,
        app: str = "tests.integration.recovery.app:runtime",
        **env: str,
    ) -> Process:
        """Start a node; with `wait`, return when it has joined."""
        argv = ["node", app, "--group", group, "--id", name, "--url", url or self.url, *args]
        node = self._fork(name, f"{LAUNCH}:start", argv, **env)
        if wait:
            self.wait_for_nodes(node)
        return node

    def start_client(self, id: str, function: str) -> Process:
        """Start a client process; see the module `client`."""
        call = "tests.integration.recovery.client:main"
        return self._fork("client", call, [self.url, id, function])

    def _fork(self, name: str, call: str, argv: list[str], **env: str) -> Process:
        number = sum(p.name.partition("@")[0] == name for p in self._processes)
        env = {FOLDER_ENV: str(self.folder), **env}
        process = self._forker.fork(f"{name}@{number}", call, argv, env, self.folder)
        self._processes.append(process)
        return process

    # State ----------------------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """A client in the process of the test."""
        if self._runtime is None:
            self._runtime = Runtime(group="tests", url=self.url, connect_timeout=PATIENCE_S)
        return self._runtime

    def nodes(self) -> dict[int, Node]:
        """Return the nodes that the broker knows, by process id."""
        groups = self.runtime.groups().groups
        return {node.os_pid: node for group in groups for node in group.nodes}

    def nodes_by_name(self) -> dict[str, Process]:
        """Return the processes that live."""
        living = [process for process in self._processes if process.code is None]
        return {process.name.partition("@")[0]: process for process in living}

    def wait_for_nodes(self, *nodes: Process) -> None:
        """Wait until all nodes have joined and announce credit."""

        def there() -> bool:
            found = self.nodes()
            for node in nodes:
                assert node.code is None, node.output
            return all(n.pid in found and found[n.pid].credit + found[n.pid].held for n in nodes)

        until(f"{[node.name for node in nodes]} are there", there)

    def counter(self, name: str) -> int:
        """Return one of the broker's counters since its start."""
        return self.runtime.groups().counters[name]

    def promise(self, id: str) -> StoredPromise | None:
        """Return the promise; None if it does not exist."""
        try:
            return self.runtime.promises.get(id)
        except CommandError as error:
            if error.status == 404:
                return None
            raise

    def wait_settled(self, id: str) -> StoredPromise:
        """Wait until the promise has settled in the store; return it."""

        def settled() -> StoredPromise | None:
            found = self.promise(id)
            return found if found is not None and found.state != "pending" else None

        found = until(f"{id} is settled", settled)
        assert found is not None
        return found

    def task(self, id: str) -> TaskRecord:
        """Return the task of the call `id`."""
        task: TaskRecord | None = self.runtime.session.command(TaskGet(id)).task
        assert task is not None
        return task

    def wait_suspended(self, id: str) -> None:
        """Wait until the call is suspended, so that no node holds it."""
        until(f"{id} is suspended", lambda: self.task(id).state == "suspended")

    # The ledger and its places --------------------------------------------------------------------

    def ledger(self) -> list[Line]:
        path = self.folder / "ledger"
        lines = path.read_text().splitlines() if path.exists() else []
        return [
            Line(kind, name, int(pid), float(at))
            for kind, name, pid, at in (line.split() for line in lines)
        ]

    def lines(self, kind: str, name: str) -> list[Line]:
        return [line for line in self.ledger() if (line.kind, line.name) == (kind, name)]

    def wait_line(self, kind: str, name: str, times: int = 1) -> Line:
        """Wait for the `times`-th such line, and return it."""
        found = until(
            f"{kind} {name} was written {times}×",
            lambda: (lines := self.lines(kind, name)) and len(lines) >= times and lines,
        )
        assert found
        return found[times - 1]

    def begun(self) -> Counter[str]:
        """Return the number of times that each step has begun."""
        return Counter(line.name for line in self.ledger() if line.kind == "begin")

    def hold(self, *places: str) -> None:
        for name in places:
            (self.folder / f"hold-{name}").touch()

    def release(self, *places: str) -> None:
        for name in places:
            (self.folder / f"hold-{name}").unlink()

    def process_of(self, line: Line) -> Process:
        """Return the process that wrote a line."""
        (found,) = [p for p in self._processes if p.pid == line.pid]
        return found

    # The end --------------------------------------------------------------------------------------

    def close(self) -> None:
        if self._runtime is not None:
            self._runtime.stop()
        for process in self._processes:
            if process.code is None:
                process.kill()

    def report(self) -> str:
        """Return the output of all processes."""
        texts = [f"--- {p.name} ({p.pid}), code {p.code}\n{p.output}" for p in self._processes]
        ledger = "\n".join(" ".join(map(str, line)) for line in self.ledger())
        return "\n".join([*texts, "--- ledger", ledger])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
