"""The example of a queue, and the first run of the page on queues, with a real Redis."""

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
from tests.services.fixture import running
from tests.services.redis import RedisServer
from tests.support import free_url
from understudy import Runtime

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "from_a_queue"
PAGE = (ROOT / "docs" / "queues.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(RedisServer) as server:
        yield server


def send(program: Path, url: str) -> None:
    subprocess.run(
        [sys.executable, program],
        env={**os.environ, "UNDERSTUDY_SOURCE_SERVER": url},
        timeout=PATIENCE_S,
        check=True,
    )


def results(runtime: Runtime, stream: str) -> set[str]:
    """What the calls of a stream have returned."""
    found = runtime.promises.search(tags={"source": f"redis:{stream}"}, state="resolved")
    return {str(promise.value()) for promise in found}


def test_the_example(tmp_path: Path, server: RedisServer) -> None:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.db*", "__pycache__"))
    url, file = free_url(), folder / "topology.toml"
    text = file.read_text(encoding="utf-8")
    assert "tcp://127.0.0.1:5577" in text
    file.write_text(text.replace("tcp://127.0.0.1:5577", url), encoding="utf-8")
    env = {"UNDERSTUDY_URL": "", "UNDERSTUDY_SOURCE_SERVER": server.url}
    up = Program([sys.executable, "-m", "understudy", "up"], tmp_path / "log", env, folder)
    runtime = Runtime(group="test", url=url, connect_timeout=PATIENCE_S)
    try:
        until("a source runs", lambda: "a broker answers" in up.output)
        send(folder / "send.py", server.url)
        expected = {f"order {n} of ann is checked out" for n in range(4)}
        until("all orders are checked out", lambda: results(runtime, "orders") == expected)
        until("the rest is recorded", lambda: "is no JSON" in up.output)
        [poison] = runtime.promises.search(tags={"poison": "no-json"})
        assert poison.param() == b"order 4, please"
    finally:
        runtime.stop()
        up.kill()


def page_program(name: str) -> str:
    found = re.search(rf"```python\n# file: {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_run_of_the_page(tmp_path: Path, server: RedisServer) -> None:
    (tmp_path / "shop.py").write_text(page_program("shop.py"))
    sender = page_program("send.py").replace('"orders"', '"page"')
    assert "redis.Redis()" in sender
    (tmp_path / "send.py").write_text(
        sender.replace("redis.Redis()", f"redis.Redis(port={server.port})")
    )
    commands = [
        shlex.split(line, comments=True)
        for line in re.findall(r"^\$ (understudy .*)$", PAGE, re.MULTILINE)
    ]
    source = next(words for words in commands if words[1] == "source")
    [node] = [words for words in commands if words[1] == "node"]
    with open_system(tmp_path) as system:
        system.command(*node[1:])
        renamed = [word.replace("orders", "page") for word in source[1:]]
        system.command(*renamed, "--server", server.url)
        send(tmp_path / "send.py", server.url)
        runtime = system.runtime
        expected = {f"order {n} of ann" for n in range(3)}
        until("all orders are done", lambda: results(runtime, "page") == expected)
        until(
            "the rest is recorded",
            lambda: len(list(runtime.promises.search(tags={"poison": "no-json"}))) == 1,
        )
        found = runtime.promises.search(tags={"source": "redis:page"})
        assert all(promise.id.startswith("order-") for promise in found)
