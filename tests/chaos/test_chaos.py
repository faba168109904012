"""A few seconds of chaos; ``make chaos`` runs longer (docs/chaos.md)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.__main__ import run


@pytest.mark.skipif(sys.platform != "linux", reason="needs nodes that start in milliseconds")
def test_no_rule_is_violated_whichever_processes_die(tmp_path: Path) -> None:
    verdict = run(tmp_path, seed=7, seconds=10)
    figures = verdict.figures
    assert verdict.violations == [], figures
    # There were faults, and calls were performed in spite of them.
    assert figures["done to processes"]["node kill"] >= 20, figures
    assert figures["done to processes"]["broker kill"] >= 1, figures
    assert figures["calls acknowledged"] >= 50, figures
    assert figures["results received"] == figures["calls acknowledged"], figures
