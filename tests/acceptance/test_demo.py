"""The demo as `make demo` runs it: its story, a failure, an interrupt. Nothing is left behind."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.acceptance.demo_run import Run, empty_folder
from tests.acceptance.system import until

DEMO = ["-m", "examples.async_rpc.demo"]

#: a line of each part of the story, in order
KEY_LINES = [
    r"^1\. 11 processes run: a broker, nine services, a gateway",
    r'^   POST /await-chain  →  \{"message": 3\}',
    r'^   POST /detached-chain  →  \{"message": "detached-chain started"\}',
    r"^   a moment later service-f prints: 'the detached chain ends with 3'",
    r'^   POST /fan-out-workflow  →  \{"message": 3\}',
    r"^   while baz runs: service-b \(process \d+\) is killed with SIGKILL",
    r"^   service-b is back as process \d+",
    r'^   POST /await-chain\?id=await-chain-2&seconds=4  →  \{"message": 3\}',
    r"^   baz ran once",
    r"^   while baz runs: the gateway \(process \d+\) is killed with SIGKILL",
    r"^   POST /await-chain\?id=await-chain-3&seconds=4  →  no response",
    r"^   the gateway is back as process \d+",
    r'^   POST /await-chain\?id=await-chain-3&seconds=4  →  \{"message": 3\}',
    r"^   baz ran once",
    r"^7\. Whatever speaks HTTP can call them, through the edge",
    r"^   \$ curl -s --json '\[0\.5\]' 'http://127\.0\.0\.1:\d+/calls/service-a/foo\?id=by-curl'",
    r'^   \{"id":"by-curl","state":"pending"',
    r"^   \$ curl -sN http://127\.0\.0\.1:\d+/calls/by-curl/events",
    r"^   event: promise",
    r"^   event: end",
    r"^   \$ understudy tree await-chain-2",
    r"^   await-chain-2 +foo\(4\.0\) +resolved",
    r"^ +└─ await-chain-2\.1 +bar\(4\.0\) +resolved",
    r"^ +└─ await-chain-2\.1\.1 +baz\(4\.0\) +resolved",
    r"^   \$ understudy groups",
    r"^   service-a +service-a-1 ",
    r"^   service-i +service-i-1 ",
    r"^Everything is stopped\.",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return empty_folder(tmp_path)


def test_the_demo_tells_its_story_and_leaves_nothing(folder: Path) -> None:
    run = Run(folder, DEMO)
    run.ends_with(0)
    assert list(folder.iterdir()) == []
    assert run.err == ""
    assert len(run.out.splitlines()) <= 75, run.out
    run.tells(KEY_LINES)


def test_a_demo_that_is_kept_names_its_dashboard(folder: Path) -> None:
    program = """
import sys
from examples.async_rpc import demo

async def only_start(system):
    await system.start()
    await demo.request(system, "/await-chain?id=await-chain-2", demo.AWAIT_CHAIN_RESPONSE)

demo.tell_parts = only_start
sys.exit(demo.main())
"""
    run = Run(folder, ["-c", program, "--keep"])
    until("the dashboard is named", lambda: "the call that survived" in run.out)
    [page] = re.findall(r"^   (http://\S+/call\S+) ", run.out, re.MULTILINE)
    answer = httpx.get(page, timeout=20)
    assert answer.status_code == 200
    assert "await-chain-2.1" in answer.text
    run.process.send_signal(signal.SIGINT)
    run.ends_with(130)
    assert list(folder.iterdir()) == []
    assert run.err == ""


def test_a_failure_is_reported_with_the_logs(folder: Path) -> None:
    change = "demo.AWAIT_CHAIN_RESPONSE = '{\"message\": 4}'"
    program = f"import sys; from examples.async_rpc import demo; {change}; sys.exit(demo.main())"
    run = Run(folder, ["-c", program])
    run.ends_with(1)
    assert 'The demo failed: POST /await-chain returned {"message": 3}' in run.err
    assert re.search(r"^service-c/1 +\| running function baz", run.err, re.MULTILINE)
    # The whole log is kept, and nothing else.
    (kept,) = folder.iterdir()
    assert str(kept) in run.err
    assert "running function foo" in kept.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_everything(folder: Path, number: signal.Signals) -> None:
    """Also if another one comes meanwhile, as from a supervisor after Ctrl-C at a terminal."""
    run = Run(folder, DEMO)
    until("some processes run", lambda: len(run.processes()) > 3)
    count = len(run.processes())
    run.process.send_signal(number)
    until("it stops", lambda: len(run.processes()) < count)
    run.process.send_signal(signal.SIGTERM)
    run.ends_with(128 + number)
    assert "interrupted: everything is stopped" in run.out
    assert list(folder.iterdir()) == []
    assert run.err == ""
