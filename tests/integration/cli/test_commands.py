"""Commands that read or change something, against a broker and a node in processes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.cli.commands import Cli, call
from tests.integration.cli.programs import broker_with_node, environment, run, wait_until
from tests.support import free_url
from understudy import Runtime


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with one node of group g."""
    with broker_with_node(tmp_path_factory.mktemp("cli")) as where:
        yield where


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
    code, why, _ = cli("why", "lost-1")
    assert (code, why.count("nothing serves group nobody yet")) == (0, 1), why
    assert "    → understudy node app:runtime --group nobody" in why.splitlines()
    [reason] = call(cli, "why", "lost-1")["reasons"]
    assert reason["ids"] != ["lost-1"]
    assert cli("why", "nobody")[1].startswith("Group nobody: 0 nodes, 1 task waits, the oldest for")
    # The call itself is suspended only after its task for the other group is there.
    waiting = re.compile(r"Group g: 1 node\.\n +\d+ calls? waits? for other calls or promises")
    wait_until(lambda: bool(waiting.match(cli("why", "g")[1])), lambda: cli("why", "g")[1])
    code, _, error = cli("why", "nothing")
    assert code == 1
    assert "neither a call nor a group 'nothing'" in error
    groups = {group["name"]: group for group in call(cli, "groups")["groups"]}
    assert [node["name"] for node in groups["g"]["nodes"]] == ["g-1"]
    node = groups["g"]["nodes"][0]
    assert "order" in node["functions"]
    assert node["concurrency"] == 32
    assert re.search(r"\bg-1 .* \d+/32 ", out), out
    assert groups["nobody"]["queued"] == 1


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
    code, _, err = cli("tasks", "retry", "halt-1")
    assert (code, "no attempt of task 'halt-1' has failed" in err) == (3, True)
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
    assert "nightly  0 3 * * *  UTC   greet" in cli("schedules", "get", "nightly")[1]
    create = ("schedules", "create", "nightly", "0 3 * * *", "greet", "--target", "g")
    assert cli(*create, "--arg", "ann")[0] == 0
    code, _, err = cli(*create, "--arg", "bob")
    assert code == 3
    assert 'other arguments: [["ann"], {}] are stored' in err
    assert "To change it: --replace" in err
    zone = ("--zone", "Europe/Vienna")
    assert call(cli, *create, "--arg", "bob", "--replace", *zone)["zone"] == "Europe/Vienna"
    rules = ("--overlap", "skip", "--catch-up", "2h", "--jitter", "30s", "--cron", "30 2 * * *")
    updated = call(cli, "schedules", "update", "nightly", *rules)
    assert (updated["overlap"], updated["catch_up"], updated["jitter"]) == (
        "skip",
        7_200_000,
        30_000,
    )
    shown = cli("schedules", "next", "nightly", "--count", "2")[1]
    times = re.findall(r"\d  \d{4}-\d\d-\d\d \d\d:\d\d:00 \+0[12]00$", shown, re.MULTILINE)
    assert len(times) == 2, shown
    assert len(call(cli, "schedules", "next", "nightly", "--count", "2")) == 2
    assert "paused until 2" in cli("schedules", "pause", "nightly", "--until", "2h")[1]
    paused = ("schedules", "pause", "nightly", "--reason", "a move", "--until")
    assert "paused until 2126-12-24 07:00:00: a move" in cli(*paused, "2126-12-24T08:00+01:00")[1]
    code, call_id, err = cli("schedules", "trigger", "nightly")
    assert code == 0, err
    assert call(cli, "promises", "get", call_id.strip())["function"] == "greet"
    assert call(cli, "schedules", "resume", "nightly")["paused_at"] is None
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
        (("schedules", "update", "absent", "--zone", "Mars"), "schedule 'absent' does not exist"),
        (("schedules", "create", "s", "0 0 * * *", "f", "--zone", "Mars"), "time zone 'Mars' is"),
        (("schedules", "create", "s", "0 0 * * *", "f", "--overlap", "no"), "one of allow, skip"),
        (("schedules", "create", "s", "0 0 * * *", "f", "--catch-up", "no"), "--catch-up 'no'"),
        (("schedules", "pause", "s", "--until", "soon"), "--until 'soon' is no time"),
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


def test_the_environment_has_the_brokers_address(url: str, tmp_path: Path) -> None:
    ran = run("groups", cwd=tmp_path, UNDERSTUDY_URL=url)
    assert (ran.returncode, "g-1" in ran.stdout) == (0, True)


def test_verbose_shows_the_traceback_of_an_error(cli: Cli) -> None:
    code, _, err = cli("tree", "absent", "--verbose")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("understudy: there is no promise")


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
