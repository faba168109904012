"""What the command line says of brokers that share a database, and of one that is away."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.sdk.shared_brokers import Brokers, has_shares
from tests.support import eventually
from understudy.cli import main

if TYPE_CHECKING:
    from tests.cluster import Cluster


@pytest.fixture
def own(postgres: Cluster) -> Iterator[Cluster]:
    """The server, which the test may stop."""
    yield postgres
    postgres.start()


@pytest.fixture
def brokers(own: Cluster, tmp_path: Path) -> Iterator[Brokers]:
    brokers = Brokers(own.new_schema(), tmp_path)
    brokers.start("a", "b")
    try:
        eventually(lambda: has_shares(brokers, [128, 128]), 30)
        yield brokers
    finally:
        brokers.kill()


def output(capsys: pytest.CaptureFixture[str], code: int, *args: str) -> tuple[str, str]:
    """Run a command in this process, check its exit code, and return what it prints."""
    capsys.readouterr()
    found = main([*args])
    out, err = capsys.readouterr()
    assert found == code, out + err
    return out, err


def wait_until_silent(brokers: Brokers, capsys: pytest.CaptureFixture[str]) -> None:
    """Return once the database has been away for so long that nobody answers from memory."""

    def is_silent() -> bool:
        main(["brokers", "--json", "--url", brokers.url])
        rows = json.loads(capsys.readouterr().out)
        return not any(row["answers"] for row in rows)

    eventually(is_silent, 30)


def test_brokers_whose_database_is_away_are_there_and_wait(
    own: Cluster, brokers: Brokers, capsys: pytest.CaptureFixture[str]
) -> None:
    own.stop()
    wait_until_silent(brokers, capsys)
    out, _ = output(capsys, 1, "brokers", "--url", brokers.url)
    assert len(re.findall(r"^[ab] +tcp\S+ +waits +128 ", out, re.MULTILINE)) == 2
    assert "Start it with" not in out, "it runs"
    assert "Broker a: it accepts connections at" in out
    rows = json.loads(output(capsys, 1, "brokers", "--url", brokers.url, "--json")[0])
    assert [row["answers"] for row in rows] == [False, False]
    assert all("waits for its database" in row["problem"] for row in rows)
    # Who has which slots is known without the database.
    shown = json.loads(output(capsys, 0, "slots", "show", "--json", "--url", brokers.url)[0])
    assert [len(each["slots"]) for each in shown["brokers"]] == [128, 128]
    [row] = json.loads(output(capsys, 0, "slots", "of", "x", "--json", "--url", brokers.url)[0])
    assert row["broker"] in ("a", "b")


def test_a_command_that_waits_for_an_answer_says_so(
    own: Cluster, brokers: Brokers, capsys: pytest.CaptureFixture[str]
) -> None:
    own.stop()
    wait_until_silent(brokers, capsys)
    command = [sys.executable, "-m", "understudy", "groups", "--json", "--url", brokers.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "has not answered for 5 s: it waits for its database" in process.stderr.readline()
        own.start()
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert json.loads(out)["groups"] == []
    finally:
        process.kill()
        process.communicate()


def test_a_broker_that_was_killed_needs_no_advice_where_others_take_over(
    brokers: Brokers, capsys: pytest.CaptureFixture[str]
) -> None:
    # A broker that is paused is not taken over from before its lease has run out.
    brokers.running["a"].send_signal(signal.SIGSTOP)
    out, _ = output(capsys, 1, "brokers", "--url", brokers.urls["b"])
    assert re.search(r"^a +tcp\S+ +does not answer +\d+ ", out, re.MULTILINE)
    assert "wait until the others have taken them over" in out
    assert "--config FILE" not in out
    brokers.end("a", signal.SIGKILL)
    eventually(lambda: has_shares(brokers, [256]), 20)
    rows = json.loads(output(capsys, 0, "brokers", "--json", "--url", brokers.urls["b"])[0])
    assert [(row["name"], row["slots"]) for row in rows] == [("b", 256)]
    brokers.end("b", signal.SIGKILL)
    for command in (["brokers"], ["slots"], ["slots", "show"], ["slots", "of", "x"]):
        _, err = output(capsys, 4, *command, "--json", "--url", brokers.url)
        assert f"no broker answers at {brokers.url}" in err


def test_slots_of_a_database_are_moved_by_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is its URL shown, which may have a password."""
    file = tmp_path / "brokers.toml"
    file.write_text(
        '[[broker]]\nname = "a"\nlisten = "tcp://127.0.0.1:1"\n'
        'store = "postgresql://u:sesame@db.example/calls"\n'
    )
    _, err = output(capsys, 2, "slots", "move", "1", "--to", "a", "--config", str(file))
    assert "the store of the broker 'a' is a database, and no file. Brokers that share" in err
    assert "sesame" not in err
