"""The nine services of the documents and their gateway, with the SDK of their own time.

They run with what the example application's lock file names (resonate-sdk 0.5.0 on Python 3.12),
against a broker, and an edge that speaks the older REST. UNDERSTUDY_NINE_SERVICES names the folder
of the example application's sources to run those; without it, those of `judges/nine_services` run,
whose README says how they differ. Only ports are changed.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.system import (
    Program,
    System,
    listening,
    open_system,
    post,
    until,
)
from tests.services.fixture import required
from tests.services.packages import python_with
from understudy import Handle
from understudy.bench.deployment import free_port

OWN: Final = Path(__file__).parent / "judges/nine_services"
SOURCES: Final = Path(os.environ.get("UNDERSTUDY_NINE_SERVICES", OWN))
SERVICES: Final = "abcdefghi"
#: how often the edge dies under load
KILLS: Final = 4


class Application:
    """A broker, an edge, and the example application, each process under its own name."""

    def __init__(self, system: System, python: str) -> None:
        self.system = system
        self.port, self._store_port, self._poll_port = free_port(), free_port(), free_port()
        self._python = python
        self._running: dict[str, Program] = {}
        self._starts = 0
        self.folder = system.folder / "src"
        self.folder.mkdir()
        for file in SOURCES.glob("*.py"):
            text = file.read_text(encoding="utf-8")
            text = text.replace('"8001"', f'"{self._store_port}"')
            text = text.replace('"8002"', f'"{self._poll_port}"')
            text = text.replace("port=5000", f"port={self.port}")
            (self.folder / file.name).write_text(text, encoding="utf-8")

    def start_edge(self) -> None:
        listen = f"127.0.0.1:{self._store_port}"
        poll = f"127.0.0.1:{self._poll_port}"
        self._running["edge"] = self.system.command(
            "edge", "--legacy", "--listen", listen, "--legacy-poll", poll
        )

    def start(self, *names: str) -> None:
        """Start services by their letters, or the gateway."""
        for name in names:
            self._starts += 1
            file = f"{name}.py" if name == "gateway" else f"service_{name}.py"
            log = self.system.folder / f"{name}.{self._starts}.out"
            self._running[name] = Program(
                [self._python, str(self.folder / file)], log, {}, self.folder
            )

    def start_all(self, services: str = SERVICES) -> None:
        """Start the edge, the services and the gateway, and wait for the gateway."""
        self.start_edge()
        self.start(*services, "gateway")
        until("the gateway listens", lambda: listening(self.port))

    def kill(self, *names: str) -> None:
        for name in names:
            self._running.pop(name).kill()

    def restart_the_dead(self) -> None:
        """Start again the services that have ended by themselves, as a supervisor would."""
        self.start(*[name for name, each in self._running.items() if not each.is_running()])

    def output(self, name: str) -> str:
        """Return what a service has written, over all its starts."""
        logs = sorted(self.system.folder.glob(f"{name}.*.out"))
        return "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)

    def has_printed_a_number(self, name: str) -> bool:
        """Return whether a service has printed the end of the detached chain."""
        return re.search(r"\b[23]$", self.output(name), re.MULTILINE) is not None

    def states(self, id_: str) -> tuple[str | None, str | None]:
        """Return the states of a promise and of its task, as the store has them now."""
        with closing(
            sqlite3.connect(f"file:{self.system.folder}/store.db?mode=ro", uri=True)
        ) as db:
            query = "SELECT state, task_state FROM promise WHERE id = ?"
            return db.execute(query, (id_,)).fetchone() or (None, None)

    def close(self) -> None:
        for program in self._running.values():
            program.kill()

    def report(self) -> str:
        logs = sorted(self.system.folder.glob("*.out"))
        texts = (log.read_text(encoding="utf-8", errors="replace") for log in logs)
        return "\n".join(f"--- {log.name}\n{text}" for log, text in zip(logs, texts, strict=True))


@pytest.fixture(scope="module")
def python() -> str:
    packages = ("-r", str(OWN / "requirements.txt"))
    return required(lambda: python_with("nine-services", *packages))


@pytest.fixture
def application(
    tmp_path: Path, python: str, has_failed: Callable[[], bool]
) -> Iterator[Application]:
    with open_system(tmp_path) as system:
        application = Application(system, python)
        yield application
        application.close()
        if has_failed():
            print(system.report(), application.report())


def test_the_three_flows(application: Application) -> None:
    application.start_all()
    port = application.port
    assert post(port, "/await-chain") == (200, {"message": 3})
    assert post(port, "/fan-out-workflow") == (200, {"message": 3})
    assert post(port, "/detached-chain") == (200, {"message": "detached-chain started"})
    until("service-f has printed", lambda: application.has_printed_a_number("f"))
    until("qux has ended", lambda: application.states("detached-chain")[0] == "resolved")
    # The ids are fixed: the results of the same requests come from the store.
    assert post(port, "/await-chain") == (200, {"message": 3})
    assert application.output("c").count("running function baz") == 1


def test_services_edge_and_broker_die_in_the_middle(application: Application) -> None:
    # The calls stop where the services that are not there yet would go on.
    application.start_all("abdeg")
    port = application.port
    # The first request alone: this SDK starts its threads with it, and fails if two do so at once.
    assert post(port, "/detached-chain")[0] == 200
    with ThreadPoolExecutor(2) as pool:
        chain = pool.submit(post, port, "/await-chain")
        fan_out = pool.submit(post, port, "/fan-out-workflow")
        waiting = ("await-chain", "await-chain.1", "fan-out-workflow")
        until("all wait", lambda: {application.states(id_)[1] for id_ in waiting} == {"suspended"})
        until("cog is called", lambda: application.states("detached-chain.1.1")[0] == "pending")
        application.kill("b", "g", "edge")
        application.system.broker.kill()
        application.system.broker = application.system.start_broker()
        application.start_edge()
        application.start(*"bgcfhi")

        def both_are_answered() -> bool:
            # A service that has found no edge for three seconds has ended.
            application.restart_the_dead()
            return chain.done() and fan_out.done()

        until("both are answered", both_are_answered)
    assert (chain.result(), fan_out.result()) == ((200, {"message": 3}), (200, {"message": 3}))
    until("service-f has printed", lambda: application.has_printed_a_number("f"))
    # service-b continued its call, which had been stored, and did not call service-c again.
    assert application.output("c").count("running function baz") == 1


def test_calls_end_whenever_the_edge_dies(application: Application) -> None:
    """Requests and claims are under way when it dies; their SDK may end its process over that."""
    application.start_edge()
    application.start(*"abc")
    service_a = application.system.runtime.options(target="poll://service-a")
    calls: list[Handle[int]] = []

    def have_ended(count: int) -> bool:
        application.restart_the_dead()
        return sum(call.done() for call in calls) >= count

    for round_ in range(KILLS):
        calls += [service_a.rpc(f"{round_}-{n}", "foo") for n in range(10)]
        until("some have ended", partial(have_ended, 10 * round_ + 1))
        application.kill("edge")
        application.start_edge()
    until("all have ended", partial(have_ended, 10 * KILLS))
    assert {call.result() for call in calls} == {3}
