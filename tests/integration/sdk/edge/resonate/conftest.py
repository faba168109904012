"""One broker, one edge and one node of ours for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sdk.edge.resonate.client import Client
from tests.integration.sdk.edge.resonate.world import World, broker_and_edge, our_node


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("edge")
    legacy = ("--legacy", "--legacy-poll", "127.0.0.1:0")
    with broker_and_edge(folder, *legacy) as world, our_node(folder, world.broker):
        yield world


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    client = Client(world.url)
    yield client
    client.close()
