"""A few seconds of takeovers; ``make takeovers`` runs longer (docs/proof.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.takeovers.run import play
from understudy_store.engines.postgres import opening


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
