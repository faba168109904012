"""docs/push.md: its services perform what its commands ask for."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from tests.acceptance.page_run import EDGE_PORT, open_page
from tests.acceptance.system import Program, System, open_system, until
from tests.acceptance.test_docs import blocks, programs, session
from tests.integration.sdk.edge.push.test_lambda import serving_on_platform
from tests.integration.sdk.edge.rig import port_of
from understudy.bench.deployment import free_port
from understudy.signatures import parse_keys

PAGE = "docs/push.md"
#: what calls the function of the page with events
MAIN = """\
import json, sys
from lambda_function import handler

print("service listens", flush=True)
for line in sys.stdin:
    print(json.dumps(handler(json.loads(line), None)), flush=True)
"""


def commands(program: str) -> list[str]:
    """Return the commands of the page that run a program."""
    console = [block for block in blocks(PAGE) if block.language == "console"]
    lines = [command for block in console for command, _ in session(block.text)]
    return [each for each in lines if re.search(rf"\b{program} ", each)]


def test_the_first_run_of_the_page(tmp_path: Path) -> None:
    with open_page(PAGE, tmp_path) as run:
        make_key = next(each for each in run.commands if "openssl" in each)
        run.run(make_key)
        assert len(parse_keys((tmp_path / "push.key").read_text(), "push.key")) == 1
        run.write("service.py", programs()[PAGE, "service.py"])
        run.start(run.one("understudy broker"), "listening on")
        edge = run.one("understudy edge --push private:")
        run.start(edge, f"understudy edge: http://{run.place(EDGE_PORT)}")
        run.export()
        # Its own usual port is that of the page.
        serve = run.one("hypercorn")
        run.commands[f"{serve} --bind 127.0.0.1:8000"] = ""
        run.start(f"{serve} --bind 127.0.0.1:8000", "Running on")
        call, again = [each for each in run.commands if each.startswith("understudy invoke")]
        run.run(call)
        promises = run.runtime.promises
        until("it asks", lambda: any(promises.search(tags={"understudy:external": "true"})))
        run.run(run.one("understudy promises"))
        assert run.run(again) == run.commands[again]


def _edge(system: System, own: int, line: str) -> str:
    """Run an edge as the page says, which pushes to a port of this machine; return its address."""
    words = shlex.split(re.sub(r"--push '?[^ ]+'?", f"--push private:127.0.0.1:{own}", line))[1:]
    at = words.index("--push-url")
    edge = system.command(*words[:at], *words[at + 2 :], "--listen", "127.0.0.1:0")
    return f"http://127.0.0.1:{port_of(edge)}"


def test_the_service_over_grpc(tmp_path: Path) -> None:
    (tmp_path / "push.key").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (tmp_path / "rpc_service.py").write_text(programs()[PAGE, "rpc_service.py"])
    own = free_port()
    _, edge_line, _ = commands("understudy edge")
    with open_system(tmp_path) as system:
        environment = {
            "EDGE": _edge(system, own, edge_line),
            "LISTEN": f"127.0.0.1:{own}",
            "UNDERSTUDY_PUSH_KEY": (tmp_path / "push.key").read_text(),
        }
        words = [sys.executable, "rpc_service.py"]
        service = Program(words, tmp_path / "service.log", environment, tmp_path)
        try:
            target = f"grpc://127.0.0.1:{own}"
            call = system.runtime.options(target=target).rpc("charge-7", "charge", 100)
            assert call.result(30) == "charged 100"
        finally:
            service.kill_group()


def test_the_function_on_aws_lambda(tmp_path: Path) -> None:
    """As on that platform, it is frozen after each answer."""
    (tmp_path / "push.key").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (tmp_path / "lambda_function.py").write_text(programs()[PAGE, "lambda_function.py"])
    (tmp_path / "main.py").write_text(MAIN)
    own = free_port()
    *_, edge_line = commands("understudy edge")
    with open_system(tmp_path) as system:
        environment = {
            "EDGE": _edge(system, own, edge_line),
            "UNDERSTUDY_PUSH_KEY": (tmp_path / "push.key").read_text(),
        }
        with serving_on_platform(tmp_path, own, "main.py", **environment) as service:
            target = f"http://127.0.0.1:{own}/understudy"
            call = system.runtime.options(target=target).rpc("charge-7", "charge", 100)
            until("it is answered", lambda: service.answers == [200])
            system.runtime.promises.resolve("charge-7.approval", "Ann")
            assert call.result(30) == "charged 100, approved by Ann"
