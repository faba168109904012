"""The demo of a cluster as `make demo-cluster` runs it, with shorter pauses. Nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.acceptance.demo_run import Run, empty_folder
from tests.acceptance.system import until
from tests.cluster import find_programs

pytestmark = pytest.mark.skipif(find_programs() is None, reason="no PostgreSQL")

#: the demo with so short pauses that nobody could follow it, and a third of its load
QUICKLY = (
    "import sys; from examples.cluster import demo, load, system; "
    "demo.LINE_S = 0.2; demo.WATCH_S = 2; system.RESTART_S = 0.5; load.THREADS = 3; "
    "sys.exit(demo.main())"
)
SHARES = r"orders done    slots of brokers: a  8\d  b  8\d  c  8\d"

#: a line of each part of the story, in order
KEY_LINES = [
    r"^1\. 9 processes run: a primary and its standby",
    SHARES,
    r"^   \$ understudy brokers",
    r"^   BROKER +ADDRESS +STATE +SLOTS",
    r"^   a +tcp://127\.0\.0\.1:\d+ +answers +8\d",
    r"^3\. Broker b \(process \d+\) is killed with SIGKILL\. It had 8\d slots",
    r"^   [\d.]+ s after its death it has its share again",
    SHARES,
    r"^4\. The primary \(PostgreSQL at port \d+\) is killed",
    r"^   [\d.]+ s later its standby \(at port \d+\) is promoted",
    r"^5\. Broker c is stopped in order: it gives its 8\d slots to the others first",
    r"orders done    slots of brokers: a 128  b 128  c   -",
    r"^   [\d,]+ orders were placed, and [\d,]+ returned what they must",
    r"^   none was lost",
    r"^Everything is stopped\.",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return empty_folder(tmp_path)


def test_the_demo_tells_its_story_and_leaves_nothing(folder: Path) -> None:
    run = Run(folder, ["-c", QUICKLY])
    run.ends_with(0)
    assert list(folder.iterdir()) == []
    assert run.err == ""
    run.tells(KEY_LINES)


def test_two_signals_stop_everything(folder: Path) -> None:
    """A terminal sends one, and whatever supervises the program may send another."""
    run = Run(folder, ["-c", QUICKLY])
    until("the story has begun", lambda: "3. Broker b" in run.out)
    count = len(run.processes())
    run.process.send_signal(signal.SIGINT)
    until("it stops", lambda: len(run.processes()) < count)
    run.process.send_signal(signal.SIGTERM)
    run.ends_with(128 + signal.SIGINT)
    assert "interrupted: everything is stopped" in run.out
    assert list(folder.iterdir()) == []


def test_an_order_that_does_not_return_what_it_must_is_told(folder: Path) -> None:
    program = """
import sys
from examples.cluster import demo, load

right = load.answer
load.answer = lambda number: 'free' if number == 7 else right(number)

async def nothing(story):
    pass

# Whether anything dies meanwhile makes no difference to how orders are counted.
demo.Story._a_broker_dies = demo.Story._the_primary_dies = demo.Story._a_broker_leaves = nothing
demo.LINE_S = 0.2
sys.exit(demo.main())
"""
    run = Run(folder, ["-c", program])
    run.ends_with(1)
    assert "The demo failed: orders were lost: ['order-7: order 7: 17 paid']" in run.err
