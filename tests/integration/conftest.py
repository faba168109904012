"""Logging is as it was before each test, whatever the programs that run inside it have set."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import pytest

#: The loggers that brokers, nodes and the command line configure.
_CONFIGURED: Final = ("", "understudy", "understudy.broker")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restore levels, handlers and propagation.

    A command that runs in the test's own process configures logging for good. A later test would
    then see lines at a level of its own, and writes to an output that is closed by now.
    """
    loggers = [logging.getLogger(name) for name in _CONFIGURED]
    before = [(one.level, list(one.handlers), one.propagate) for one in loggers]
    yield
    for one, (level, handlers, propagate) in zip(loggers, before, strict=True):
        one.setLevel(level)
        one.propagate = propagate
        for handler in list(one.handlers):
            if handler not in handlers:
                one.removeHandler(handler)
