"""A fixture that lets other fixtures show more when a test has failed."""

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
    """Return a function that is true once the test has failed; fixtures print more then."""
    return lambda: request.node.stash.get(_FAILED, False)
