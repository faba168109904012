"""A store that a broker has served may hold pickles of others: opened by oneself, none are run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.broker.test_daemon import endpoint_in, started
from understudy import Runtime
from understudy.errors import ConfigurationError, DecodingError


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A store that a stranger has put a pickle into, over the network."""
    with started(tmp_path, store="sqlite:///x.db") as (process, line):
        with Runtime(url=endpoint_in(line), group="strangers", pickle=True) as stranger:
            stranger.promises.create("planted")
            stranger.promises.resolve("planted", Evil(tmp_path / "mark"))
        process.terminate()
        assert process.wait(20) == 0
    return tmp_path / "x.db"


def test_it_is_not_opened_unless_the_user_decides(planted: Path) -> None:
    runtime = Runtime.local(str(planted))
    with pytest.raises(ConfigurationError, match=r"pickle=False.*pickle=True"), runtime:
        pass
    assert not planted.with_name("mark").exists()


def test_without_pickles_it_is_read(planted: Path) -> None:
    with Runtime.local(str(planted), pickle=False) as runtime:
        with pytest.raises(DecodingError, match="pickled"):
            runtime.get("planted").result(10)
        runtime.promises.create("another")
    assert not planted.with_name("mark").exists()


def test_with_pickles_it_is_as_the_user_says(planted: Path) -> None:
    with Runtime.local(str(planted), pickle=True) as runtime:
        runtime.get("planted").result(10)
    assert planted.with_name("mark").exists(), "so the pickle of these tests is a real one"


def test_a_store_of_ones_own_needs_no_decision(tmp_path: Path) -> None:
    for _ in range(2):
        with Runtime.local(str(tmp_path / "own.db")) as runtime:
            runtime.promises.create("p")
