"""A fixture for those that show more about a test that has failed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

import pytest

_FAILED: Final = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure for `has_failed`."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture
def has_failed(request: pytest.FixtureRequest) -> Callable[[], bool]:
    """Whether the test has failed, for fixtures that then print the output of its processes."""
    return lambda: request.node.stash.get(_FAILED, False)
