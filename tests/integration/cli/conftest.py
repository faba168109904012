"""A broker, and commands that run in this process, for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cli.commands import Cli
from understudy.cli import main
from understudy_broker.server.embedded import EmbeddedBroker


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a broker in this process, with a store in memory."""
    with EmbeddedBroker() as broker:
        yield broker.endpoint


@pytest.fixture
def cli(url: str, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process: exit code, output, errors."""

    def command(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([*args, "--url", url])
        return code, *capfd.readouterr()

    return command
