"""A store that cannot be opened: the error of `Runtime.local` is public and names the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import understudy
from understudy import Runtime, StoreError, UnderstudyError
from understudy_broker.server.embedded import EmbeddedBroker


def unknown_scheme(folder: Path) -> str:
    return "nats://somewhere"


def missing_folder(folder: Path) -> str:
    (folder / "file").write_text("")
    return str(folder / "file" / "calls.db")


def a_folder(folder: Path) -> str:
    return str(folder)


def another_file(folder: Path) -> str:
    path = folder / "calls.db"
    path.write_text("this is no database" * 1000)
    return str(path)


@pytest.mark.parametrize("make", [unknown_scheme, missing_folder, a_folder, another_file])
def test_a_store_that_cannot_be_opened(make: Callable[[Path], str], tmp_path: Path) -> None:
    runtime = Runtime.local(make(tmp_path))
    with pytest.raises(StoreError) as caught:
        runtime.start()
    assert isinstance(caught.value, UnderstudyError)
    assert getattr(understudy, caught.type.__name__) is caught.type
    runtime.stop()


def test_a_store_that_another_process_has_open(tmp_path: Path) -> None:
    path = str(tmp_path / "calls.db")
    with EmbeddedBroker(path):
        runtime = Runtime.local(path)
        runtime.register(lambda ctx: None, name="f")
        with pytest.raises(understudy.StoreLockedError):
            runtime.rpc("x", "f")
        runtime.stop()


def test_a_stopped_runtime_says_so() -> None:
    runtime = Runtime.local()
    runtime.register(lambda ctx: None, name="f")
    with runtime:
        handle = runtime.options(delay=60).rpc("x", "f")
    with pytest.raises(understudy.StoppedError):
        handle.result(timeout=5)
