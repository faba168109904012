"""Fixtures that several tests of the broker's core share."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """A node `a` of group g with room for ten, and a client `c`."""
    rig = Rig()
    rig.join(b"peer-a", "a", credit=10)
    rig.join(b"peer-c", "c", kind="client", group="callers")
    return rig
