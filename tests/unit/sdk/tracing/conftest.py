"""The recorder of spans, as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sdk.tracing.recorder import Recorder, recording


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Records all spans of the test."""
    with recording() as recorder:
        yield recorder
