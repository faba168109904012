"""A broker as a process, asked for more than it may hold: how much memory it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from understudy_broker.link.link import Link, open_link
from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    GroupsGet,
    Hello,
    Response,
)
from understudy_store.commands import PromiseCreate, PromiseGet, PromiseSettle, Reply
from understudy_store.records import Value

PROGRAM = """
import json, sys
from understudy_broker.server.daemon import run_broker
from understudy_broker.server.settings import load_settings
sys.exit(run_broker(load_settings(flags=json.loads(sys.argv[1]))))
"""
DEADLINE_S = 60.0
MIB = 1 << 20


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Its address and its process."""
    flags = {"listen": "tcp://127.0.0.1:0", "store": "sqlite:///x.db", "log_format": "json"}
    command = [sys.executable, "-c", PROGRAM, json.dumps(flags)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())["event"]
        yield line.partition("listening on ")[2].partition(",")[0], process.pid
        process.kill()


def peak_bytes(pid: int) -> int:
    """The most memory that the process has held until now."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def reply(link: Link, command: AnyCommand) -> Reply:
    answer = await link.call(command)
    assert isinstance(answer, Response), answer
    return answer.reply


async def settled(link: Link, id_: str, size: int) -> None:
    at = time.time_ns() // 1_000_000 + 600_000
    assert (await reply(link, PromiseCreate(id_, at))).ok
    assert (await reply(link, PromiseSettle(id_, "resolved", Value({}, bytes(size))))).ok


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(("asked", "different"), [(400, 1), (80, 80)])
async def test_a_peer_that_asks_for_much_gets_all_of_it(
    broker: tuple[str, int], asked: int, different: int
) -> None:
    """Up to 1.2 gigabytes are asked for; the broker neither holds them nor drops who asked."""
    url, pid = broker
    size = 3 * MIB
    hello = Hello(PROTOCOL_VERSION, "client", "g", "c", "1", os.getpid(), "h", "t")
    got: list[int] = []
    done = trio.Event()

    def on_reply(answer: Answer) -> None:
        assert isinstance(answer, Response), answer
        assert answer.reply.promise is not None
        got.append(len(answer.reply.promise.value.data or b""))
        if len(got) == asked:
            done.set()

    with trio.fail_after(DEADLINE_S):
        async with open_link(url, lambda: hello, lambda _: None) as link:
            await link.wait_connected()
            for number in range(different):
                await settled(link, f"p{number}", size)
            for number in range(asked):
                link.request(PromiseGet(f"p{number % different}"), on_reply)
            await done.wait()
            answer = await link.call(GroupsGet())
            assert isinstance(answer, Response)
            assert answer.report is not None
            counters = answer.report.counters
    assert got == [size] * asked
    assert counters["peers_too_slow"] == counters["connections_lost"] == 0
    assert link.statistics().connections == 1
    assert peak_bytes(pid) < 400 * MIB
