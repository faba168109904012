"""Thousands of idle event streams at one edge: each is told, and they cost little memory.

``EDGE_STREAMS=10000`` in the environment opens more of them, which takes a minute.
"""

from __future__ import annotations

import os
import re
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.system import until
from tests.integration.sdk.edge.rig import Rig, open_rig
from understudy_broker.process import raise_descriptor_limit

STREAMS = int(os.environ.get("EDGE_STREAMS", "3000"))
#: opened at a time: a listening socket has room for so many
AT_ONCE = 250
#: of the memory of 1,000 streams, with some room for another machine
MIB_OF_1000 = 60
REQUEST = b"GET /calls/idle/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path) as rig:
        yield rig


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def open_streams(rig: Rig, count: int, stack: ExitStack) -> list[socket.socket]:
    """Open streams that have told their promise, which is pending."""
    opened = []
    for start in range(0, count, AT_ONCE):
        batch = [stack.enter_context(rig.connect()) for _ in range(min(AT_ONCE, count - start))]
        for connection in batch:
            connection.sendall(REQUEST)
        for connection in batch:
            got = b""
            while b"event: promise" not in got:
                got += connection.recv(4096)
        opened += batch
    return opened


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_many_idle_streams(rig: Rig) -> None:
    raise_descriptor_limit()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < STREAMS + 500:
        pytest.skip(f"a process may have fewer than {STREAMS} files open here")
    rig.post("/calls/shop/approve?id=idle")
    with ExitStack() as stack:
        open_streams(rig, 50, stack)
        before = memory_mib(rig.edge.pid)
        streams = open_streams(rig, 1_000, stack)
        used = memory_mib(rig.edge.pid) - before
        print(f"1,000 streams: {used:.1f} MiB")
        assert used <= MIB_OF_1000
        streams += open_streams(rig, STREAMS - 1_050, stack)
        print(f"{STREAMS:,} streams: {memory_mib(rig.edge.pid) - before:.1f} MiB")
        # The edge has time for others, and each stream is told when the promise has settled.
        assert rig.post("/calls/shop/add?wait=30s", [1]).json()["value"]["data"] == 3
        assert rig.post("/promises/idle.answer/resolve", 7).status_code == 200
        left = set(streams)
        poll = select.poll()
        by_number = {stream.fileno(): stream for stream in streams}
        for number in by_number:
            poll.register(number, select.POLLIN)
        ended: dict[int, bytes] = dict.fromkeys(by_number, b"")

        def all_have_ended() -> bool:
            for number, _ in poll.poll(100):
                ended[number] += by_number[number].recv(65_536)
                if b"event: end" in ended[number]:
                    poll.unregister(number)
                    left.discard(by_number[number])
            return not left

        until("each stream has ended", all_have_ended)
