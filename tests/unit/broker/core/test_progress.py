"""The progress that a broker keeps: of tasks that the teller holds, bounded, and for how long."""

from __future__ import annotations

import math

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.core import progress
from understudy_broker.protocol.messages import GroupsGet, Progress, ProgressEntry, Response
from understudy_store.commands import (
    PromiseCancel,
    PromiseSettle,
    TaskGet,
    TaskHalt,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.progress import PROGRESS_CHARS_MAX, ProgressRecord
from understudy_store.records import RESOLVED, Value


@pytest.fixture
def rig() -> Rig:
    """A node that holds the task ``x``, another node, and a client."""
    rig = Rig()
    welcome = rig.join(b"n", "n", credit=10)
    assert welcome.takes_progress
    rig.join(b"m", "m", group="h", credit=10)
    rig.join(b"c", "c", kind="client")
    rig.create(b"c", "x")
    return rig


def tell(rig: Rig, *entries: ProgressEntry, peer: bytes = b"n") -> None:
    rig.send(peer, Progress(entries))
    rig.turn()


def read(rig: Rig, id_: str = "x") -> tuple[ProgressRecord, ...] | None:
    return rig.reply(b"c", TaskGet(id_)).progress


def test_a_task_is_read_with_its_progress(rig: Rig) -> None:
    assert read(rig) is None
    tell(rig, ProgressEntry("x", 1, "x", 0.4, "half"))
    assert read(rig) == (ProgressRecord("x", 0.4, "half", rig.now),)
    rig.now += 1000
    tell(rig, ProgressEntry("x", 1, "x", None, "nearly"))
    assert read(rig) == (ProgressRecord("x", None, "nearly", rig.now),)


def test_a_node_says_what_keeps_it_from_its_work(rig: Rig) -> None:
    def node() -> tuple[str, int]:
        corr = rig.ask(b"c", GroupsGet())
        rig.turn()
        [report] = [each.report for each in rig.take(b"c", Response) if each.corr == corr]
        assert report is not None
        [info] = next(group for group in report.groups if group.name == "g").nodes
        return info.blocked, info.blocked_ms

    assert node() == ("", 0)
    rig.send(b"n", Progress((), "its trio loop is blocked by app.py:7 in f"))
    rig.turn()
    since = rig.now
    rig.now += 3000
    # It is told again, and something else is told: that it is blocked goes on.
    rig.send(b"n", Progress((), "its trio loop is blocked by app.py:7 in f"))
    tell(rig, ProgressEntry("x", 1, "x", 0.4, "half"))
    assert node() == ("its trio loop is blocked by app.py:7 in f", rig.now - since)
    rig.send(b"n", Progress((), "x" * 5000))
    assert len(node()[0]) == progress.BLOCKED_CHARS_MAX
    rig.send(b"n", Progress((), ""))
    assert node() == ("", 0)


def test_steps_come_latest_first_and_can_be_taken_back(rig: Rig) -> None:
    tell(rig, ProgressEntry("x", 1, "x", 0.1), ProgressEntry("x", 1, "x.1", 0.2))
    assert [each.id for each in read(rig) or ()] == ["x.1", "x"]
    tell(rig, ProgressEntry("x", 1, "x", 0.2))
    assert [each.id for each in read(rig) or ()] == ["x", "x.1"]
    tell(rig, ProgressEntry("x", 1, "x.1"))
    assert [each.id for each in read(rig) or ()] == ["x"]
    tell(rig, ProgressEntry("x", 1, "x"), ProgressEntry("x", 1, "nothing"))
    assert read(rig) is None


@pytest.mark.parametrize(
    "entry",
    [
        ProgressEntry("x", 1, "x", 0.5),  # from another node
        ProgressEntry("absent", 1, "absent", 0.5),
    ],
)
def test_others_are_not_heard(rig: Rig, entry: ProgressEntry) -> None:
    for peer in (b"m", b"c"):
        tell(rig, entry, peer=peer)
        assert read(rig) is None
    tell(rig, ProgressEntry("x", 2, "x", 0.5))
    tell(rig, ProgressEntry("x", 0, "x", 0.5))
    assert read(rig) is None


@pytest.mark.parametrize(
    ("told", "kept"), [(-1.0, 0.0), (7.5, 1.0), (math.nan, None), (math.inf, None)]
)
def test_a_fraction_is_one(rig: Rig, told: float, kept: float | None) -> None:
    tell(rig, ProgressEntry("x", 1, "x", told, "text"))
    assert [each.fraction for each in read(rig) or ()] == [kept]


def test_texts_and_ids_are_bounded(rig: Rig) -> None:
    tell(rig, ProgressEntry("x", 1, "x", None, "y" * 10_000))
    tell(rig, ProgressEntry("x", 1, "z" * 10_000, 0.5))
    [kept] = read(rig) or ()
    assert kept.text == "y" * PROGRESS_CHARS_MAX


def test_the_runs_of_a_task_are_bounded(rig: Rig) -> None:
    for number in range(progress.RUNS_MAX + 3):
        tell(rig, ProgressEntry("x", 1, f"x.{number}", 0.5))
    assert [each.id for each in read(rig) or ()] == [
        f"x.{number}" for number in reversed(range(3, progress.RUNS_MAX + 3))
    ]


def test_tasks_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TASKS_MAX", 2)
    for id_ in ("y", "z"):
        rig.create(b"c", id_)
    tell(rig, *(ProgressEntry(id_, 1, id_, 0.5) for id_ in ("x", "y", "x", "z")))
    assert [read(rig, id_) is None for id_ in ("x", "y", "z")] == [False, True, False]


class TestEnd:
    @pytest.fixture(autouse=True)
    def told(self, rig: Rig) -> None:
        tell(rig, ProgressEntry("x", 1, "x", 0.5))

    @pytest.mark.parametrize(
        "command", [PromiseCancel("x"), PromiseSettle("x", RESOLVED, Value({}, b""))]
    )
    def test_the_settlement(self, rig: Rig, command: PromiseCancel | PromiseSettle) -> None:
        assert rig.reply(b"c", command).ok
        assert read(rig) is None

    def test_the_death_of_the_node(self, rig: Rig) -> None:
        rig.core.connection_lost(b"n", rig.now)
        rig.turn()
        assert read(rig) is not None, "it may come back"
        rig.now += 60_000 - 1
        rig.turn()
        assert read(rig) is None

    def test_the_return_of_the_task(self, rig: Rig) -> None:
        rig.reply(b"n", TaskRelease("x", 1, 1000))
        assert read(rig) is None
        rig.now += 1000
        rig.turn()
        assert rig.reply(b"c", TaskGet("x")).task.version == 2  # type: ignore[union-attr]
        assert read(rig) is None, "that was told of another attempt"
        tell(rig, ProgressEntry("x", 2, "x", 0.1))
        assert [each.fraction for each in read(rig) or ()] == [0.1]

    def test_a_halt(self, rig: Rig) -> None:
        rig.reply(b"c", TaskHalt("x"))
        assert read(rig) is None

    def test_not_a_suspension(self, rig: Rig) -> None:
        rig.create(b"c", "waits", target="nobody")
        assert rig.reply(b"n", TaskSuspend("x", 1, ("waits",))).ok
        assert read(rig) is not None
