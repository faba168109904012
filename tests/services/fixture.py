"""A server for the tests of a session; where it cannot be had, they are skipped or fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import pytest

from tests.services.cache import UnavailableError


class Startable(Protocol):
    """A server: see `server.Server`."""

    def start(self) -> None: ...
    def remove(self) -> None: ...


S = TypeVar("S", bound=Startable)
T = TypeVar("T")


def required(make: Callable[[], T]) -> T:
    """Return what a test needs.

    Where it can be neither found nor fetched, the test is skipped; in CI that is a failure.
    """
    try:
        return make()
    except UnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextmanager
def running(make: Callable[[], S]) -> Iterator[S]:
    """Run a server during the block.

    Where it can be neither found nor fetched, the tests are skipped; in CI that is a failure.
    """
    server = required(make)
    try:
        server.start()
        yield server
    finally:
        server.remove()
