"""A store over PostgreSQL that brings nothing to its tables unasked, for tests from inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from understudy_store.engines.base import Opening, Share
from understudy_store.engines.journaled import journaled_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster import Cluster
    from understudy_store.engines.postgres.engine import PostgresEngine
    from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine


@pytest.fixture
def url(postgres: Cluster) -> str:
    """The URL of a store that does not exist yet."""
    return postgres.new_schema()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables get nothing until something asks for it."""
    monkeypatch.setattr(journaled_table, "LAG_S", 3600.0)


@pytest.fixture(params=["waited for", "attended"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits are made both ways, in one run each."""
    from tests.integration.store.postgres_world import ways

    monkeypatch.setattr(ways, "attended", request.param == "attended")


@pytest.fixture
def engine(url: str, idle: None) -> Iterator[PostgresEngine]:
    from tests.integration.store.postgres_world import opened

    engine = opened(url)
    yield engine
    engine.close()


@pytest.fixture
def join(
    url: str, idle: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], SharedPostgresEngine]]:
    """Open the store beside the others that the test has; all are closed at its end."""
    from understudy_store.engines.postgres import keeper
    from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine

    monkeypatch.setattr(keeper, "LOOK_S", 0.05)
    made: list[SharedPostgresEngine] = []

    def joined(name: str, tell: Callable[[str], object] = str) -> SharedPostgresEngine:
        share = Share(name, f"tcp://{name}:1")
        made.append(SharedPostgresEngine(url, Opening(share=share, tell=tell)))
        made[-1].load()
        return made[-1]

    yield joined
    for engine in made:
        engine.close()
