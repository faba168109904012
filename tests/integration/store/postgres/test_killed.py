"""A broker is killed or stopped in the middle of commits: what it acknowledged stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.cluster import rows
from tests.integration.store.postgres_world import grow_old
from tests.unit.store.answers import found
from understudy_store.engines.base import Opening
from understudy_store.store import open_store

ROOT = Path(__file__).parents[4]

#: commits numbered batches for ever, and prints each number once it is acknowledged
WRITER = """
import os, sys
from threading import Semaphore
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.errors import StoreFailedError
from understudy_store.store import open_store

store = open_store(sys.argv[1])
room = Semaphore(4)

def report(number):
    def done(result):
        if isinstance(result, StoreFailedError):
            os.write(2, f"{result}\\n".encode())
            os._exit(7)
        os.write(1, f"{number}\\n".encode())
        room.release()
    return done

before, number = [], 0
while True:
    room.acquire()
    rows = [row(f"p.{number}.{n}") for n in range(20)]
    changes = Changes(number + 1, inserted=rows, updated=[settled(r, number + 1) for r in before])
    store.commit(changes, [], report(number))
    before, number = rows, number + 1
"""


@contextmanager
def writing(url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def out_of(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def check(url: str, acknowledged: int) -> None:
    """Check that all batches up to `acknowledged` are there, each whole, and none twice."""
    store = open_store(url)
    count = store.snapshot.now
    last = count - 1
    assert last >= acknowledged
    # The last batch is pending, wholly; all before it were settled in the commit after theirs.
    assert {row.id for row in store.snapshot.live} == {f"p.{last}.{n}" for n in range(20)}
    ids = [f"p.{number}.{n}" for number in range(count) for n in range(20)]
    settled_at = {row.promise.id: row.promise.settled_at for row in found(store, ids)}
    assert settled_at == {
        f"p.{number}.{n}": None if number == last else number + 2
        for number in range(count)
        for n in range(20)
    }
    assert rows(url, "select count(*) from journal") == [(0,)]
    store.close()


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    """Killed after some commits have reached the tables, and the rest only the journal."""
    with writing(url) as process:
        printed = [out_of(process).readline() for _ in range(30)]
        while rows(url, "select applied from progress") == [(0,)]:
            printed.append(out_of(process).readline())
        printed += [out_of(process).readline() for _ in range(30)]
        process.send_signal(signal.SIGKILL)
        printed += out_of(process).readlines()
        assert process.wait(10) == -signal.SIGKILL
    numbers = [int(line) for line in printed]
    assert numbers == list(range(len(numbers)))
    told: list[str] = []
    # The lease runs out by itself here.
    open_store(url, Opening(tell=told.append)).close()
    assert any("waiting for process" in text for text in told)
    check(url, numbers[-1])


def test_a_stopped_broker_that_wakes_after_another_took_over_stops(url: str) -> None:
    with writing(url) as process:
        printed = [out_of(process).readline() for _ in range(30)]
        process.send_signal(signal.SIGSTOP)
        grow_old(url)
        store = open_store(url)
        taken = store.snapshot.now
        process.send_signal(signal.SIGCONT)
        printed += out_of(process).readlines()
        _, err = process.communicate(timeout=30)
        assert process.returncode == 7
    assert "another broker has taken over from this one" in err
    assert "Another broker goes on with its calls, and this one ends" in err
    numbers = [int(line) for line in printed]
    assert numbers == list(range(len(numbers)))
    assert numbers[-1] < taken
    store.close()
    check(url, numbers[-1])
    assert rows(url, "select value from meta where key = 'now'") == [(str(taken),)]
