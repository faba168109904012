"""Commands that run until a signal: broker, node, spawn, up and dev, as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.programs import APP, Program, run, wait_until
from tests.support import eventually, free_url
from understudy import Runtime
from understudy.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app.py."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def broker(folder: Path) -> Iterator[str]:
    """The address of a broker with a store in memory."""
    url = free_url()
    with Program("broker", "--listen", url, "--store", "memory", cwd=folder) as program:
        program.wait_for("listening on")
        yield url


def data(capfd: pytest.CaptureFixture[str], *args: str) -> Any:
    """Run a command in this process; return the JSON data that it prints."""
    capfd.readouterr()
    assert main([*args, "--json"]) == 0, capfd.readouterr().err
    return json.loads(capfd.readouterr().out)


def pids(capfd: pytest.CaptureFixture[str], url: str, group: str) -> dict[str, int]:
    """Return node name to process id."""
    groups = {group["name"]: group for group in data(capfd, "groups", "--url", url)["groups"]}
    return {node["name"]: node["os_pid"] for node in groups.get(group, {"nodes": ()})["nodes"]}


def invoke(url: str, id: str, *args: str) -> int:
    return main(["invoke", id, *args, "--target", "g", "--wait", "--timeout", "30", "--url", url])


# Broker -----------------------------------------------------------------------------------------


def test_a_broker_keeps_promises_across_restarts(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = free_url()
    args = ("broker", "--store", "sqlite:///kept.db", "--log-format", "json")
    made = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with Program(*args, cwd=folder, UNDERSTUDY_BROKER__LISTEN=url) as program:
            program.wait_for(f"listening on {url}")
            made.append(data(capfd, "promises", "create", "kept-1", "--url", url))
            assert program.stop(number) == 0
        assert "Traceback" not in program.output
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--listen", "nowhere"), 2, "flag --listen"),
        (("--set", "lease_ttl_s=0"), 2, "lease_ttl_s"),
        (("--set", "color=red"), 2, "'color'"),
        (("--config", "absent.toml"), 2, "absent.toml"),
        (("--store", "redis://x"), 1, "names no store"),
    ],
)
def test_a_broker_explains_wrong_settings(
    args: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["broker", *args]) == code
    assert message in capsys.readouterr().err


def test_an_idle_broker_uses_little_memory(folder: Path) -> None:
    url = free_url()
    args = ("broker", "--listen", url, "--store", "sqlite:///calls.db")
    with Program(*args, cwd=folder) as program:
        program.wait_for("listening on")
        status = Path(f"/proc/{program.process.pid}/status")
        if not status.exists():
            pytest.skip("needs /proc")
        rss_kib = next(int(x.split()[1]) for x in status.read_text().splitlines() if "VmRSS" in x)
    assert rss_kib <= 90 * 1024


# Node -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_node_serves_until_a_signal(
    folder: Path, broker: str, number: signal.Signals, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with Program(
        "node", "app", "--id", "g-1", "--concurrency", "2", "--url", broker, cwd=folder
    ) as node:
        node.wait_for(f"and 4 more at {broker}")
        assert invoke(broker, "order-1", "order") == 0
        assert node.stop(number) == code
    assert "Traceback" not in node.output
    assert pids(capfd, broker, "g") == {}


BUSY = """
import time
from pathlib import Path

from understudy import Context, Runtime

runtime = Runtime(group="g")

@runtime.register
def busy(ctx: Context) -> None:
    Path("busy").touch()
    time.sleep(60)
"""


def test_a_stopping_node_reports_its_running_calls(folder: Path, broker: str) -> None:
    (folder / "slow.py").write_text(BUSY)
    with Program("node", "slow", cwd=folder, UNDERSTUDY_URL=broker) as node:
        assert main(["invoke", "busy-1", "busy", "--target", "g", "--url", broker]) == 0
        wait_until((folder / "busy").exists, lambda: node.output)
        node.process.send_signal(signal.SIGINT)
        node.wait_for("stopping once the running calls (1) have ended, in at most 10 s")
        assert node.stop(signal.SIGINT) == 130  # at once


def test_a_node_joins_the_given_group(
    folder: Path, broker: str, capfd: pytest.CaptureFixture[str]
) -> None:
    args = ("node", "app:runtime", "--group", "other")
    with Program(*args, cwd=folder, UNDERSTUDY_URL=broker) as node:
        node.wait_for("of group other serves")
        (name,) = pids(capfd, broker, "other")
        assert name.startswith("other-")
        # A second living node of that name is refused.
        with Program(*args, "--id", name, cwd=folder, UNDERSTUDY_URL=broker) as second:
            assert second.wait_for_exit() == 1
        assert f"node id '{name}'" in second.output


def test_a_node_waits_for_its_broker(folder: Path) -> None:
    url = free_url()
    with Program("node", "app", "--url", url, cwd=folder) as node:
        node.wait_for(f"no broker answers at {url} (still trying)")
        assert "Runtime.local" not in node.output  # advice that would not help a node
        with Program("broker", "--listen", url, "--store", "memory", cwd=folder):
            node.wait_for(f"at {url}\n")


def test_errors_of_the_app_are_shown(folder: Path) -> None:
    (folder / "broken.py").write_text("def f():\n    raise RuntimeError('oh')\nf()\n")
    ran = run("node", "broken", cwd=folder)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[0] == "understudy: broken cannot be imported:"
    assert ran.stderr.splitlines()[-1] == "RuntimeError: oh"
    assert run("node", "app:nothing", cwd=folder).returncode == 2


# Pools ------------------------------------------------------------------------------------------


def test_spawn_restarts_its_nodes(
    folder: Path, broker: str, capfd: pytest.CaptureFixture[str]
) -> None:
    args = ("spawn", "app:runtime", "--group", "g", "--nodes", "2", "--url", broker)
    with Program(*args, cwd=folder) as program:
        program.wait_for(f"up: g 2 nodes, at {broker}")
        before = pids(capfd, broker, "g")
        assert len(before) == 2
        os.kill(next(iter(before.values())), signal.SIGKILL)
        program.wait_for("was killed by SIGKILL; starting it again")
        program.wait_for("| node g-", times=3)
        assert invoke(broker, "order-1", "order") == 0
        assert program.stop() == 143
    assert pids(capfd, broker, "g") == {}


def test_spawn_does_not_repeat_wrong_usage(folder: Path, broker: str) -> None:
    ran = run("spawn", "app:nothing", "--group", "g", "--url", broker, cwd=folder)
    assert ran.returncode == 1
    assert "has no 'nothing'" in ran.stderr
    assert "Traceback" not in ran.stderr


TOPOLOGY = """
[broker]
listen = "{url}"
store = "memory"

[[group]]
name = "g"
app = "app:runtime"
nodes = 2

[[group]]
name = "h"
app = "app:runtime"

[[process]]
name = "caller"
command = ["python", "caller.py"]
"""

#: a program that does not end by itself, because a pool restarts a program that ends
CALLER = """
import signal, subprocess, sys
subprocess.run([sys.executable, "-m", "understudy", "invoke", "from-caller", "greet",
                "--target", "g", "--arg", "there", "--wait"], check=True)
signal.pause()
"""


def test_up_starts_everything_and_stops_it_in_order(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = free_url()
    (folder / "caller.py").write_text(CALLER)
    (folder / "topology.toml").write_text(TOPOLOGY.format(url=url))
    with Program("up", cwd=folder) as program:
        program.wait_for(f"up: broker at {url}, g 2 nodes, h 1 node, caller\n")
        assert set(pids(capfd, url, "g")) == {"g-1", "g-2"}
        program.wait_for('caller | "hello there"\n')
        assert program.stop(signal.SIGINT) == 130
    assert "up     | stopping: " in program.output
    assert "Traceback" not in program.output
    # `up` starts the broker itself, so the user is not told to start one.
    assert "no broker answers" not in program.output
    assert main(["groups", "--url", url]) == 4


def test_up_without_a_broker_reports_that_none_answers(folder: Path) -> None:
    (folder / "t.toml").write_text('[[group]]\nname = "g"\napp = "app:runtime"\n')
    with Program("up", "t.toml", cwd=folder, UNDERSTUDY_URL=free_url()) as program:
        program.wait_for("or add a [broker] table to t.toml; trying for 2")


def test_up_explains_a_wrong_file(folder: Path) -> None:
    (folder / "wrong.toml").write_text("[brokr]\n")
    ran = run("up", "wrong.toml", cwd=folder)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("understudy: wrong.toml: the top of the file: unknown key 'brokr'")
    ran = run("up", "absent.toml", cwd=folder)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"understudy: there is no absent.toml in {folder}: name the file")


def test_up_does_not_join_another_broker_at_its_address(
    folder: Path, broker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "topology.toml").write_text(TOPOLOGY.format(url=broker))
    assert main(["up"]) == 1
    assert capsys.readouterr().err.startswith(f"understudy: the address {broker} is in use")


def test_up_names_an_unknown_setting(folder: Path) -> None:
    (folder / "t.toml").write_text(f'[broker]\nlisten = "{free_url()}"\nlease_ttl = 5\n')
    ran = run("up", "t.toml", cwd=folder)
    assert ran.returncode == 1
    assert "'lease_ttl'" in ran.stderr
    assert "lease_ttl_s" in ran.stderr


def test_up_shows_the_last_lines_of_a_process_that_cannot_start(folder: Path) -> None:
    topology = TOPOLOGY.format(url=free_url()).partition("[[group]]")[0]
    (folder / "t.toml").write_text(f'{topology}[[group]]\nname = "g"\napp = "app:absent"\n')
    ran = run("up", "t.toml", cwd=folder)
    assert ran.returncode == 1
    assert "g/1 exited with code 2 and was not started again" in ran.stderr
    assert "has no 'absent'" in ran.stderr


# Dev --------------------------------------------------------------------------------------------


def test_dev_restarts_the_node_and_calls_continue(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = free_url()
    with Program("dev", "app", "--listen", url, cwd=folder) as program:
        program.wait_for("of group g serves")
        assert main(["invoke", "gate-1", "gate", "--target", "g", "--url", url]) == 0
        wait_until(
            lambda: main(["promises", "get", "gate.open", "--url", url]) == 0,
            lambda: "the call has not started",
        )
        (folder / "app.py").write_text(APP + "syntax error\n")
        program.wait_for("dev: changed: app.py\n")
        program.wait_for("SyntaxError: invalid syntax")
        program.wait_for("dev: the node exited with code 2; waiting for a change\n")
        (folder / "app.py").write_text(APP.replace("{greeting} {name}", "{greeting}, {name}!"))
        program.wait_for("of group g serves", times=2)
        assert main(["promises", "resolve", "gate.open", "--value", "5", "--url", url]) == 0
        capfd.readouterr()
        assert invoke(url, "gate-1", "gate") == 0
        assert invoke(url, "greet-1", "greet", "--arg", "ann") == 0
        assert capfd.readouterr().out == '5\n"hello, ann!"\n'
        assert program.stop(signal.SIGINT) == 130
    assert main(["groups", "--url", url]) == 4


def test_dev_cannot_listen_at_an_address_in_use(folder: Path, broker: str) -> None:
    ran = run("dev", "app", "--listen", broker, cwd=folder)
    assert ran.returncode == 1
    assert "is in use" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_closed_pipe_is_not_an_error(folder: Path, broker: str) -> None:
    # `true` reads nothing, and has ended before anything is written.
    script = f"'{sys.executable}' -m understudy groups --url {broker} | true"
    ran = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, cwd=folder, check=False
    )
    assert ran.stderr == ""


HOOK = """
import time
from pathlib import Path
from understudy import Context, Runtime

runtime = Runtime("g")
started = []

@runtime.on_node_start
def start():
    Path("begun").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    started.append(True)

@runtime.register
def is_started(ctx: Context) -> bool:
    return bool(started)
"""


def test_a_node_takes_no_call_before_its_start_is_over(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HOOK)
    url = free_url()
    with (
        Program("broker", "--listen", url, "--store", "memory", cwd=tmp_path),
        Runtime("clients", url=url, connect_timeout=20) as client,
    ):
        call = client.options(target="g").rpc("early", "is_started")
        with Program("node", "app", "--url", url, cwd=tmp_path):
            eventually(lambda: (tmp_path / "begun").exists())
            with pytest.raises(TimeoutError):
                call.result(timeout=0.5)
            (tmp_path / "go").touch()
            assert call.result(timeout=20) is True
