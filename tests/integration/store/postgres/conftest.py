"""A store over PostgreSQL that brings nothing to its tables unasked, for tests from inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from understudy_store.engines.journaled import journaled_table

if TYPE_CHECKING:
    from tests.cluster import Cluster
    from understudy_store.engines.postgres.engine import PostgresEngine


@pytest.fixture
def url(postgres: Cluster) -> str:
    """The URL of a store that does not exist yet."""
    return postgres.new_schema()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables get nothing until something asks for it."""
    monkeypatch.setattr(journaled_table, "LAG_S", 3600.0)


@pytest.fixture
def engine(url: str, idle: None) -> Iterator[PostgresEngine]:
    from tests.integration.store.postgres_world import opened

    engine = opened(url)
    yield engine
    engine.close()
