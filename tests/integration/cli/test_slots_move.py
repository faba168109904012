"""``understudy slots move`` between real brokers, whose nodes and calls go on at the new place."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.broker.slot_stores import rows_in
from tests.integration.broker.test_slot_moves import DIES
from tests.integration.cli.deployments import Brokers, ids_at
from tests.integration.cli.programs import PATIENCE_S, run_forked
from tests.support import eventually, free_url
from understudy import Context, Runtime
from understudy.cli import main
from understudy_actors.errors import CommandError
from understudy_broker.protocol.placement import shared_out
from understudy_broker.server.placement import Placement, placement_of
from understudy_store.commands import PromiseGet, TaskGet


def shop(url: str, name: str, made: Path) -> Runtime:
    """A node whose functions note that they ran to their end."""
    runtime = Runtime("shop", name, url=url, connect_timeout=PATIENCE_S)

    def note(ctx: Context) -> None:
        with made.open("a") as file:
            file.write(f"{ctx.id}\n")

    @runtime.register
    def double(ctx: Context, n: int) -> int:
        note(ctx)
        return 2 * n

    @runtime.register
    def sleeps(ctx: Context, seconds: float) -> Any:
        before = yield ctx.rpc(double, 1)
        yield ctx.sleep(seconds)
        return before + (yield ctx.rpc(double, 2))

    @runtime.register
    def asks(ctx: Context, home: str) -> Any:
        return (yield (yield ctx.promise().options(home=home)))

    @runtime.register
    def tick(ctx: Context) -> None:
        note(ctx)

    return runtime


@contextmanager
def client_of(url: str) -> Iterator[Runtime]:
    client = Runtime("clients", url=url, connect_timeout=PATIENCE_S)
    try:
        yield client.options(target="shop")
    finally:
        client.stop()


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Brokers]:
    with Brokers(tmp_path, "ab") as brokers:
        yield brokers


def begun(brokers: Brokers, names: str = "ab") -> Placement:
    """Start brokers for the first time; return the placement with which they begin."""
    brokers.start(names)
    return placement_of(shared_out(list(brokers.urls.items())), "", names[0])


def suspended(client: Runtime, id_: str) -> bool:
    try:
        task = client.session.command(TaskGet(id_)).task
    except CommandError:
        return False
    return task is not None and task.state == "suspended"


def state(client: Runtime, id_: str) -> str | None:
    try:
        promise = client.session.command(PromiseGet(id_)).promise
    except CommandError:
        return None
    return None if promise is None else promise.state


def test_calls_that_wait_go_on_at_the_new_broker(tmp_path: Path, brokers: Brokers) -> None:
    placement = begun(brokers)
    made = tmp_path / "made"
    done, sleeper, asker, across, back = ids_at(placement, "a", 5)
    [people_a], [people_b] = (ids_at(placement, name, 1, "people") for name in "ab")
    [waits_for_a] = ids_at(placement, "b", 1)
    [nightly] = ids_at(placement, "a", 1, "nightly")
    # The node knows the source alone, the client the target.
    with shop(brokers.urls["a"], "node", made), client_of(brokers.urls["b"]) as client:
        assert client.rpc(done, "double", 4).result(PATIENCE_S) == 8
        handles = {
            sleeper: client.rpc(sleeper, "sleeps", 3.0),
            asker: client.rpc(asker, "asks", people_a),
            across: client.rpc(across, "asks", people_b),
            waits_for_a: client.rpc(waits_for_a, "asks", people_a),
        }
        client.schedules.create(nightly, "* * * * *", "tick")
        asked = (asker, across, waits_for_a, sleeper)
        eventually(lambda: all(suspended(client, id_) for id_ in asked), 20)
        brokers.stop("ab")
        moved = brokers.move("--all", "--from", "a", "--to", "b")
        assert "from a to b" in moved
        brokers.start("ab")
        for id_, home in ((asker, people_a), (across, people_b), (waits_for_a, people_a)):
            client.promises.resolve(f"{home}.{id_}.1", 5)
            assert handles[id_].result(PATIENCE_S) == 5
        assert handles[sleeper].result(PATIENCE_S) == 6
        # What exists is found, and not made again.
        assert client.rpc(done, "double", 4).result(PATIENCE_S) == 8
        assert client.rpc(back, "double", 5).result(PATIENCE_S) == 10
        assert [schedule.id for schedule in client.schedules.search()] == [nightly]
        brokers.stop("a")
        # Nothing is left at the old one.
        assert client.rpc(sleeper, "sleeps", 3.0).result(PATIENCE_S) == 6
        assert client.get(asker).result(PATIENCE_S) == 5
    lines = made.read_text().split()
    counted = [line for line in lines if not line.startswith("nightly")]
    assert len(counted) == len(set(counted)) == 4


@pytest.mark.parametrize("point", ["after step 1", "copying 1", "after step 2"])
def test_between_the_steps_of_a_move_calls_wait(
    tmp_path: Path, brokers: Brokers, point: str
) -> None:
    placement = begun(brokers)
    made = tmp_path / "made"
    done, asker, later = ids_at(placement, "a", 3)
    [other] = ids_at(placement, "b", 1)
    [people] = ids_at(placement, "a", 1, "people")
    with shop(brokers.url, "node", made), client_of(brokers.url) as client:
        assert client.rpc(done, "double", 4).result(PATIENCE_S) == 8
        asked = client.rpc(asker, "asks", people)
        eventually(lambda: suspended(client, asker), 20)
        # Due soon, and not to be settled by a broker that does not own it any more.
        client.promises.create(f"{people}.due", timeout=1.0)
        brokers.stop("ab")
        script = [sys.executable, "-c", DIES, str(tmp_path), point]
        assert subprocess.run(script, timeout=PATIENCE_S).returncode == 9
        leaving = set(brokers.placement("a").leaving)
        left = rows_in(brokers.store("a"), leaving)
        brokers.start("ab")
        there = client.rpc(other, "double", 1)
        assert there.result(PATIENCE_S) == 2
        shown = run_forked("slots", "--url", brokers.urls["a"], cwd=tmp_path).stdout
        if point == "after step 2":
            # The target has them, and the source knows that they are not its own.
            assert "nobody" not in shown
            client.promises.resolve(f"{people}.{asker}.1", 5)
            assert asked.result(PATIENCE_S) == 5
        else:
            assert "(nobody)  128" in shown
        assert "slots are leaving this broker" in brokers.running["a"].output
        time_of_due = time.monotonic() + 1.2
        eventually(lambda: time.monotonic() > time_of_due)
        brokers.stop("ab")
        # Nobody has touched them there, whatever was due.
        assert rows_in(brokers.store("a"), leaving) == left
        assert "from a to b" in brokers.move("--all", "--from", "a", "--to", "b")
        brokers.start("ab")
        if point != "after step 2":
            client.promises.resolve(f"{people}.{asker}.1", 5)
            assert asked.result(PATIENCE_S) == 5
        eventually(lambda: state(client, f"{people}.due") == "rejected_timedout", 20)
        assert client.rpc(done, "double", 4).result(PATIENCE_S) == 8
        assert client.rpc(later, "double", 6).result(PATIENCE_S) == 12
    assert sorted(made.read_text().split()) == sorted([done, other, later])


def test_those_who_ask_a_third_broker_find_slots_that_moved_without_it(tmp_path: Path) -> None:
    with Brokers(tmp_path, "abc") as brokers:
        placement = begun(brokers, "abc")
        made = tmp_path / "made"
        moved, later = ids_at(placement, "a", 2)
        with shop(brokers.urls["c"], "node", made), client_of(brokers.urls["c"]) as client:
            assert client.rpc(moved, "double", 4).result(PATIENCE_S) == 8
            brokers.stop("ab")
            brokers.move("--all", "--from", "a", "--to", "b")
            brokers.start("ab")
            # Those that were connected to all of them,
            assert client.rpc(later, "double", 5).result(PATIENCE_S) == 10
        # and those that begin with the old map of the third one.
        with shop(brokers.urls["c"], "second", made), client_of(brokers.urls["c"]) as client:
            assert client.get(moved).result(PATIENCE_S) == 8
            assert client.rpc(f"{moved}.more", "double", 6).result(PATIENCE_S) == 12
        shown = run_forked("slots", "--url", brokers.urls["c"], cwd=tmp_path).stdout
        own = [placement.owners.count(name) for name in "abc"]
        expected = ["0", str(own[0] + own[1]), str(own[2])]
        assert [line.split()[1] for line in shown.splitlines()[1:]] == expected
        output = brokers.stop("abc")
    assert "has the slots" not in output


# The command -------------------------------------------------------------------------------------


def test_a_running_broker_keeps_its_slots(tmp_path: Path, brokers: Brokers) -> None:
    brokers.start("ab")
    brokers.stop("a")
    ran = run_forked(
        "slots",
        "move",
        "--all",
        "--from",
        "a",
        "--to",
        "b",
        "--config",
        "brokers.toml",
        cwd=tmp_path,
    )
    assert ran.returncode == 1
    assert "understudy-b.db is open in process" in ran.stderr
    assert "Stop that one first" in ran.stderr


def test_a_dry_run_says_how_many_promises_would_move(tmp_path: Path, brokers: Brokers) -> None:
    placement = begun(brokers)
    ids = ids_at(placement, "a", 3)
    with client_of(brokers.url) as client:
        for id_ in ids:
            client.promises.create(id_)
    brokers.stop("ab")
    shown = brokers.move("--all", "--from", "a", "--to", "b", "--dry-run")
    assert shown.startswith("would move the slots ")
    assert shown.endswith("from a to b: 3 promises\n")
    assert brokers.placement("a").own == placement.own
    shown = brokers.move("--all", "--from", "a", "--to", "b")
    assert "from a to b: 3 promises\n" in shown
    assert shown.endswith("to b. Start the brokers again\n")
    assert brokers.move("0-255", "--to", "b") == "nothing to do: the slots 0-255 are at b already\n"
    assert (
        brokers.move("--all", "--from", "a", "--to", "b")
        == "nothing to do: all slots of a are at b already\n"
    )


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((), "name the slots, as in 0-17,40, or say --all --from NAME"),
        (("--all",), "--all needs --from"),
        (("1", "--all", "--from", "a"), "name the slots"),
        (("1-x",), "'1-x' is no slot and no run of slots"),
        (("256",), "'256': slots go from 0 to 255"),
        (("9-3",), "'9-3' runs backwards: write 3-9"),
        (("",), "'' is no slot"),
        (("-",), "'-' is no slot"),
        (("1", "--from", "b"), "--from and --to are both 'b': name another broker"),
        (("1", "--from", "x"), "has the name 'x'; there are: a, b"),
        (("--all", "--from", "x"), "has the name 'x'; there are: a, b"),
        (("1", "--to", "x"), "--to: no [[broker]] table"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], error: str
) -> None:
    file = tmp_path / "b.toml"
    tables = [f'[[broker]]\nname = "{name}"\nlisten = "{free_url()}"\n' for name in "ab"]
    file.write_text("".join(tables))
    assert main(["slots", "move", "--to", "b", "--config", str(file), *args]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "cannot read"),
        ("broker = [", "is not valid TOML"),
        ("[broker]\n", "has no [[broker]] tables"),
        ("[[broker]]\n", "broker[1].name: it is missing"),
    ],
)
def test_wrong_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, error: str
) -> None:
    file = tmp_path / "b.toml"
    if text is not None:
        file.write_text(text)
    assert main(["slots", "move", "1", "--to", "b", "--config", str(file)]) == 2
    assert error in capsys.readouterr().err


def test_stores_are_found_where_up_has_made_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And two of a name are not confused."""
    with Brokers(tmp_path, "ab") as brokers:
        brokers.start("ab")
        brokers.stop("ab")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    args = ["slots", "move", "--all", "--from", "a", "--to", "b", "--dry-run"]
    args += ["--config", str(tmp_path / "brokers.toml")]
    assert main(args) == 0
    assert "would move" in capsys.readouterr().out
    (elsewhere / "understudy-a.db").touch()
    assert main(args) == 1
    assert "the store of the broker 'a' may be" in capsys.readouterr().err
