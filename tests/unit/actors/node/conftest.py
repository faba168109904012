"""The scenario that most tests of a node begin with."""

from __future__ import annotations

import pytest

from tests.unit.actors.node.scenario import Scenario


@pytest.fixture
def scenario() -> Scenario:
    return Scenario()
