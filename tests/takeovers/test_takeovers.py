"""A few seconds of takeovers; ``make takeovers`` runs longer (docs/proof.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.takeovers.run import play
from tests.takeovers.sharing import LEASE_S, play_sharing
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.postgres import connections, keeper, opening, pulse


def test_nothing_is_lost_whichever_writers_die(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LEASE_S", 0.3)
    outcome = play(postgres, tmp_path, seed=3, seconds=8)
    assert (outcome.lost, outcome.broken, outcome.errors) == ([], [], []), outcome.report()
    # There were faults, and commits in spite of them.
    assert outcome.acknowledged > 20, outcome.report()
    assert outcome.counts["takeovers"] > 1, outcome.report()
    assert outcome.counts["kill"] > 0, outcome.report()


@pytest.fixture
def settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge works with the lease of the run, and other tests with their own."""
    monkeypatch.setattr(opening, "LEASE_S", LEASE_S)
    for module, name in (
        (opening, "LIVE_S"),
        (pulse, "BEAT_S"),
        (keeper, "LEASE_S"),
        (keeper, "LOOK_S"),
        (journaled_table, "LAG_S"),
        (connections, "PATIENCE_S"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.usefixtures("settings_stay")
def test_nothing_is_lost_whichever_brokers_die_that_share_a_store(
    postgres: Cluster, tmp_path: Path
) -> None:
    outcome = play_sharing(postgres, tmp_path, seed=3, seconds=12)
    assert outcome.faults == [], outcome.report()
    # There were faults, and commits in spite of them.
    assert outcome.acknowledged > 500, outcome.report()
    assert outcome.counts["takeovers"] > 1, outcome.report()
    assert outcome.counts["handed over"] > 50, outcome.report()
    assert outcome.progress_s


@pytest.mark.usefixtures("settings_stay")
def test_without_the_fence_there_are_forks(postgres: Cluster, tmp_path: Path) -> None:
    """A check of the check."""
    outcome = play_sharing(postgres, tmp_path, seed=5, seconds=60, fenced=False)
    assert outcome.forks, outcome.report()
