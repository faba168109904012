"""A broker, calls and commands of this process, for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cli.commands import Cli
from understudy import Runtime
from understudy.cli import main
from understudy_broker.server.embedded import EmbeddedBroker


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a broker in this process, with a store in memory."""
    with EmbeddedBroker() as broker:
        yield broker.endpoint


@pytest.fixture
def calls(url: str) -> Iterator[Runtime]:
    """A runtime of this process, whose calls go to the group ``g``."""
    with Runtime(group="tests", url=url) as runtime:
        yield runtime.options(target="g")


@pytest.fixture
def cli(url: str, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process: exit code, output, errors."""

    def command(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([*args, "--url", url])
        return code, *capfd.readouterr()

    return command
