"""The example of calls through a queue, and the first run of their page, with a real RabbitMQ."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.system import PATIENCE_S, Program, open_system, until
from tests.acceptance.test_docs import Terminal, blocks, programs, session, terminal
from tests.services.fixture import running
from tests.services.rabbitmq import RabbitServer
from tests.support import free_url

__all__ = ["terminal"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "through_a_queue"
PAGE = "docs/transports.md"


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with running(RabbitServer) as server:
        yield server


def test_the_example(tmp_path: Path, server: RabbitServer) -> None:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.db*", "__pycache__"))
    url, file = free_url(), folder / "topology.toml"
    text = file.read_text(encoding="utf-8")
    assert "tcp://127.0.0.1:5577" in text
    file.write_text(text.replace("tcp://127.0.0.1:5577", url), encoding="utf-8")
    place = f"amqp://guest:guest@127.0.0.1:{server.port}"
    target = f"amqp://127.0.0.1:{server.port}/service-example"
    env = {
        "UNDERSTUDY_URL": "",
        "UNDERSTUDY_CONNECTOR_SERVER": place,
        "UNDERSTUDY_TASK_SOURCE": f"{place}/service-example",
    }
    up = Program([sys.executable, "-m", "understudy", "up"], tmp_path / "log", env, folder)
    try:
        until("a connector runs", lambda: "a broker answers" in up.output)
        called = subprocess.run(
            [sys.executable, "call.py"],
            cwd=folder,
            env={**os.environ, "UNDERSTUDY_URL": url, "TARGET": target},
            timeout=PATIENCE_S,
            check=True,
            capture_output=True,
            text=True,
        )
        expected = [n + n // 10 + 10 * n + n for n in range(1, 21)]
        assert called.stdout == f"{expected}\n"
        assert "guest" not in up.output
    finally:
        up.kill()


def test_the_first_run_of_the_page(
    tmp_path: Path, terminal: Terminal, server: RabbitServer
) -> None:
    def here(text: str) -> str:
        return re.sub(r"amqp://127\.0\.0\.1", f"amqp://127.0.0.1:{server.port}", text)

    (tmp_path / "baz.py").write_text(here(programs()[PAGE, "baz.py"]))
    console = [block for block in blocks(PAGE) if block.language == "console"]
    lines = [here(command) for block in console for command, _ in session(block.text)]
    [connector] = [line for line in lines if line.startswith("understudy connector")]
    nodes = [line for line in lines if line.startswith("understudy node")]
    [invoke] = [line for line in lines if line.startswith("understudy invoke")]
    with open_system(tmp_path) as system:
        for line in (connector, *nodes):
            system.command(*shlex.split(line)[1:])
        code, printed = terminal.understudy(invoke, system.url)
        assert (code, printed.splitlines()[-1]) == (0, "33")
