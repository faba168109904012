"""Two stores that get the same commands and the same purges, one of them in memory."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from msgspec.structs import replace

from understudy_store import retention
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromisePurge,
    PromiseSearch,
    PromiseSettle,
    Reply,
    RetentionRead,
    StatsGet,
    StoreCommand,
    TaskCreate,
)
from understudy_store.engines.base import Engine, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine import Machine
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_RETENTION,
    TAG_TARGET,
    PurgedRecord,
    RetentionRules,
    StoreStats,
    Value,
)

FOREVER = 2**60
RULES = RetentionRules(
    default=100,
    groups={"h": 60},
    functions={"g/slow": 200},
    values=40,
    idempotency=300,
    max_rows=25,
)
KINDS = ("values", "graphs", "kept", "gone", "strays", "excess")


class Side:
    """A machine over an engine, driven as a broker drives it; each batch is committed at once."""

    def __init__(self, engine: Engine, now: int = 0) -> None:
        self.open(engine, now)

    def open(self, engine: Engine, now: int) -> None:
        """Go on with what an engine has."""
        self.engine, self.machine = engine, Machine()
        snapshot = engine.load()
        self._epoch = snapshot.epoch
        self.machine.restore(snapshot, now)

    def commit(self) -> None:
        """Commit what has changed."""
        machine = self.machine
        machine.take_executes()
        machine.take_settled()
        changes = machine.take()
        self.engine.commit(changes, [], self._epoch)
        machine.committed(changes)

    def do(self, now: int, *commands: StoreCommand) -> list[Reply]:
        """Perform one batch."""
        ids = self.machine.lookups(commands)
        self.machine.load(self.engine.find(ids) if ids else [])
        replies = [self.machine.apply(command, now) for command in commands]
        self.machine.sweep(now)
        self.commit()
        return replies

    def purge(
        self, command: PromisePurge | RetentionRead, now: int, rules: RetentionRules = RULES
    ) -> tuple[list[PurgedRecord], str | None]:
        """Delete what is found."""
        found = self.engine.search(Read(command, now), 10.0)
        kind = command.kind if isinstance(command, RetentionRead) else "graphs"
        done = self.machine.purge(kind, found.ended or [], rules, now)
        self.commit()
        return done, found.cursor

    def everything(self, now: int) -> list[str]:
        """Return the ids of all promises, which tombstones are not among."""
        found = self.engine.search(Read(PromiseSearch(limit=1000), now), 10.0)
        return [record.id for record in found.promises or ()]

    def stats(self, now: int) -> StoreStats:
        """Return how much there is, without sizes."""
        found = self.engine.search(Read(StatsGet(), now), 10.0).stats
        assert found is not None
        return replace(found, file_bytes=None, free_bytes=None, log_bytes=None, journal_bytes=None)


def graph(number: int, random: Random) -> list[StoreCommand]:
    """Return the commands that make a call graph; its members' ids are of all kinds."""
    root = f"r{number}"
    tags = {TAG_TARGET: f"poll://any@{random.choice('gh')}"}
    if random.random() < 0.3:
        tags[TAG_RETENTION] = random.choice(["0", "150", "never"])
    below = {TAG_ORIGIN: root, TAG_BRANCH: root}
    name = random.choice(["slow", "quick"])
    commands: list[StoreCommand] = [
        TaskCreate("p", 10**6, root, FOREVER, Value({"fn": name}, b"x"), tags)
    ]
    commands += [PromiseCreate(f"{root}.{n}", FOREVER, EMPTY, below) for n in range(number % 3)]
    if random.random() < 0.5:
        commands.append(PromiseCreate(f"chosen-{number}", FOREVER, EMPTY, below))
    if random.random() < 0.2:
        detached = {TAG_TARGET: "poll://any@g", TAG_BRANCH: root}
        commands.append(PromiseCreate(f"{root}.away", FOREVER, EMPTY, detached))
    return commands


def play(engine: Engine, reopen: Callable[[Engine], Engine], seed: int, steps: int) -> int:
    """Do the same to an engine and to one in memory; return how many promises were deleted.

    Parameters
    ----------
    reopen
        Gives the engine back and opens what is left of it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "EXCESS_MIN_MS", 10)
        return _play(engine, reopen, seed, steps)


def _play(engine: Engine, reopen: Callable[[Engine], Engine], seed: int, steps: int) -> int:
    random = Random(seed)
    memory, stored = Side(MemoryEngine()), Side(engine)
    now, deleted, ids = 1000, 0, [""]
    for number in range(steps):
        now += random.randrange(20)
        made = graph(random.randrange(20), random)
        ids = [*ids, *(each.id for each in made if isinstance(each, PromiseCreate | TaskCreate))]
        some = random.sample(ids, min(6, len(ids)))
        batch: list[StoreCommand] = [
            *made,
            *(PromiseSettle(each, "resolved", Value({}, b"v")) for each in some),
            *(PromiseGet(each) for each in random.sample(ids, min(4, len(ids)))),
        ]
        assert memory.do(now, *batch) == stored.do(now, *batch), (seed, number)
        if random.random() < 0.5:
            command: PromisePurge | RetentionRead = RetentionRead(
                random.choice(KINDS), RULES, limit=random.choice([1, 3, 64])
            )
            if random.random() < 0.2:
                command = PromisePurge(now - 50, group="g", limit=2)
            one, other = memory.purge(command, now), stored.purge(command, now)
            assert one == other, (seed, number)
            deleted += sum(each.promises for each in one[0])
            gone = [PromiseGet(each.id) for each in one[0]]
            assert memory.do(now, *gone) == stored.do(now, *gone), (seed, number)
        if random.random() < 0.1:
            stored.open(reopen(stored.engine), now)
        if random.random() < 0.2:
            assert memory.everything(now) == stored.everything(now), (seed, number)
            assert memory.stats(now) == stored.stats(now), (seed, number)
    return deleted
