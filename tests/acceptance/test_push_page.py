"""docs/push.md: its service performs what its commands ask for."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from tests.acceptance.system import Program, open_system, until
from tests.acceptance.test_docs import Terminal, blocks, programs, session, terminal
from tests.integration.sdk.edge.rig import port_of
from understudy.bench.deployment import free_port
from understudy.signatures import parse_keys

__all__ = ["terminal"]

PAGE = "docs/push.md"


def commands(program: str) -> list[str]:
    """Return the commands of the page that run a program."""
    console = [block for block in blocks(PAGE) if block.language == "console"]
    lines = [command for block in console for command, _ in session(block.text)]
    return [each for each in lines if re.search(rf"\b{program} ", each)]


def test_the_service_of_the_page(tmp_path: Path, terminal: Terminal) -> None:
    [make_key] = commands("openssl")
    assert os.system(make_key) == 0
    assert len(parse_keys((tmp_path / "push.key").read_text(), "push.key")) == 1
    [edge_line] = commands("edge")
    [serve] = commands("hypercorn")
    (tmp_path / "service.py").write_text(programs()[PAGE, "service.py"])
    own = free_port()
    with open_system(tmp_path) as system:
        line = edge_line.replace("pay.example", f"private:127.0.0.1:{own}")
        line = line[: line.index(" --push-url")]
        edge = system.command(*shlex.split(line)[1:], "--listen", "127.0.0.1:0")
        here = f"http://127.0.0.1:{own}/understudy"
        environment = {
            "HERE": here,
            "EDGE": f"http://127.0.0.1:{port_of(edge)}",
            "UNDERSTUDY_PUSH_KEY": (tmp_path / "push.key").read_text(),
        }
        words = [sys.executable, "-m", *shlex.split(serve), "--bind", f"127.0.0.1:{own}"]
        service = Program(words, tmp_path / "service.log", environment, tmp_path)
        try:
            until("the service listens", lambda: "Running on" in service.output)
            [call, approve] = [
                each.replace("https://pay.example/understudy", here)
                for each in commands("understudy invoke") + commands("understudy promises")
            ]
            assert terminal.understudy(call, system.url)[0] == 0
            promises = system.runtime.promises
            until("it asks", lambda: any(promises.search(tags={"understudy:external": "true"})))
            assert terminal.understudy(approve, system.url)[0] == 0
            call_again = system.runtime.options(target=here).rpc("charge-7", "charge", 100)
            assert call_again.result(30) == "100 and a fee of 10, approved by Ann"
        finally:
            service.kill_group()
