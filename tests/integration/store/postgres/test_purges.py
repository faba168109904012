"""Purges do the same over PostgreSQL as in memory, also when the broker is killed between two."""

from __future__ import annotations

import pytest

from tests.integration.store.postgres_world import kill, opened
from tests.purging import play
from understudy_store.engines.base import Engine
from understudy_store.engines.postgres.engine import PostgresEngine

pytestmark = pytest.mark.usefixtures("idle")


def test_purges_are_those_of_memory(url: str) -> None:
    engines: list[Engine] = [opened(url)]

    def reopen(engine: Engine) -> Engine:
        assert isinstance(engine, PostgresEngine)
        kill(engine, url)
        engines.append(opened(url))
        return engines[-1]

    deleted = play(engines[0], reopen, 1, 60)
    engines[-1].close()
    assert deleted > 10
