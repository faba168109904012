"""Commands that read or change something, against a broker and a node in processes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.integration.cli.programs import APP, PATIENCE_S, Program, environment, run, wait_until
from tests.support import free_url
from understudy import CanceledError, Handle, Runtime
from understudy.cli import main
from understudy_broker.server.embedded import EmbeddedBroker


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with one node of group g."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "app.py").write_text(APP)
    where = free_url()
    with (
        Program("broker", "--listen", where, "--store", "memory", cwd=folder) as broker,
        Program("node", "app:runtime", "--id", "g-1", "--url", where, cwd=folder) as node,
    ):
        broker.wait_for("listening on")
        node.wait_for("node g-1 of group g serves add, audit, fail")
        yield where


@pytest.fixture
def cli(url: str, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: exit code, output, errors."""

    def command(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([*args, "--url", url])
        return code, *capfd.readouterr()

    return command


Cli = Callable[..., tuple[int, str, str]]


def call(cli: Cli, *args: str) -> Any:
    """Run a command with --json; return the data that it prints."""
    code, out, err = cli(*args, "--json")
    assert code == 0, err
    return json.loads(out)


def test_invoke_waits_for_the_result_and_prints_it(cli: Cli) -> None:
    args = ("--target", "g", "--arg", "ann", "--kwarg", "greeting=hi", "--wait")
    assert cli("invoke", "greet-1", "greet", *args) == (0, '"hi ann"\n', "")
    # The same id attaches,
    assert cli("invoke", "greet-1", "greet", *args) == (0, '"hi ann"\n', "")
    # but only to a call of the same function.
    code, out, err = cli("invoke", "greet-1", "order", "--target", "g", "--wait")
    assert (code, out) == (3, ""), "refused"
    assert "belongs to a call of 'greet'" in err


def test_invoke_without_waiting_only_stores(cli: Cli) -> None:
    code, out, _ = cli("invoke", "stored-1", "greet", "--target", "unserved", "--delay", "1h")
    assert (code, out) == (0, "stored-1: stored for poll://any@unserved\n")
    assert call(cli, "promises", "get", "stored-1")["state"] == "pending"


def test_invoke_warns_of_other_arguments(cli: Cli) -> None:
    call = ("invoke", "greet-2", "greet", "--target", "g", "--wait")
    assert cli(*call, "--arg", "ann") == (0, '"hello ann"\n', "")
    code, out, err = cli(*call, "--arg", "bob")
    assert (code, out) == (0, '"hello ann"\n')
    assert 'greet-2 already exists, with the arguments [["ann"], {}]. Those are kept.' in err
    assert cli(*call) == (0, '"hello ann"\n', "")  # attaching needs no arguments


def test_a_call_that_fails_exits_with_1_and_its_reason(cli: Cli) -> None:
    code, out, err = cli("invoke", "fail-1", "fail", "--target", "g", "--wait")
    assert (code, out) == (1, "")
    assert err == "understudy invoke: fail-1 failed: ValueError: no such order\n"
    found = call(cli, "promises", "get", "fail-1")
    assert found["error"]["type"] == "ValueError"
    assert "raise ValueError" in found["error"]["traceback"]


def test_verbose_shows_the_traceback_of_a_failed_call(cli: Cli) -> None:
    code, _, err = cli("invoke", "fail-2", "fail", "--target", "g", "--wait", "--verbose")
    assert code == 1
    assert err.startswith("Traceback")
    assert "raise ValueError" in err
    assert err.endswith("understudy invoke: fail-2 failed: ValueError: no such order\n")
    code, out, _ = cli("promises", "get", "fail-2")
    assert code == 0
    assert "raise ValueError" in out
    cli("promises", "create", "given-up")
    assert "Traceback" not in cli("promises", "reject", "given-up", "--error", "no")[1]


def test_who_waits_hears_of_the_next_attempt_and_why_it_is_made(cli: Cli) -> None:
    code, out, err = cli("invoke", "retried-1", "waits_for_late", "--target", "g", "--wait")
    assert (code, out) == (0, "2\n")
    assert re.fullmatch(
        r"understudy: late retried-1\.1: attempt 1 of 3 failed: ConnectionError: the bank is "
        r"closed; attempt 2 comes at \d\d:\d\d:\d\d\n",
        err,
    )


def test_a_tree_tells_of_the_next_attempt(cli: Cli, url: str) -> None:
    with Runtime(url=url, group="client") as runtime:
        runtime.options(target="g").rpc("retried-2", "late")
        shown = ""
        while "attempt 2 at" not in shown:
            shown = cli("tree", "retried-2")[1]
        assert re.fullmatch(
            r"retried-2  late  attempt 2 at \d\d:\d\d:\d\d  \S+( \S+)?  "
            r"attempt 1 of 3 failed: ConnectionError: the bank is closed\n",
            shown,
        )
        data = call(cli, "tree", "retried-2")
        assert (data["failures"], data["attempts"]) == (1, 2)
        assert data["retry_at"] > data["created_at"] + 4000
        runtime.cancel("retried-2")


async def awaited(handle: Handle[Any]) -> Any:
    return await handle


WAITS: dict[str, Callable[[Handle[Any]], Any]] = {
    "thread": lambda handle: handle.result(),
    "asyncio": lambda handle: asyncio.run(awaited(handle)),
    "trio": lambda handle: trio.run(awaited, handle),
}


@pytest.mark.parametrize("how", WAITS)
def test_who_waits_hears_why_a_call_does_not_go_on(
    url: str, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.WARNING, "understudy")
    runtime = Runtime(url=url, group="client")
    retried, parked, unserved = f"retried-{how}", f"parked-{how}", f"unserved-{how}"
    expected = [
        rf"late {retried}\.1: attempt 1 of 3 failed: .*: the bank is closed; attempt 2 comes at .*",
        rf"absent {parked} is parked: UnknownFunctionError: .* understudy tasks continue {parked}",
        rf"prise {unserved} waits: no node of group g has the function prise; similar: price",
    ]

    def missing() -> list[str]:
        lines = [record.getMessage() for record in caplog.records if record.name == "understudy"]
        return [each for each in expected if not any(re.fullmatch(each, line) for line in lines)]

    with ThreadPoolExecutor() as pool:
        try:
            handles = [
                runtime.options(target="g").rpc(retried, "waits_for_late"),
                runtime.options(target="poll://uni@g/g-1").rpc(parked, "absent"),
                runtime.options(target="g").rpc(unserved, "prise"),
            ]
            waits = [pool.submit(WAITS[how], handle) for handle in handles]
            wait_until(lambda: not missing(), lambda: f"not told: {missing()}")
            for handle, waiting in zip(handles, waits, strict=True):
                handle.cancel()
                with pytest.raises(CanceledError):
                    waiting.result(PATIENCE_S)
        finally:
            runtime.stop()


def test_a_tree_shows_attempts_in_call_order(cli: Cli) -> None:
    assert cli("invoke", "s-1", "stubborn", "--target", "g", "--wait")[0] == 0
    code, out, _ = cli("tree", "s-1")
    assert code == 0
    ids = [next(word for word in line.split() if "s-1" in word) for line in out.splitlines()]
    assert ids == ["s-1", "s-1.1", "s-1-chosen", "s-1.3", "s-1.4"]
    assert [line.endswith("3 attempts") for line in out.splitlines()] == [False] * 4 + [True]
    assert " run " not in out


def test_waiting_ends_at_the_deadline(cli: Cli) -> None:
    args = ("--target", "unserved", "--timeout", "200ms", "--wait")
    code, _, err = cli("invoke", "late-1", "greet", *args)
    assert code == 1
    assert "late-1 failed: its deadline passed" in err


def test_interrupting_the_wait_leaves_the_call_alone(cli: Cli, url: str, tmp_path: Path) -> None:
    args = ("invoke", "left-1", "greet", "--target", "unserved", "--wait", "--url", url)
    with Program(*args, cwd=tmp_path) as program:
        why = "nothing serves group unserved yet (groups with nodes: g)"
        program.wait_for(f"understudy: greet left-1 waits: {why}\n")
        assert program.stop(signal.SIGINT) == 130
    assert program.output.endswith("left-1 continues; the same command waits for it again\n")
    assert program.output.count("\n") == 2
    assert call(cli, "promises", "get", "left-1")["state"] == "pending"


def test_tree_shows_the_whole_graph(cli: Cli) -> None:
    assert cli("invoke", "order-1", "order", "--target", "g", "--wait")[:2] == (0, "10\n")
    wait_until(
        lambda: call(cli, "promises", "get", "order-1.4")["state"] == "resolved",
        lambda: "the detached call has not settled",
    )
    data = call(cli, "tree", "order-1")
    assert [(child["id"], child["function"], child["role"]) for child in data["children"]] == [
        ("order-1.1", "price", "call"),
        ("order-1.2", "price", "call"),
        ("order-1.3", "add", "local"),
        ("order-1.4", "audit", "detached"),
    ]
    assert (data["value"], data["children"][1]["value"]) == (10, 10)
    assert data["runs"] >= 1
    code, out, _ = cli("tree", "order-1")
    assert code == 0
    assert out.splitlines()[3].startswith("├─ order-1.3  add (local)           resolved  ")
    code, out, _ = cli("tree", "order-1.2")
    assert out.startswith("order-1.2  price(1)  resolved")


def test_tree_counts_similar_children(cli: Cli) -> None:
    cli("invoke", "wide-1", "order", "--target", "g", "--arg", "500", "--wait")
    _, out, _ = cli("tree", "wide-1")
    assert "├─ … 495 more price: 495 resolved" in out
    assert len(out.splitlines()) == 9
    _, out, _ = cli("tree", "wide-1", "--all")
    assert len(out.splitlines()) == 503
    assert "├─ wide-1.500  price(499) " in out
    assert out.index("wide-1.99 ") < out.index("wide-1.100 ")
    _, out, _ = cli("tree", "wide-1", "--children", "30")
    assert len(out.splitlines()) == 34
    assert "├─ … 470 more price: 470 resolved" in out


def on_terminal(*args: str, columns: int, **env: str) -> list[str]:
    """Run a command whose standard output is a terminal; return its lines."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = environment(TERM="xterm", **env)
    for name in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"} - env.keys():
        given.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-m", "understudy", *args], stdout=slave, env=given
    ) as ran:
        os.close(slave)
        output = b""
        with suppress(OSError):  # the end of a terminal's other side
            while part := os.read(master, 65_536):
                output += part
        os.close(master)
    assert ran.returncode == 0
    return output.decode().splitlines()


def test_tables_fit_the_terminal_and_states_have_colors(cli: Cli, url: str) -> None:
    long = "ann" * 60
    assert cli("invoke", "wordy-1", "greet", "--target", "g", "--arg", long, "--wait")[0] == 0
    search = ("promises", "search", "--prefix", "wordy", "--url", url)
    plain = on_terminal(*search, "--no-color", columns=90)
    assert max(map(len, plain)) <= 90
    assert plain[1].startswith("wordy-1  resolved  greet")
    assert plain[1].endswith("…")
    colored = on_terminal(*search, columns=90)[1]
    assert colored.startswith("wordy-1  \033[32mresolved\033[0m  greet")
    assert "\033" not in "".join(on_terminal(*search, columns=90, NO_COLOR="1"))
    assert "\033[32mresolved" in "".join(on_terminal("tree", "wordy-1", "--url", url, columns=90))
    assert f'"hello {long[:30]}' in cli(*search[:4])[1], "whole, where there is no terminal"


def test_tree_and_groups_name_a_group_without_nodes(cli: Cli) -> None:
    cli("invoke", "lost-1", "lost", "--target", "g")
    wait_until(
        lambda: "nothing serves group nobody" in cli("tree", "lost-1")[1],
        lambda: cli("tree", "lost-1")[1],
    )
    _, out, _ = cli("groups")
    assert "Nothing serves group nobody: 1 task waits" in out
    groups = {group["name"]: group for group in call(cli, "groups")["groups"]}
    assert [node["name"] for node in groups["g"]["nodes"]] == ["g-1"]
    node = groups["g"]["nodes"][0]
    assert "order" in node["functions"]
    assert node["concurrency"] == 32
    assert re.search(r"\bg-1 .* \d+/32 ", out), out
    assert groups["nobody"]["queued"] == 1


def test_follow_prints_changes_until_the_call_settles(cli: Cli, url: str, tmp_path: Path) -> None:
    cli("invoke", "gate-1", "gate", "--target", "g")
    with Program("tree", "gate-1", "--follow", "--url", url, cwd=tmp_path) as follower:
        follower.wait_for("gate.open  promise  pending: to be settled from outside")
        assert cli("promises", "resolve", "gate.open", "--value", "7")[0] == 0
        assert follower.wait_for_exit() == 0
        lines = follower.output.splitlines()
    assert "gate.open  promise  resolved" in lines
    assert "gate-1  gate  resolved" in lines
    assert len(lines) == len(set(lines))


def test_a_promise_is_created_and_settled_once(cli: Cli) -> None:
    made = call(cli, "promises", "create", "p-1", "--value", '{"a": 1}', "--tag", "x=y")
    assert (made["state"], made["param"]["data"]) == ("pending", {"a": 1})
    assert made["timeout_at"] - made["created_at"] > 86_000_000
    assert cli("promises", "resolve", "p-1", "--value", "[1]")[0] == 0
    assert cli("promises", "resolve", "p-1", "--value", "[1]")[0] == 0
    code, _, err = cli("promises", "resolve", "p-1", "--value", "[2]")
    assert (code, "was already resolved with another value" in err) == (1, True)
    code, _, err = cli("promises", "reject", "p-1")
    assert (code, "was already resolved, and does not change" in err) == (1, True)
    assert call(cli, "promises", "get", "p-1")["value"]["data"] == [1]


def test_promises_are_rejected_canceled_and_found(cli: Cli) -> None:
    for name in ("find-1", "find-2", "find-3"):
        cli("promises", "create", name, "--tag", "who=ann")
    assert cli("promises", "reject", "find-1", "--error", "too dear")[0] == 0
    assert cli("promises", "cancel", "find-2")[0] == 0
    found = call(cli, "promises", "search", "--prefix", "find-", "--tag", "who=ann")
    assert [(one["id"], one["state"]) for one in found] == [
        ("find-1", "rejected"),
        ("find-2", "canceled"),
        ("find-3", "pending"),
    ]
    _, out, _ = cli("promises", "search", "--prefix", "find-", "--limit", "1")
    assert "RuntimeError: too dear" in out
    assert "There are more than 1" in out
    _, out, _ = cli("promises", "get", "find-2")
    assert "failure  " in out
    for state, id in (("pending", 3), ("canceled", 2), ("rejected_canceled", 2)):
        only = call(cli, "promises", "search", "--prefix", "find-", "--state", state)
        assert [one["id"] for one in only] == [f"find-{id}"]


def test_tasks_are_halted_and_continued(cli: Cli) -> None:
    cli("invoke", "halt-1", "greet", "--target", "idle")
    assert call(cli, "tasks", "get", "halt-1")["state"] == "queued"
    assert call(cli, "tasks", "halt", "halt-1")["state"] == "halted"
    found = call(cli, "tasks", "search", "--state", "halted", "--group", "idle")
    assert [task["id"] for task in found] == ["halt-1"]
    assert cli("tree", "halt-1")[1].startswith("halt-1  greet  halted")
    assert call(cli, "tasks", "continue", "halt-1")["state"] == "queued"
    code, _, err = cli("tasks", "continue", "halt-1")
    assert (code, "task 'halt-1' is queued" in err) == (3, True)
    cli("invoke", "halt-2", "greet", "--target", "idle", "--delay", "1h")
    for id in ("halt-1", "halt-2"):
        call(cli, "tasks", "halt", id)
    code, out, err = cli("tasks", "continue", "halt-1", "halt-3", "halt-2")
    assert code == 1, "one of them does not exist, the others go on"
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["halt-1", "queued"],
        ["halt-2", "queued"],
    ]
    assert "task 'halt-3' does not exist" in err
    _, out, _ = cli("tasks", "search", "--group", "idle")
    assert out.splitlines()[1].startswith("halt-1  queued  0        poll://any@idle")


def test_a_running_task_is_held_while_its_node_beats(cli: Cli, tmp_path: Path) -> None:
    """The stored end of its lease says nothing, because no heartbeat since is stored."""
    until = tmp_path / "until"
    try:
        cli("invoke", "hold-1", "hold", "--target", "g", "--arg", str(until))
        wait_until(
            lambda: call(cli, "tasks", "get", "hold-1")["state"] == "running",
            lambda: f"it does not run: {cli('tasks', 'get', 'hold-1')}",
        )
        for args in (("get", "hold-1"), ("search", "--state", "running")):
            [line] = [line for line in cli("tasks", *args)[1].splitlines() if "hold-1" in line]
            assert re.search(r" g-1 +held while its node sends heartbeats$", line), line
    finally:
        until.touch()


def test_schedules(cli: Cli) -> None:
    made = call(
        cli, "schedules", "create", "nightly", "0 3 * * *", "greet", "--arg", "ann", "--target", "g"
    )
    assert (made["function"], made["cron"], made["last_run_at"]) == ("greet", "0 3 * * *", None)
    assert made["promise_param"]["data"] == [["ann"], {}]
    assert [one["id"] for one in call(cli, "schedules", "search")] == ["nightly"]
    assert "nightly  0 3 * * *  greet" in cli("schedules", "get", "nightly")[1]
    assert cli("schedules", "delete", "nightly")[:2] == (0, "nightly: deleted\n")
    code, _, err = cli("schedules", "get", "nightly")
    assert (code, err.count("\n")) == (1, 1)
    call(cli, "schedules", "create", "weekly", "0 3 * * 0", "greet", "--target", "g")
    assert call(cli, "schedules", "delete", "weekly") == {"id": "weekly", "deleted": True}


def test_pickled_values_are_not_loaded(cli: Cli, url: str) -> None:
    with Runtime(url=url, pickle=True, group="client") as runtime:
        runtime.promises.create("pickled-1", value={1: test_schedules})
    data = call(cli, "promises", "get", "pickled-1")["param"]["data"]
    assert data["1"].startswith("<pickled, ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("promises", "get", "absent"), "To list them: understudy promises search"),
        (("tasks", "halt", "absent"), "To list them: understudy tasks search"),
        (("schedules", "get", "absent"), "To list them: understudy schedules search"),
        (("schedules", "create", "s", "at noon", "f"), "It has five fields, minute hour day"),
        (("tree", "absent"), "there is no promise 'absent'"),
        (("promises", "search", "--state", "done"), "--state 'done'"),
        (("invoke", "x", "f", "--target", "no group!"), "not valid"),
        (("invoke", "x", "f", "--timeout", "soon"), "--timeout 'soon'"),
        (("invoke", "x", "f", "--timeout", "1e300"), "option timeout=1e+300: it must be at most"),
        (("invoke", "x", "f", "--delay", "99999999d"), "it must be at most 31,557,600,000 s"),
        (
            ("promises", "create", "x", "--timeout", "999999d"),
            "it must be at most 31,557,600,000 s",
        ),
        (("schedules", "create", "s", "0 0 * * *", "f", "--timeout", "1e18"), "it must be at most"),
        (("invoke", "x", "f", "--kwarg", "y"), "--kwarg NAME=VALUE"),
    ],
)
def test_errors_are_one_line(cli: Cli, args: tuple[str, ...], message: str) -> None:
    code, out, err = cli(*args)
    assert code == (1 if "absent" in args else 2)
    assert message in err
    assert err.startswith("understudy: ")
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize("where", ["tcp://*:5577", "tcp://127.0.0.1:0", "http://127.0.0.1:5577"])
def test_what_is_no_address_of_a_broker_is_wrong_usage(
    where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["groups", "--url", where]) == 2
    assert f"url='{where}' is no address of a broker: " in capsys.readouterr().err


def test_a_missing_broker_is_reported_soon(tmp_path: Path) -> None:
    where = free_url()
    ran = run("groups", "--url", where, cwd=tmp_path)
    assert ran.returncode == 4
    assert run("spawn", "app", "--group", "g", "--url", where, cwd=tmp_path).returncode == 4
    first, last = ran.stderr.splitlines()
    assert first.startswith(f"understudy: no broker answers at {where} yet; start one with: ")
    assert first.endswith("; trying for 4 s more")
    assert last.startswith(f"understudy: no broker answers at {where}. Start one with: ")


def test_a_broker_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    where = free_url()
    with Program("groups", "--url", where, cwd=tmp_path) as command:
        command.wait_for("no broker answers")
        with EmbeddedBroker("memory", where):
            assert command.wait_for_exit() == 0


def test_the_environment_has_the_brokers_address(url: str, tmp_path: Path) -> None:
    ran = run("groups", cwd=tmp_path, UNDERSTUDY_URL=url)
    assert (ran.returncode, "g-1" in ran.stdout) == (0, True)


def test_verbose_shows_the_traceback_of_an_error(cli: Cli) -> None:
    code, _, err = cli("tree", "absent", "--verbose")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("understudy: there is no promise")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("brok",), "understudy: No such command 'brok'. Did you mean 'broker'?"),
        (("invoke", "x"), "understudy invoke: Missing argument 'FUNC'."),
        (("node", "a", "--nope"), "understudy node: No such option"),
        (("spawn", "a", "--nodes", "0"), "understudy spawn: Invalid value"),
        (("promises", "explode"), "understudy promises: No such command"),
        (("invoke", "x", "f", "--target"), "understudy invoke: Option '--target' requires"),
    ],
)
def test_wrong_usage(
    args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert err.rstrip().endswith("--help")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    whole = capsys.readouterr().out
    for command in ("broker", "node", "spawn", "up", "dev", "invoke", "tree", "groups", "tasks"):
        assert f"\n  {command} " in whole
        assert main([command, "--help"]) == 0
        assert f"    understudy {command}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("understudy ")
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().out


def completed(words: str, url: str) -> list[str]:
    """Return what bash would offer for the last of these words."""
    asked = {"_UNDERSTUDY_COMPLETE": "complete_bash", "COMP_WORDS": f"understudy {words}"}
    env = environment(UNDERSTUDY_URL=url, COMP_CWORD=str(len(words.split())), **asked)
    if words.endswith(" "):
        env["COMP_CWORD"] = str(len(words.split()) + 1)
    argv = [sys.executable, "-c", "import sys; from understudy.cli import main; sys.exit(main())"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_shells_complete_commands_states_groups_and_ids(cli: Cli, url: str) -> None:
    assert cli("promises", "create", "typed-1")[0] == 0
    assert cli("promises", "create", "typed-2")[0] == 0
    assert completed("tr", url) == ["tree"]
    assert completed("promises get typed-", url) == ["typed-1", "typed-2"]
    assert "g" in completed("invoke x greet --target ", url)
    assert completed("tasks search --state r", url) == ["running"]
    assert completed("promises search --state re", url) == ["resolved", "rejected"]


def test_shells_complete_the_ids_of_schedules(cli: Cli, url: str) -> None:
    for id in ("by-night", "by-week", "monthly"):
        assert cli("schedules", "create", id, "0 3 * * *", "greet", "--target", "g")[0] == 0
    assert completed("schedules get by-", url) == ["by-night", "by-week"]
    assert completed("schedules delete m", url) == ["monthly"]
    # A new schedule needs a new id.
    assert completed("schedules create by-", url) == []


def test_completion_offers_nothing_and_is_quiet_without_a_broker() -> None:
    assert completed("promises get typed-", free_url()) == []
