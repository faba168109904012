"""Attacks on a broker: a real process, real sockets, and guests that must be served meanwhile.

``python -m tests.fuzz --frames 1000000 --seed 1``: see docs/proof.md. The frames follow from the
seed; the order in which frames of attackers and guests arrive does not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import trio

from tests.fuzz.attacker import Orders, attack
from tests.fuzz.guests import CALLER, NODE, Guests, counters
from tests.unit.store.answers import found
from tests.unit.store.machine.properties import check_state
from understudy_broker.link.link import Link
from understudy_store.limits import MIB
from understudy_store.machine import Machine
from understudy_store.store import open_store

#: The share of the frames after which the broker's memory is measured as that of normal work.
WARM_SHARE = 0.1
#: The growth of memory that the other frames may cause: a heap with holes needs more pages.
GROWTH_BYTES_MAX = 64 * MIB
ATTACKERS = 2
#: Seconds in which the broker must report its counters.
ANSWER_MAX_S = 1.0

BROKER = """
import json, sys
from understudy_broker.server.daemon import run_broker
from understudy_broker.server.settings import load_settings
sys.exit(run_broker(load_settings(flags=json.loads(sys.argv[1]))))
"""


class Attack(NamedTuple):
    """The outcome of an attack."""

    sent: Counter[str]
    #: The broker's counters at the end.
    counted: dict[str, int]
    latencies_ms: list[float]
    #: Latencies of the guests' calls before the attack.
    before_ms: list[float]
    #: The broker's memory in bytes: after `WARM_SHARE` of the frames, at most, and at the end.
    memory: tuple[int, int, int]
    took_s: float
    faults: list[str]

    @property
    def frames(self) -> int:
        return sum(n for kind, n in self.sent.items() if kind.startswith("sent, "))


def memory_of(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        found = [each for each in status.read_text().splitlines() if each.startswith("VmRSS")]
        # A process that has ended has no memory.
        return sum(int(line.split()[1]) * 1024 for line in found)
    out = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True)
    return int(out.stdout) * 1024


@contextmanager
def broker_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a broker over SQLite in `folder`; yield process and address."""
    flags = {
        "listen": "tcp://127.0.0.1:0",
        "store": f"sqlite:///{folder}/store.db",
        "log_format": "json",
    }
    log = folder / "broker.log"
    command = [sys.executable, "-c", BROKER, json.dumps(flags)]
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr, text=True) as process:
        try:
            while "listening on " not in (text := log.read_text()):
                if process.poll() is not None:
                    raise RuntimeError(f"the broker did not start: {text}")
                time.sleep(0.01)
            yield process, text.partition("listening on ")[2].partition(",")[0]
        finally:
            process.kill()


class BrokerEndedError(Exception):
    """The broker has ended, which no frame may cause."""


class _Siege:
    """One attack, with guests before, during and after it."""

    def __init__(self, frames: int, seed: int, progress: Callable[[str], None]) -> None:
        self.sent: Counter[str] = Counter()
        self.faults: list[str] = []
        self._frames = frames
        self._seed = seed
        self._progress = progress
        self._samples: list[int] = []
        self._warm = 0

    async def run(self, process: subprocess.Popen[str], url: str) -> Attack:
        """Let guests call alone for a moment, then with attackers, then alone again."""
        guests, stop = Guests(url), trio.Event()
        async with trio.open_nursery() as nursery:
            link: Link = await nursery.start(guests.run, stop)
            while len(guests.latencies_ms) < 50 and not guests.faults:
                await trio.sleep(0.01)
            calm = list(guests.latencies_ms)
            began = time.monotonic()
            async with trio.open_nursery() as watching:
                watching.start_soon(self._watch, process, link)
                await self._attack(url)
                took_s = time.monotonic() - began
                during = guests.latencies_ms[len(calm) :]
                counted = await self._quiet(link)
                watching.cancel_scope.cancel()
            served = len(guests.latencies_ms)
            while len(guests.latencies_ms) < served + 5 and not guests.faults:
                await trio.sleep(0.01)
            stop.set()
        self.faults += guests.faults
        memory = (self._warm, max(self._samples), memory_of(process.pid))
        return Attack(self.sent, counted, during, calm, memory, took_s, self.faults)

    async def _attack(self, url: str) -> None:
        share = -(-self._frames // ATTACKERS)
        sizes = [min(share, self._frames - at) for at in range(0, self._frames, share)]
        orders = [
            Orders(url, self._seed * 1000 + n, size, (CALLER, NODE)) for n, size in enumerate(sizes)
        ]
        context = multiprocessing.get_context("spawn")
        with context.Pool(len(orders)) as pool:
            run = partial(pool.map, attack, orders)
            for part in await trio.to_thread.run_sync(run, abandon_on_cancel=True):
                self.sent.update(part)

    async def _watch(self, process: subprocess.Popen[str], link: Link) -> None:
        """Watch memory and progress; raise if the broker has ended."""
        began = time.monotonic()
        while process.poll() is None:
            self._samples.append(memory_of(process.pid))
            taken = 0
            with trio.move_on_after(ANSWER_MAX_S):  # it may end meanwhile
                taken = (await counters(link))["frames"]
            if not self._warm and taken >= WARM_SHARE * self._frames:
                self._warm = self._samples[-1]
            self._progress(
                f"{taken:,} frames taken of {self._frames:,}, "
                f"{self._samples[-1] / MIB:.0f} MiB, {time.monotonic() - began:.0f} s"
            )
            await trio.sleep(0.25)
        raise BrokerEndedError(f"the broker ended with {process.returncode}")

    async def _quiet(self, link: Link) -> dict[str, int]:
        """Wait until all frames have arrived, and short-lived promises have settled."""
        before: tuple[int, int] | None = None
        counted = {"peers": -1}
        with trio.move_on_after(20):
            while True:
                counted = await counters(link)
                now = counted["malformed"], counted["peers"]
                if now == before and counted["peers"] == 2:
                    return counted
                before = now
                await trio.sleep(0.5)
        self.faults.append(f"{counted['peers']} peers are still connected after 20 s")
        return counted


def examine(folder: Path, calls: int) -> list[str]:
    """Return the faults of the store that is left: in its properties, or in the guests' calls."""
    store = open_store(str(folder / "store.db"))
    try:
        machine = Machine()
        machine.restore(store.snapshot, store.snapshot.now)
        check_state(machine, {row.id: row.row() for row in store.snapshot.live})
        rows = found(store, [f"guest.{n}" for n in range(calls)])
        resolved = sum(row.promise.state == "resolved" for row in rows)
        return [] if resolved == calls else [f"only {resolved} of {calls} calls are in the store"]
    except AssertionError as error:
        return [f"a property does not hold in the store: {error}"]
    finally:
        store.close()


def besiege(frames: int, seed: int, progress: Callable[[str], None] = lambda _: None) -> Attack:
    """Attack a new broker with `frames` frames.

    Raises
    ------
    BrokerEndedError
        With the end of its log. Everything else that is wrong is among the faults.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="understudy-fuzz-", dir=memory) as name:
        folder = Path(name)
        with broker_process(folder) as (process, url):
            try:
                done = trio.run(_Siege(frames, seed, progress).run, process, url)
            except* BrokerEndedError as ended:
                log = (folder / "broker.log").read_text()[-3000:]
                raise BrokerEndedError(f"{ended.exceptions[0]}: {log}") from None
            process.terminate()
            if (code := process.wait(30)) != 0:
                done.faults.append(f"the broker ended with {code}")
        done.faults.extend(examine(folder, len(done.before_ms) + len(done.latencies_ms)))
        if "Traceback" in (log := (folder / "broker.log").read_text()):
            done.faults.append(f"the broker's log has a traceback: {log[-2000:]}")
    if done.memory[2] - done.memory[0] > GROWTH_BYTES_MAX:
        done.faults.append(f"the broker's memory grew: {_memory(done)}")
    return done


def _memory(done: Attack) -> str:
    warm, most, end = (f"{each / MIB:.0f} MiB" for each in done.memory)
    return f"{warm} after a tenth, {most} at most, {end} at the end"


def _latency(values: list[float]) -> str:
    cuts = quantiles(values, n=100) if len(values) > 1 else [*values] * 99
    p99, most = f"p99 {cuts[98]:.1f} ms", f"max {max(values):.1f} ms"
    return f"{len(values):,} calls, p50 {median(values):.1f} ms, {p99}, {most}"


def report(done: Attack) -> str:
    """Return the figures as text."""
    rate = done.frames / done.took_s
    figures: dict[str, Any] = {
        "guests before": _latency(done.before_ms),
        "guests meanwhile": _latency(done.latencies_ms),
        "memory of the broker": _memory(done),
    }
    head = f"frames {done.frames:,} in {done.took_s:.0f} s ({rate:,.0f} a second)"
    lines = [f"{head}, faults {len(done.faults)}"]
    lines += [f"  {name:<24} {text}" for name, text in figures.items()]
    lines += [f"  {n:>14,}  {name}" for name, n in sorted(done.sent.items())]
    lines += [f"  {n:>14,}  broker: {name}" for name, n in done.counted.items() if n]
    lines += [f"FAULT {text}" for text in done.faults[:20]]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, 1 if there were faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--frames", type=int, default=100_000, help="frames to send [default: 100000]"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides the frames [default: 1]")
    given = parser.parse_args(arguments)
    shown = time.monotonic()

    def progress(text: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 5:
            shown = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    again = f"again: make fuzz FRAMES={given.frames} SEED={given.seed}"
    try:
        done = besiege(given.frames, given.seed, progress)
    except BrokerEndedError as error:
        print(f"FAULT {error}\n{again}")
        return 1
    print(report(done))
    if done.faults:
        print(again)
    return 1 if done.faults else 0
