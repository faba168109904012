"""A broker for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from understudy_broker.server.embedded import EmbeddedBroker


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a broker in this process, with a store in memory."""
    with EmbeddedBroker() as broker:
        yield broker.endpoint
