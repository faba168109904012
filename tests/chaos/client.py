"""A client: makes calls, waits, and records each reply; after its death it continues its calls.

Run as ``python -m tests.chaos.client NAME``. It has several threads, each of which makes one call
after the other. The one of the name ``probe`` makes short calls, from more threads.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from tests.chaos import ledger
from tests.chaos.app import PROBE, program_of, target_of
from understudy import BrokerUnavailableError, Runtime, UnderstudyError
from understudy_actors.processes.fork_server import fork_point
from understudy_actors.processes.lifeline import watch_lifeline

SEED_ENV: Final = "CHAOS_SEED"
FOLDER_ENV: Final = "CHAOS_FOLDER"
#: Threads of each client, and so its calls at a time.
THREADS: Final = 5
#: The same of the client that probes.
PROBES: Final = 12
#: The longest pause between the end of a call and the next, in seconds.
PAUSE_S: Final = 0.15
PROBE_PAUSE_S: Final = 0.5
#: The file whose existence stops new calls.
STOP_FILE: Final = "stop"

T = TypeVar("T")


class Caller:
    """Makes the calls of one thread, ``c0-2-0``, ``c0-2-1`` and so on, one after the other."""

    def __init__(self, runtime: Runtime, folder: Path, name: str, seed: int) -> None:
        self._runtime = runtime
        self._stop_file = folder / STOP_FILE
        self._name = name
        self._seed = seed
        self._random = random.Random()
        self._pause_s = PROBE_PAUSE_S if name.startswith(PROBE) else PAUSE_S
        path = folder / f"client-{name}.log"
        known = ledger.read([path]) if path.exists() else []
        self._finished = sum(event.kind in ("result", "failed") for event in known)
        #: Calls that a dead predecessor asked for; their results are awaited too.
        self._inherited = sum(event.kind == "asked" for event in known) > self._finished
        self._log = ledger.Ledger(path)

    def run(self) -> None:
        """Make calls until the stop file exists, and wait for each."""
        while self._inherited or not self._stop_file.exists():
            self._call(f"{self._name}-{self._finished}")
            if self._finished % 4 == 0:
                self._look_again(f"{self._name}-{self._random.randrange(self._finished)}")
            time.sleep(self._random.uniform(0, self._pause_s))
        self._log.write("done", self._name)

    def _call(self, id: str) -> None:
        program, argument, _ = program_of(id, self._seed)
        group = self._runtime.options(target=target_of(id))
        if not self._inherited:
            self._log.write("asked", id, program)
        handle = self._until_answered(lambda: group.rpc(id, program, argument))
        self._log.write("acked", id)
        try:
            self._log.write("result", id, json.dumps(handle.result()))
        except UnderstudyError as error:
            self._log.write("failed", id, " ".join(repr(error).split()))
        self._finished += 1
        self._inherited = False

    def _look_again(self, id: str) -> None:
        """Read an old result again, because it must stay the same forever."""
        record = self._until_answered(lambda: self._runtime.promises.get(id))
        self._log.write("again", id, json.dumps(record.value()))

    def _until_answered(self, ask: Callable[[], T]) -> T:
        while True:
            try:
                return ask()
            except BrokerUnavailableError:
                continue  # The attempt has taken its timeout, so no further pause is needed.


def main() -> int:
    """Call with several threads until a signal comes."""
    own_args = fork_point("understudy.client.connection")
    name = (own_args or sys.argv[1:])[0]
    folder, seed = Path(os.environ[FOLDER_ENV]), int(os.environ[SEED_ENV])
    watch_lifeline(lambda: os._exit(0))
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    runtime = Runtime(group="clients")
    for thread in range(PROBES if name == PROBE else THREADS):
        caller = Caller(runtime, folder, f"{name}-{thread}", seed)
        threading.Thread(target=caller.run, daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
