"""A service on a platform that freezes the process after each answer, as AWS Lambda does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.programs import environment
from tests.integration.sdk.edge.push.test_push import PATIENCE_S, World
from tests.support import eventually
from understudy import Runtime

#: the lease of the broker, which ends while the process is frozen
LEASE_S = 0.6


class Platform:
    """Gives requests to a process as events, one at a time, and freezes it in between."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.answers: list[int] = []
        self._process = process
        self._lock = threading.Lock()
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                headers = {name.lower(): text for name, text in self.headers.items()}
                answer = platform.perform(self.path, headers, body)
                self.send_response(answer["statusCode"])
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def perform(self, path: str, headers: dict[str, str], body: str) -> Any:
        http = {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"}
        event = {
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
            "headers": headers, "requestContext": {"http": http}, "body": body,
            "isBase64Encoded": False,
        }  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            self.freeze(False)
            print(json.dumps(event), file=stdin, flush=True)
            answer = json.loads(stdout.readline())
            self.freeze(True)
        self.answers.append(answer["statusCode"])
        return answer

    def freeze(self, is_frozen: bool) -> None:
        os.kill(self._process.pid, signal.SIGSTOP if is_frozen else signal.SIGCONT)


@contextmanager
def serving_on_platform(
    folder: Path, port: int, *program: str, **variables: str
) -> Iterator[Platform]:
    """Run a program that reads events and writes responses, and give it the requests at a port."""
    process = subprocess.Popen(
        [sys.executable, *program],
        cwd=folder, env=environment(**variables), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "service listens\n"
    found = Platform(port, process)
    found.freeze(True)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        process.kill()
        found.server.shutdown()
        found.server.server_close()
        thread.join()
        process.communicate()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack, "--set", f"lease_ttl_s={LEASE_S}")


def test_a_function_that_waits_while_its_process_is_frozen(world: World) -> None:
    _, edge = world.edge()
    target = f"{world.target}/understudy"
    program = Path(__file__).with_name("service.py")
    words = (str(program), "lambda", str(world.port), "-1", edge, "hold")
    with (
        Runtime("clients", url=world.url) as runtime,
        serving_on_platform(world.folder, world.port, *words) as service,
    ):
        call = runtime.options(target=target).rpc("charge-1", "charge", 100)
        # It is answered once the function has nothing to do but to wait.
        eventually(lambda: service.answers == [200], PATIENCE_S)
        assert (world.folder / "notes").read_text() == "charge begins\n"
        world.broker.wait_for("silent; lease lapsed")  # the process is taken for dead
        runtime.promises.resolve("charge-1.approved")
        # It calls another function of the service, for which it is thawed as well.
        assert call.result(PATIENCE_S) == "100 and 10"
        assert (world.folder / "notes").read_text() == "charge begins\n"
        eventually(lambda: set(service.answers) == {200} and len(service.answers) > 2, PATIENCE_S)
