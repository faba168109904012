"""A broker, a node of group shop and an edge with gRPC, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sdk.edge.grpc.rig import Grpc, open_grpc


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grpc]:
    with open_grpc(tmp_path_factory.mktemp("grpc")) as rig:
        yield rig
