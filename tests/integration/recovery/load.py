"""Callers that call all the time, and check all results at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.integration.recovery.world import SOON_S, World, until


class Load:
    """Threads in the test's process, each of which makes one call after the other in group g."""

    def __init__(self, world: World, function: str = "echo", callers: int = 4) -> None:
        self._world = world
        self._function = function
        self._stop = threading.Event()
        #: size of each argument and result, in bytes
        self.size = 10
        self.acknowledged: set[str] = set()
        self.results: dict[str, object] = {}
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(callers)]

    def _run(self, caller: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self._call(f"x-{caller}-{number}")
            except Exception as error:
                self.failures.append(error)

    def _call(self, id: str) -> None:
        calls = self._world.runtime.options(target="g")
        handle = calls.rpc(id, self._function, bytes(self.size))
        self.acknowledged.add(id)
        self.results[id] = handle.result()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self.wait_for_calls()

    def wait_for_calls(self, calls: int = 12, unless: Callable[[], bool] = lambda: False) -> None:
        """Return when `calls` more calls have ended, or when `unless` says that none will."""
        wanted = len(self.results) + calls
        until("calls end", lambda: len(self.results) >= wanted or unless())

    def finish(self) -> None:
        """Let all calls end, and compare their results with the store."""
        self._stop.set()
        for thread in self._threads:
            thread.join(SOON_S * 3)
            assert not thread.is_alive()
        assert not self.failures
        assert set(self.results) == self.acknowledged
        for id, value in self.results.items():
            assert value == bytes(self.size)
            assert self._world.wait_settled(id).value() == value

    def stop(self) -> None:
        """Make no more calls; check nothing."""
        self._stop.set()
