"""Nodes and their supervisor: signals to all of them, calls that end their process, broken output.

Every process is a real one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.integration.cli.programs import (
    PATIENCE_S,
    Program,
    descendants,
    environment,
    run,
    wait_until,
)
from tests.support import free_url
from understudy import RemoteError, Runtime
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker

#: nodes in a row that a broker lets die of one task
DEATHS_MAX = BrokerConfig().deaths_max

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

APP = """
import multiprocessing, os, subprocess, sys, time
from pathlib import Path

from understudy import Context, Never, Runtime

runtime = Runtime(group="g", retry=Never())

@runtime.register
def wait(ctx: Context, name: str) -> str:
    Path(f"{name}.began").touch()
    while not Path(f"{name}.go").exists():
        print("waiting", flush=True)
        time.sleep(0.01)
    return "done"

@runtime.register
def end(ctx: Context, how: str, code: int) -> None:
    if how == "exit":
        sys.exit(code)
    if how == "kill":
        os.kill(os.getpid(), code)
        time.sleep(60)
    os._exit(code)

@runtime.register
def echo(ctx: Context, text: str) -> str:
    print("says", text)
    print("warns", text, file=sys.stderr)
    return text

@runtime.register
def child_echo(ctx: Context, text: str) -> str:
    subprocess.run(["echo", "child says", text], check=True)
    return echo(ctx, text)

@runtime.register
def close_output(ctx: Context) -> None:
    with sys.stdout as stream:
        stream.write("the last line, it thinks\\n")
    sys.stdout.buffer.close()
    with sys.stderr:
        sys.stderr.buffer.close()

@runtime.register
def fail(ctx: Context) -> None:
    raise LookupError("told of")

def dawdle() -> None:
    print("a child", flush=True)
    time.sleep(60)

@runtime.register
def leave(ctx: Context) -> None:
    subprocess.run(["sh", "-c", "(sleep 0.01 &) ; exit 0"], check=True)

@runtime.register
def processes(ctx: Context) -> list[str]:
    states = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        states.append(status.read_text().rpartition(")")[2].split()[0])
    return states

@runtime.register
def fork(ctx: Context) -> list[int | None]:
    processes = multiprocessing.get_context("fork")
    child = processes.Process(target=dawdle)
    child.start()
    child.terminate()
    child.join(20)
    with processes.Pool(2) as pool:
        pool.apply_async(time.sleep, (60,))
    pool.join()
    return [child.exitcode]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def begin(folder: Path, calls: Runtime, name: str) -> None:
    """Begin a call of `wait` that goes on until `name`.go exists."""
    calls.rpc(name, "wait", name)
    wait_until((folder / f"{name}.began").exists, lambda: f"{name} has not begun")


def signal_all(program: Program, number: signal.Signals, times: int) -> None:
    """Send a signal to the program and to everything that it has started, as systemd does."""
    for pid in [program.process.pid, *descendants(program.process.pid)]:
        # In a row, because signals to one process that are some time apart are two requests.
        for _ in range(times):
            os.kill(pid, number)


# Signals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("forked", "number"), [("0", signal.SIGTERM), ("1", signal.SIGINT)])
def test_a_signal_to_all_processes_drains_once(
    folder: Path, forked: str, number: signal.Signals
) -> None:
    url = free_url()
    (folder / "topology.toml").write_text(
        f'[broker]\nlisten = "{url}"\nstore = "sqlite:///calls.db"\n'
        '[[group]]\nname = "g"\napp = "app:runtime"\nnodes = 2\n'
    )
    with Program("up", cwd=folder, UNDERSTUDY_FORK=forked) as program:
        program.wait_for("up: ")
        with Runtime(group="tests", url=url) as runtime:
            for name in ("w-1", "w-2"):
                begin(folder, runtime.options(target="g"), name)
        signal_all(program, number, times=2)  # which is one request
        program.wait_for("stopping once the running calls", times=2)
        (folder / "w-1.go").touch()
        (folder / "w-2.go").touch()
        assert program.wait_for_exit() == 128 + number
    assert "killing it" not in program.output
    with (
        EmbeddedBroker(f"sqlite:///{folder}/calls.db") as broker,
        Runtime(group="tests", url=broker.endpoint) as runtime,
    ):
        assert [runtime.get(name).result(PATIENCE_S) for name in ("w-1", "w-2")] == ["done"] * 2


def test_a_broker_of_a_pool_that_is_signaled_alone_starts_again(folder: Path) -> None:
    url = free_url()
    (folder / "topology.toml").write_text(f'[broker]\nlisten = "{url}"\nstore = "memory"\n')
    with Program("up", cwd=folder) as program:
        program.wait_for("listening on")
        [pid] = descendants(program.process.pid)
        os.kill(pid, signal.SIGTERM)
        program.wait_for("listening on", times=2)
        assert "broker exited with code 0; starting it again" in program.output
        assert program.stop() == 143


def test_children_of_functions_end_at_the_first_signal(
    folder: Path, url: str, calls: Runtime
) -> None:
    with Program("node", "app", cwd=folder, UNDERSTUDY_URL=url) as node:
        node.wait_for("serves")
        assert calls.rpc("fork-1", "fork").result(PATIENCE_S) == [-signal.SIGTERM]


# Calls that end their process -------------------------------------------------------------------


@pytest.mark.parametrize("forked", ["0", "1"])
def test_a_call_that_ends_its_process_ends_nothing_else(
    folder: Path, url: str, calls: Runtime, forked: str
) -> None:
    args = ("spawn", "app", "--group", "g", "--nodes", "2")
    with Program(*args, cwd=folder, UNDERSTUDY_URL=url, UNDERSTUDY_FORK=forked) as program:
        program.wait_for("up: ")
        ends = [("now", 2), ("now", 0), ("now", 1), ("kill", signal.SIGKILL)]
        # In the end more restarts than a process that cannot start is allowed.
        for number, (how, code) in enumerate(ends, start=1):
            calls.rpc(f"end-{how}-{code:d}", "end", how, int(code))
            # One after the other, because a process that dies counts against all that it holds.
            for deaths in range(DEATHS_MAX * (number - 1), DEATHS_MAX * number):
                program.wait_for("starting it again", times=deaths + 1)
        assert calls.rpc("echo-1", "echo", "alive").result(PATIENCE_S) == "alive"
        assert "usage error" not in program.output
        assert program.stop() == 143


def test_a_leaf_that_exits_fails_and_its_node_goes_on(
    folder: Path, url: str, calls: Runtime
) -> None:
    with Program("node", "app", cwd=folder, UNDERSTUDY_URL=url) as node:
        node.wait_for("serves")
        for code in (0, 3):
            with pytest.raises(RemoteError, match="SystemExit"):
                calls.rpc(f"end-{code}", "end", "exit", code).result(PATIENCE_S)
        assert calls.rpc("echo-1", "echo", "alive").result(PATIENCE_S) == "alive"
        assert node.process.poll() is None


# What an app makes at import --------------------------------------------------------------------

STATE = """
import random
{imports}
from understudy import Context, Runtime

runtime = Runtime(group="g", concurrency=1)
chance, chosen = random.Random(), random.Random(7)
made = {made}

@runtime.on_node_start
def name() -> None:
    runtime.set_dependency("name", chance.getrandbits(64))

@runtime.register
def values(ctx: Context) -> list[object]:
    first = [chance.getrandbits(64), str(made), ctx.get_dependency("name")]
    chance.seed(1)  # a second call of this node would continue the sequence
    return [*first, chosen.getrandbits(64)]
"""


@pytest.mark.parametrize(
    ("imports", "made", "said"),
    [
        ("", "0", None),
        ("import logging", "logging.getLogger().warning('at import')", None),
        ("import multiprocessing", "0", None),
        ("import os", "os.getpid()", "reads its process id (state.py, line 8)"),
        ("import uuid", "uuid.uuid4()", "draws random bytes (state.py, line 8)"),
        ("import secrets", "secrets.token_hex()", "draws random bytes (state.py, line 8)"),
        ("", "random.random()", "draws random numbers"),
    ],
)
def test_what_must_differ_is_not_the_same_in_each_node(
    folder: Path, url: str, calls: Runtime, imports: str, made: str, said: str | None
) -> None:
    (folder / "state.py").write_text(STATE.format(imports=imports, made=made))
    args = ("spawn", "state", "--group", "g", "--nodes", "2")
    with Program(*args, cwd=folder, UNDERSTUDY_URL=url) as program:
        program.wait_for("up: ")
        # What the nodes write may come after it.
        program.wait_for(" of group g", 2)
        nodes = set(re.findall(r"node (g-\w+) of", program.output))
        assert len(nodes) == 2
        values = []
        for node in nodes:
            there = calls.options(target=f"poll://uni@g/{node}")
            values.append(there.rpc(node, "values").result(PATIENCE_S))
        (chance, text, name, chosen), (chance_2, text_2, name_2, chosen_2) = values
        assert chance != chance_2
        assert name != name_2
        assert chosen == chosen_2
        assert (text != text_2) == (said is not None)
        assert ("started one by one" in program.output) == (said is not None)
        assert said is None or said in program.output


# Process 1 of a container ------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a PID namespace")
@pytest.mark.parametrize("command", ["node", "spawn"])
def test_process_1_reaps_and_stops_in_order(
    folder: Path, url: str, calls: Runtime, command: str
) -> None:
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    args = [sys.executable, "-m", "understudy", command, "app", "--group", "g"]
    with subprocess.Popen(
        [*namespace, *args], cwd=folder, env=environment(UNDERSTUDY_URL=url)
    ) as outer:
        try:
            for number in range(3):
                calls.rpc(f"leave-{number}", "leave").result(PATIENCE_S)

            def reaped() -> bool:
                look = calls.rpc(f"look-{os.urandom(4).hex()}", "processes")
                states = look.result(PATIENCE_S)
                return "S" in states and "Z" not in states

            wait_until(reaped, lambda: "zombies are left")
            first = descendants(outer.pid)[0]
            os.kill(first, signal.SIGTERM)
            assert outer.wait(PATIENCE_S) == 143
        finally:
            outer.kill()


# Output -----------------------------------------------------------------------------------------


def test_prints_do_not_fail_once_the_supervisor_is_killed(
    folder: Path, url: str, calls: Runtime
) -> None:
    with Program("spawn", "app", "--group", "g", cwd=folder, UNDERSTUDY_URL=url) as program:
        program.wait_for("up: ")
        begin(folder, calls, "w-1")
        program.process.kill()
        program.process.wait()
        (folder / "w-1.go").touch()
        assert calls.get("w-1").result(PATIENCE_S) == "done"


@pytest.mark.parametrize(("forked", "encoding"), [("0", "ascii"), ("1", "latin-1")])
def test_no_character_silences_the_output(
    folder: Path, url: str, calls: Runtime, forked: str, encoding: str
) -> None:
    env = {"UNDERSTUDY_URL": url, "UNDERSTUDY_FORK": forked, "PYTHONIOENCODING": encoding}
    with Program("spawn", "app", "--group", "g", cwd=folder, **env) as program:
        program.wait_for("up: ")
        for id, text in (("e-1", "one"), ("e-2", "caf\u00e9 \U0001f600 \ud7ff"), ("e-3", "three")):
            assert calls.rpc(id, "child_echo", text).result(PATIENCE_S) == text
        program.wait_for("says three")
        program.wait_for("warns three")
        program.wait_for("says caf", times=2)


@pytest.mark.parametrize("command", ["node", "spawn"])
def test_a_function_that_closes_the_output_closes_it_for_nobody(
    folder: Path, url: str, calls: Runtime, command: str
) -> None:
    with Program(command, "app", "--group", "g", cwd=folder, UNDERSTUDY_URL=url) as program:
        program.wait_for("up: " if command == "spawn" else "serves")
        calls.rpc("close", "close_output").result(PATIENCE_S)
        program.wait_for("the last line, it thinks")
        with pytest.raises(LookupError, match="told of"):
            calls.rpc("fail", "fail").result(PATIENCE_S)
        program.wait_for("LookupError: told of")
        assert calls.rpc("echo", "echo", "later").result(PATIENCE_S) == "later"
        program.wait_for("says later")
        program.wait_for("warns later")
        program.process.terminate()
        assert program.wait_for_exit() == 128 + signal.SIGTERM


@pytest.mark.parametrize("command", ["node", "spawn"])
@pytest.mark.parametrize("redirection", [">&- 2>&- <&-", "> /dev/full 2>&1", "2>&1 | true"])
def test_no_output_ends_a_node(
    folder: Path, url: str, calls: Runtime, command: str, redirection: str
) -> None:
    line = f"{sys.executable} -m understudy {command} app --group g {redirection}"
    # What a function starts writes to the full disk itself, and says so; a pool reads from a pipe.
    function = "echo" if command == "node" and "full" in redirection else "child_echo"
    with subprocess.Popen(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(UNDERSTUDY_URL=url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as shell:
        try:
            # A node notices by its own first output that nobody reads it.
            for id, name in (("echo-1", "echo"), ("echo-2", function)):
                assert calls.rpc(id, name, id).result(PATIENCE_S) == id
            assert shell.poll() is None
        finally:
            for pid in [*descendants(shell.pid), shell.pid]:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("redirection", [">&- 2>&- <&-", "> /dev/full 2>&1", "2>&1 | true"])
def test_no_output_ends_a_broker(folder: Path, redirection: str) -> None:
    url = free_url()
    line = f"{sys.executable} -m understudy broker --store calls.db --listen {url} {redirection}"
    with subprocess.Popen(
        ["bash", "-c", line], cwd=folder, env=environment(), start_new_session=True
    ) as shell:
        try:
            for id in ("p-1", "p-2"):
                create = partial(run, "promises", "create", id, "--url", url, cwd=folder)
                wait_until(
                    lambda create=create: create().returncode == 0,  # type: ignore[misc]
                    lambda: f"no broker; the shell has ended with {shell.poll()}",
                )
            assert shell.poll() is None
            # Nothing but the store itself is written into its files.
            assert (folder / "calls.db").read_bytes().startswith(b"SQLite format 3\0")
        finally:
            for pid in [*descendants(shell.pid), shell.pid]:
                os.kill(pid, signal.SIGKILL)


def test_a_command_says_that_its_output_has_no_room(folder: Path, url: str) -> None:
    line = f"{sys.executable} -m understudy promises create p-1 --url {url} > /dev/full"
    ran = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr == "understudy: No space left on device\n"


def test_json_is_json_in_every_encoding(folder: Path, url: str) -> None:
    args = (
        "promises",
        "create",
        "caf\u00e9",
        "--value",
        '"\u00e9"',
        "--url",
        url,
        "--json",
    )
    for encoding in ("ascii", "latin-1", "utf-8"):
        ran = subprocess.run(
            [sys.executable, "-m", "understudy", *args],
            cwd=folder,
            env=environment(PYTHONIOENCODING=encoding),
            capture_output=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout.decode(encoding))["id"] == "caf\u00e9"
