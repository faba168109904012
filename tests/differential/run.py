"""Play sequences of commands on all cores, and report; see docs/proof.md.

``python -m tests.differential --commands 1000000 --seed 1`` plays seeds 1, 2, … of `SEQUENCE`
commands each, until the number of commands is reached.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.differential.author import Author
from tests.differential.pair import Moment, Move, Pair, Place
from understudy_store.commands import StoreCommand, TaskFence
from understudy_store.engines.base import Engine
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import PromiseRecord, TaskRecord

#: Commands of one seed.
SEQUENCE = 2000
#: The chance that both sides are restarted after a batch.
REOPEN = 0.02
MOMENTS: tuple[Moment, ...] = ("early", "middle", "late")


class Folder:
    """The files of one store; they begin as a copy of `empty`, which opens in milliseconds."""

    def __init__(self, folder: Path, empty: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._path = self._fresh()
        shutil.copy(empty, self._path)

    def _fresh(self) -> Path:
        return self._folder / f"{next(self._numbers)}.db"

    def open(self) -> Engine:
        return SqliteEngine(self._path)

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder)

    def leave(self, engine: Engine) -> None:
        """Copy the files as SIGKILL would leave them.

        What SQLite's log and the journal have is not yet in the file.
        """
        assert isinstance(engine, SqliteEngine)
        left, self._path = self._path, self._fresh()
        with engine.journaled._append_lock, engine.journaled._table_lock:
            for end in ("", "-wal", ".journal"):
                shutil.copy(f"{left}{end}", f"{self._path}{end}")


class Schema:
    """A schema of its own in a PostgreSQL database."""

    def __init__(self, database: str, seed: int) -> None:
        self._url = f"{database}?schema=play_{os.getpid()}_{seed}"
        self.remove()

    def open(self) -> Engine:
        """Open the store, which is made if need be."""
        from understudy_store.engines.postgres.engine import PostgresEngine

        return PostgresEngine(self._url)

    def leave(self, engine: Engine) -> None:
        """End the engine as SIGKILL does; closing it does nothing then."""
        from tests.integration.store.postgres_world import kill
        from understudy_store.engines.postgres.engine import PostgresEngine

        assert isinstance(engine, PostgresEngine)
        kill(engine, self._url)

    def remove(self) -> None:
        """Drop the schema."""
        from tests.cluster import rows

        rows(self._url, f"drop schema if exists {self._url.partition('=')[2]} cascade; select 1")


class Play:
    """The commands of one seed, in batches."""

    def __init__(self, seed: int, place: Place) -> None:
        self.author = author = Author(seed)
        draw = author.random
        config = MachineConfig(
            retry_timeout_ms=20, sweep_max=draw.choice([5, 1000]), missed_max=draw.choice([1, 3])
        )
        self.pair = Pair(place, config, author.now)
        self.counts: Counter[str] = Counter()

    def play(self, commands: int) -> None:
        """Play `commands` commands; raise at the first difference."""
        draw = self.author.random
        while self.counts["commands"] < commands:
            most = commands - self.counts["commands"]
            self.batch(min(most, draw.choice([1, 2, 5, 20, 40])))
            self.author.time += draw.choice([0, 1, 1, 2, 5, 10, 30])
            if draw.random() < REOPEN:
                self.reopen()
        self.pair.land()
        self.pair.compare_all()
        self.pair.close()
        self.counts["rows"] += len(self.pair.rows)
        self.counts["sequences"] += 1

    def batch(self, size: int) -> None:
        """Play some commands with one time, and now and then a move between them."""
        author, pair = self.author, self.pair
        steps: list[StoreCommand | Move] = []
        outcomes: list[object] = []
        for _ in range(size):
            if author.random.random() < 0.05:
                move = self.move()
                steps.append(move)
                outcomes.append(pair.move(move))
                self._look()
            command = author.command()
            steps.append(command)
            reply = pair.ask(command, author.now)
            outcomes.append(reply)
            self.counts[f"replies {reply.status}"] += 1
            self._look()
            self.counts["commands"] += 1
            if isinstance(command, TaskFence):
                self.counts["commands within fences"] += len(command.commands)
        changes = pair.follow(steps, outcomes, author.now, author.random.choice(MOMENTS))
        for row in (*changes.inserted, *changes.updated):
            self._see(row.promise, row.task)
        self.counts["batches"] += 1

    def move(self) -> Move:
        """Return a move: a node leaves, a presumed crash is retracted, or an unblock arrives."""
        author, machine = self.author, self.pair.memory.machine
        now, draw, pid = author.now, author.random, author.pid()
        had = machine.view.held(pid)
        kind = draw.randrange(3)
        if kind == 0:
            owed = [(record.id, address) for address, record in machine.owed_unblocks()[:2]]

            def arrive(m: Machine) -> None:
                for id_, address in owed:
                    m.acknowledge(id_, address)

            return arrive
        if kind == 1:
            return lambda m: m.retract_crashes(pid, had)
        keep = [each for each in had if draw.random() < 0.5]
        crash, presumed = draw.choice([None, f"{pid} is gone"]), draw.random() < 0.5
        return lambda m: m.release_pid(pid, now, keep, crash, presumed)

    def _look(self) -> None:
        """Show the author the changes of this batch so far."""
        for each in self.pair.memory.machine.state.dirty.values():
            self._see(each.record, None if each.task is None else each.task.record())

    def _see(self, promise: PromiseRecord, task: TaskRecord | None) -> None:
        self.author.promises_now[promise.id] = promise
        if task is not None:
            self.author.tasks_now[promise.id] = task

    def reopen(self) -> None:
        """Restart both sides; half of the time the batch in flight is lost."""
        author, draw = self.author, self.author.random
        if draw.random() < 0.5:
            self.pair.land()
        self.pair.reopen(author.now, killed=draw.random() < 0.5)
        rows = self.pair.rows
        author.promises_now = {key: row.promise for key, row in rows.items()}
        author.tasks_now = {key: row.task for key, row in rows.items() if row.task is not None}
        self.counts["reopenings"] += 1


class Task(NamedTuple):
    """A sequence to play.

    Attributes
    ----------
    empty
        An empty store over SQLite to copy from.
    database
        The URL of a PostgreSQL database, which is then compared with memory instead of SQLite.
    """

    seed: int
    commands: int
    empty: Path
    database: str = ""

    def place(self) -> Place:
        """Return a new place for the store with the database."""
        if self.database:
            return Schema(self.database, self.seed)
        folder = Path(tempfile.mkdtemp(prefix=f"{self.seed}-", dir=self.empty.parent))
        return Folder(folder, self.empty)


class Outcome(NamedTuple):
    """The outcome of some sequences: sums, and the differences with their sequences."""

    counts: Counter[str]
    failures: list[tuple[Task, str]]


def command(task: Task) -> str:
    """Return the command that repeats a difference."""
    target = "differential-postgres" if task.database else "differential"
    return f"make {target} COMMANDS={task.commands} SEED={task.seed}"


def make_empty(folder: Path) -> Path:
    """Make an empty store to copy from; return its path."""
    path = folder / "empty.db"
    SqliteEngine(path).close()
    return path


def play_one(task: Task) -> Outcome:
    """Play one sequence in a place of its own."""
    place = task.place()
    failures: list[tuple[Task, str]] = []
    play = Play(task.seed, place)
    try:
        play.play(task.commands)
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        what = f"after {play.counts['commands']} commands, {type(error).__name__} at {where}: "
        failures.append((task, what + str(error)))
        play.pair.close()
    place.remove()
    return Outcome(play.counts, failures)


def tasks_of(commands: int, seed: int, empty: Path, database: str = "") -> list[Task]:
    """Return sequences with `commands` commands in all."""
    starts = range(0, commands, SEQUENCE)
    return [
        Task(seed + n, min(SEQUENCE, commands - at), empty, database) for n, at in enumerate(starts)
    ]


def play_many(
    commands: int,
    seed: int,
    processes: int,
    progress: Callable[[Outcome], None] | None = None,
    database: str = "",
) -> Outcome:
    """Play sequences in several processes; now and then call `progress` with the sum so far."""
    total = Outcome(Counter(), [])
    # These tests do not check whether data are on the disk: see tests.powerloss.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="understudy-differential-", dir=memory) as name:
        tasks = tasks_of(commands, seed, make_empty(Path(name)), database)
        with context.Pool(min(processes, len(tasks))) as pool:
            for part in pool.imap_unordered(play_one, tasks):
                total.counts.update(part.counts)
                total.failures.extend(part.failures)
                if progress is not None:
                    progress(total)
    return total


def report(total: Outcome, took_s: float) -> str:
    """Return the sums as text."""
    counts = total.counts
    head = f"commands {counts['commands']:,} in {took_s:.0f} s, differences {len(total.failures)}"
    lines = [head]
    lines += [f"  {n:>14,}  {name}" for name, n in counts.most_common() if name != "commands"]
    for task, text in sorted(total.failures, key=lambda failure: failure[0].seed)[:20]:
        lines += [f"seed {task.seed}, {text[:1000]}", f"  again: {command(task)}"]
    return "\n".join(lines)


class _Progress:
    """Print a line on the terminal now and then."""

    def __init__(self, commands: int) -> None:
        self._commands = commands
        self._began = self._shown = time.monotonic()

    def __call__(self, total: Outcome) -> None:
        now, done = time.monotonic(), total.counts["commands"]
        if done and (now - self._shown >= 5 or done >= self._commands):
            self._shown = now
            left_s = (now - self._began) / done * (self._commands - done)
            print(
                f"{done:,} of {self._commands:,} commands, differences {len(total.failures)}, "
                f"{left_s:.0f} s to go",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def _database() -> Iterator[str]:
    """Give the URL of a database on a server that is made for it."""
    from tests.cluster import Cluster, find_programs

    programs = find_programs()
    if programs is None:
        raise SystemExit("no PostgreSQL is installed: install the development dependencies")
    cluster = Cluster(programs)
    try:
        cluster.make()
        cluster.start()
        yield cluster.url_of("postgres")
    finally:
        cluster.remove()


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--commands", type=int, default=100_000, help="commands to play in all")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first sequence")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--postgres", action="store_true", help="compare with PostgreSQL")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    progress = _Progress(given.commands)
    with _database() if given.postgres else nullcontext("") as database:
        total = play_many(given.commands, given.seed, given.processes, progress, database)
    print(report(total, time.monotonic() - began))
    return 1 if total.failures else 0
