"""Chaos with several brokers for a minute; ``make chaos-brokers`` runs longer (docs/chaos.md)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.chaos import several_brokers
from tests.chaos.__main__ import run


@pytest.mark.skipif("CHAOS_BROKERS" not in os.environ, reason="takes a minute: set CHAOS_BROKERS=1")
@pytest.mark.skipif(sys.platform != "linux", reason="needs nodes that start in milliseconds")
def test_no_rule_is_violated_whichever_brokers_and_servers_die(tmp_path: Path) -> None:
    verdict = run(tmp_path, seed=1, seconds=40, setting=several_brokers)
    figures = verdict.figures
    assert verdict.violations == [], figures
    done = figures["done to processes"]
    for kind in ("broker kill", "broker stop", "broker term", "broker joining", "broker leaving"):
        assert done[kind] >= 1, figures
    for kind in ("node kill", "node stop", "database cut", "database promoted"):
        assert done[kind] >= 1, figures
    assert figures["results received"] == figures["calls acknowledged"] >= 200, figures
