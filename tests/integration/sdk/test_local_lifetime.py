"""The life of an embedded runtime: starts, stops, restarts over a file, and its directory."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.sdk.functions import add, approve, exists, register_all
from tests.support import eventually
from understudy import Context, Runtime


class TestLifetime:
    def test_a_store_in_a_file_keeps_results(self, tmp_path: Path) -> None:
        for _ in range(2):
            with register_all(Runtime.local(str(tmp_path / "store.db"))) as runtime:
                assert runtime.rpc("x", add, 1, 2).result(10) == 3
                assert len(list(runtime.promises.search())) == 1

    def test_a_waiting_call_goes_on_after_a_restart(self, tmp_path: Path) -> None:
        path = str(tmp_path / "store.db")
        with register_all(Runtime.local(path)) as runtime:
            runtime.rpc("x", approve)
            eventually(lambda: exists(runtime))
        with register_all(Runtime.local(path)) as runtime:
            runtime.promises.resolve("x/approval", "late")
            assert runtime.get("x").result(20) == "late"

    def test_stop_and_start_again(self) -> None:
        runtime = register_all(Runtime.local())
        for n in range(2):
            runtime.start()
            assert runtime.rpc(f"x{n}", add, 1, 2).result(10) == 3
            runtime.stop()
        runtime.stop()

    def test_a_stop_lets_functions_finish(self) -> None:
        finished: list[int] = []
        begun, go = threading.Event(), threading.Event()

        def f(ctx: Context) -> None:
            begun.set()
            go.wait(10)
            finished.append(1)

        runtime = Runtime.local()
        runtime.register(f)
        runtime.start()
        runtime.rpc("x", f)
        assert begun.wait(10)
        threading.Timer(0.05, go.set).start()
        runtime.stop()
        assert finished == [1]


def test_directories_of_killed_processes_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as sockets:
        monkeypatch.setattr(tempfile, "tempdir", folder)

        def left(name: str, age_s: float, *, alive: bool) -> Path:
            directory = Path(folder, name)
            directory.mkdir()
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(directory / "broker"))
            if alive:
                sockets.enter_context(listener).listen()
            else:
                listener.close()
            long_ago = time.time() - age_s
            os.utime(directory / "broker", (long_ago, long_ago))
            return directory

        dead = left(f"understudy-{'0' * 16}", 3600, alive=False)
        starting = left(f"understudy-{'1' * 16}", 1, alive=False)
        alive = left(f"understudy-{'2' * 16}", 3600, alive=True)
        foreign = left("understudy-of-somebody-else", 3600, alive=False)
        with Runtime.local() as runtime:
            own = Path(runtime.url.removeprefix("ipc://")).parent
            assert set(Path(folder).iterdir()) == {own, starting, alive, foreign}
        assert not dead.exists()
