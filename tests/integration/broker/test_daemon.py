"""The broker as a process: its first line, its signals, its errors."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import trio

from understudy_broker.link.link import open_link
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, Response
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_broker.transport import zeromq_router
from understudy_store.commands import PromiseCreate
from understudy_store.records import Value

PROGRAM = """
import json, sys
from understudy_broker.server.daemon import run_broker
from understudy_broker.server.settings import load_settings
sys.exit(run_broker(load_settings(flags=json.loads(sys.argv[1]))))
"""


#: a broker that soon closes connections which say nothing
HASTY = f"""
from understudy_broker.transport import zeromq_router
zeromq_router.HANDSHAKE_MS = 1_000
{PROGRAM}
"""


def command(program: str = PROGRAM, **flags: object) -> list[str]:
    flags = {"listen": "tcp://127.0.0.1:0", "store": "memory", "log_format": "json"} | flags
    return [sys.executable, "-c", program, json.dumps(flags)]


@contextmanager
def started(
    cwd: Path,
    preexec_fn: Callable[[], None] | None = None,
    program: str = PROGRAM,
    **flags: object,
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A broker and its first line."""
    process = subprocess.Popen(
        command(program, **flags), stderr=subprocess.PIPE, text=True, cwd=cwd, preexec_fn=preexec_fn
    )
    assert process.stderr is not None
    try:
        yield process, json.loads(process.stderr.readline())["event"]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def endpoint_in(line: str) -> str:
    return line.partition("listening on ")[2].partition(",")[0]


def test_the_first_line_tells_version_address_and_store(tmp_path: Path) -> None:
    with started(tmp_path, store="sqlite:///x.db") as (process, line):
        assert line.startswith("understudy broker ")
        assert endpoint_in(line).startswith("tcp://127.0.0.1:")
        assert f"store sqlite:///{tmp_path}/x.db" in line
        assert line.endswith(f"process {process.pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_stops_in_order(tmp_path: Path, number: int) -> None:
    hello = Hello(PROTOCOL_VERSION, "client", "g", "c", "1", os.getpid(), "h", "t")
    with started(tmp_path) as (process, line):
        reasons: list[str] = []
        async with open_link(
            endpoint_in(line), lambda: hello, print, on_disconnected=reasons.append
        ) as link:
            with trio.fail_after(20):
                await link.wait_connected()
                process.send_signal(number)
                assert await trio.to_thread.run_sync(process.wait) == 0
                while not reasons:
                    await trio.sleep(0.01)
            assert reasons == ["the broker has stopped"]


def test_the_second_signal_exits_at_once(tmp_path: Path) -> None:
    with started(tmp_path) as (process, _):
        process.send_signal(signal.SIGSTOP)  # so that both are there when it looks
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) in (130, 143)  # whichever came second


def test_errors_at_the_start_are_one_line(tmp_path: Path) -> None:
    with started(tmp_path, store="sqlite:///x.db") as (_, line):
        for flags, said in [
            ({"listen": endpoint_in(line)}, "is in use"),
            ({"store": "sqlite:///x.db"}, "is open in process"),
            ({"store": "nosuch://x"}, "names no store"),
        ]:
            run = subprocess.run(
                command(**flags), cwd=tmp_path, capture_output=True, text=True, timeout=30
            )
            assert run.returncode == 1
            [text] = run.stderr.splitlines()
            assert said in json.loads(text)["event"]


def test_listening_to_others_is_warned_about(tmp_path: Path) -> None:
    with started(tmp_path, listen="tcp://0.0.0.0:0", insecure=True, allow_root=True) as (_, line):
        assert "no authentication" in line
        assert "(--insecure)" in line


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_idle_broker_is_small(tmp_path: Path) -> None:
    with started(tmp_path, store="sqlite:///x.db") as (process, _):
        status = Path(f"/proc/{process.pid}/status").read_text()
        [rss] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
        assert int(rss) < 90 * 1024


def test_peers_are_refused_before_the_descriptors_run_out(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 64))

    with started(tmp_path, limit) as (process, said):
        assert "peers may connect instead of 10,000 (peers_max)" in said
        assert "64 open files" in said
        assert process.stderr is not None
        assert "listening on" in json.loads(process.stderr.readline())["event"]


async def test_an_ipv6_address(tmp_path: Path) -> None:
    hello = Hello(PROTOCOL_VERSION, "client", "g", "c", "1", os.getpid(), "h", "t")
    with started(tmp_path, listen="tcp://[::1]:0") as (_, line):
        address = line.partition("listening on ")[2].partition(", ")[0]
        assert address.startswith("tcp://[::1]:")
        async with open_link(address, lambda: hello, print) as link:
            with trio.fail_after(20):
                await link.wait_connected()


async def test_connections_that_say_nothing_leave_room_for_refusals_in_words(
    tmp_path: Path,
) -> None:
    """Strangers take the descriptors of a broker; a peer is told so, and joins when they go."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    hello = Hello(PROTOCOL_VERSION, "client", "g", "c", "1", os.getpid(), "h", "t")
    with started(tmp_path, limit) as (process, warning), ExitStack() as strangers:
        assert process.stderr is not None
        most = int(warning.split()[0])
        endpoint = endpoint_in(json.loads(process.stderr.readline())["event"])
        host, _, port = endpoint.removeprefix("tcp://").partition(":")
        for _ in range(most + 5):
            strangers.enter_context(socket.create_connection((host, int(port)), 10))
        with trio.fail_after(20):
            line = await trio.to_thread.run_sync(process.stderr.readline, abandon_on_cancel=True)
        said = json.loads(line)["event"]
        assert f"the limit of open files allows {most}" in said
        assert "ulimit -n" in said
        async with open_link(endpoint, lambda: hello, print) as link:
            with trio.fail_after(20):
                while "the broker refuses this peer for now" not in (link.last_error or ""):
                    await trio.sleep(0.01)
                assert link.last_error is not None
                assert f"open files (ulimit -n, LimitNOFILE) allows {most}" in link.last_error
                strangers.close()
                await link.wait_connected()
        assert process.poll() is None


async def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeromq_router, "HANDSHAKE_MS", 50)
    with EmbeddedBroker() as running:
        host, _, port = running.endpoint.removeprefix("tcp://").partition(":")
        stranger = await trio.open_tcp_stream(host, int(port))
        async with stranger:
            with trio.fail_after(20):
                while await stranger.receive_some(1024):
                    pass


LOCKER = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another program have SQLite's lock on a store's file."""
    argv = [sys.executable, "-c", LOCKER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_start_that_waits_for_another_program(tmp_path: Path, number: int) -> None:
    url = "sqlite:///x.db"
    with started(tmp_path, store=url) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    with locked(tmp_path / "x.db"):
        with started(tmp_path, store=url) as (process, line):
            assert line.startswith("waiting for ")
            process.send_signal(number)
            assert process.wait(20) == 0, "it waits for the lock no longer"
            assert process.stderr is not None
            [said] = process.stderr.read().splitlines()
            assert "was not opened: the wait for another program's lock was ended" in said
        assert not (tmp_path / "x.db.journal").exists()
    # Nothing of it is left in the way.
    with started(tmp_path, store=url) as (process, line):
        assert "listening on" in line


def test_a_backup_of_a_running_broker_says_how_to_open_it(tmp_path: Path) -> None:
    with (
        started(tmp_path, store="sqlite:///x.db"),
        closing(sqlite3.connect(tmp_path / "x.db")) as file,
        closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
    ):
        file.backup(copy)  # as ``.backup`` of SQLite's shell
    (tmp_path / "copy.db").chmod(0o600)
    with started(tmp_path, store="sqlite:///copy.db") as (process, line):
        assert process.wait(20) == 1
        assert "copy.db.journal is missing" in line
        assert "as in a backup of a running broker" in line
        assert "start once with 'understudy broker --accept-lost-journal'" in line
    for accepts in (True, False):
        with started(tmp_path, store="sqlite:///copy.db", accept_lost_journal=accepts) as (
            process,
            line,
        ):
            assert "listening on" in line
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


async def test_a_broker_outlives_more_strangers_than_it_has_descriptors(tmp_path: Path) -> None:
    """They say nothing, so each of them is closed after a while, and then there is room."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    hello = Hello(PROTOCOL_VERSION, "client", "g", "c", "1", os.getpid(), "h", "t")
    with (
        started(tmp_path, limit, HASTY, store="sqlite:///x.db") as (process, _),
        ExitStack() as strangers,
    ):
        assert process.stderr is not None
        endpoint = endpoint_in(json.loads(process.stderr.readline())["event"])
        host, _, port = endpoint.removeprefix("tcp://").partition(":")
        for _ in range(200):
            strangers.enter_context(socket.create_connection((host, int(port)), 10))
        with trio.fail_after(60):
            async with open_link(endpoint, lambda: hello, print) as link:
                await link.wait_connected()
                made = await link.call(PromiseCreate("p", 2**50, Value({}, b"x"), {}))
        assert isinstance(made, Response)
        assert made.reply.ok
        assert process.poll() is None


def test_the_first_line_tells_the_file_of_the_settings_and_the_user(tmp_path: Path) -> None:
    """The working directory may be somebody else's, and the file in it says where to listen."""
    (tmp_path / "understudy.toml").write_text('[broker]\nstore = "memory"\n')
    with started(tmp_path) as (_, line):
        assert f"settings of {tmp_path}/understudy.toml" in line
        assert ("(as root)" in line) == (os.geteuid() == 0)
