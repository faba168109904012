"""A broker, a node of group shop and an edge, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sdk.edge.rig import Rig, open_rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("edge")) as rig:
        yield rig
