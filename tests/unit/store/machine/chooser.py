"""What a client, nodes, an operator and time may ask of a store next: mostly what makes sense.

Drawn from a `Random`, by what there is: so a seed gives the same commands again. Drivers derive
from `Chooser` and say what is known: random walks through one machine, pairs of stores that must be
equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from random import Random

from tests.unit.store.machine.world import create
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleTrigger,
    ScheduleUpdate,
    StoreCommand,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskHeartbeat,
    TaskRelease,
    TaskRetry,
    TaskSuspend,
)
from understudy_store.records import (
    EMPTY,
    OVERLAPS,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_ORIGIN,
    TAG_TARGET,
    PromiseRecord,
    SchedulePlan,
    TaskRecord,
)


class Chooser(ABC):
    """Chooses what is asked next, by what there is."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.generation = 0

    @property
    @abstractmethod
    def now(self) -> int:
        """The time of the next command."""

    @property
    @abstractmethod
    def known_promises(self) -> Mapping[str, PromiseRecord]:
        """All promises, the oldest first."""

    @property
    @abstractmethod
    def known_tasks(self) -> Mapping[str, TaskRecord]:
        """All tasks."""

    def command(self) -> StoreCommand:
        """A command, most of them likely to be carried out."""
        actors = [self.begin, self.take_up, self.work, self.outside, self.operate]
        return self.random.choices(actors, [0.12, 0.3, 0.43, 0.1, 0.05])[0]()

    # ---- choices --------------------------------------------------------------------------------

    def pid(self) -> str:
        return self.random.choice(["n1", "n2", "n3"])

    def timeout_at(self) -> int:
        return self.now + self.random.choice([0, 3, 10, 40, 200, 200, 1000, 5000])

    def task(self, *states: str) -> TaskRecord:
        """A task in one of these states, or any, or one that is not there."""
        tasks = list(self.known_tasks.values())
        fitting = [task for task in tasks if task.state in states]
        if fitting and self.random.random() < 0.95:
            return self.random.choice(fitting)
        return self.random.choice([*tasks, TaskRecord("none", "pending", 0, "g")])

    def promises(self, count: int) -> list[str]:
        """Ids of promises, the young ones first in favour."""
        known = [*self.known_promises, "none"][-12:]
        return self.random.sample(known, min(count, len(known)))

    def version(self, task: TaskRecord) -> int:
        return task.version if self.random.random() < 0.95 else task.version - 1

    # ---- commands -------------------------------------------------------------------------------

    def begin(self) -> StoreCommand:
        """A root, or something that is waited for from outside."""
        if self.random.random() < 0.3:
            self.generation += 1
        promise_id = self.random.choice(["r", "x", "t"]) + str(self.generation)
        if promise_id[0] == "x":
            return create(promise_id, self.timeout_at(), external="true")
        if promise_id[0] == "t":
            return create(promise_id, self.timeout_at(), timer="true")
        tags = {TAG_TARGET: "g"}
        if self.random.random() < 0.3:
            tags[TAG_DELAY] = str(self.timeout_at())
        if self.random.random() < 0.5:
            return TaskCreate(self.pid(), 25, promise_id, self.timeout_at(), tags=tags)
        return PromiseCreate(promise_id, self.timeout_at(), tags=tags)

    def take_up(self) -> StoreCommand:
        """A node acquires, or shows that it lives."""
        if self.random.random() < 0.2:
            return TaskHeartbeat(self.pid())
        task = self.task("pending")
        return TaskAcquire(
            task.id, self.version(task), self.pid(), self.random.choice([10, 25, 60])
        )

    def work(self) -> StoreCommand:
        """A holder does something."""
        task = self.task("acquired")
        version = self.version(task)
        kind = self.random.choices(
            ["fence", "suspend", "fulfill", "release", "beat"], [0.4, 0.35, 0.15, 0.05, 0.05]
        )[0]
        if kind == "fence":
            return TaskFence(task.id, version, tuple(self.inner(task) for _ in range(3)))
        if kind == "suspend":
            children = [
                key
                for key, p in self.known_promises.items()
                if p.tags.get(TAG_BRANCH) == task.id and self.random.random() < 0.6
            ]
            return TaskSuspend(task.id, version, tuple(children or self.promises(1)))
        if kind == "fulfill":
            return TaskFulfill(task.id, version, self.random.choice(["resolved", "rejected"]))
        if kind == "beat":
            return TaskHeartbeat(self.pid(), ((task.id, version),))
        failed, cause = self.random.choice([(False, ""), (True, ""), (True, "attempt 1 failed")])
        return TaskRelease(task.id, version, self.random.choice([0, 10]), failed, cause)

    def inner(self, task: TaskRecord) -> PromiseCreate | PromiseSettle:
        """Something under a fence."""
        if self.random.random() < 0.25:
            return PromiseSettle(self.promises(1)[0], "resolved")
        record = self.known_promises.get(task.id)
        origin = task.id if record is None else record.tags.get(TAG_ORIGIN, task.id)
        kind = self.random.choice(["1", "2", "3", "l", "t", "x", "d"])
        tags = {
            "l": {"scope": "local", "origin": origin},
            "t": {"timer": "true", "origin": origin},
            "x": {"external": "true", "origin": origin, "parent": task.id + ".l"},
            "d": {"target": "g", "scope": "detached"},
        }.get(kind, {"target": "g", "origin": origin})
        return create(f"{task.id}.{kind}", self.timeout_at(), **tags)

    def outside(self) -> StoreCommand:
        """Someone who is no node."""
        one, other = (self.promises(2) * 2)[:2]
        chance = self.random.random()
        if chance < 0.3:
            return PromiseSettle(one, self.random.choice(["resolved", "rejected_canceled"]))
        if chance < 0.4:
            return PromiseCancel(one)
        if chance < 0.7:
            return PromiseRegisterListener(
                one, self.random.choice(["poll://uni@c/1", "c", "https://c.example/"])
            )
        return PromiseRegisterCallback(one, other)

    def operate(self) -> StoreCommand:
        """An operator."""
        chance = self.random.random()
        if chance < 0.35:
            task = self.task("acquired", "suspended", "pending")
            # A holder that cannot go on says its version.
            return TaskHalt(task.id, "why", self.random.choice([0, 0, task.version]))
        if chance < 0.5:
            return TaskRetry(self.task("pending").id)
        if chance < 0.8:
            return TaskContinue(self.task("halted").id)
        if chance < 0.83:
            return ScheduleDelete("s")
        if chance < 0.92:
            return self.schedule()
        tags = dict(self.random.choice([{}, {TAG_TARGET: "g"}]))
        return ScheduleCreate("s", "* * * * * *", "s!{timestamp}", 2000, promise_tags=tags)

    def schedule(self) -> StoreCommand:
        """Something new about schedules."""
        draw = self.random
        overlap = draw.choice(OVERLAPS)
        match draw.randrange(7):
            case 0 | 1:
                catch_ups: tuple[str | int, ...] = ("all", "last", "none", 15_000)
                plan = SchedulePlan(
                    draw.choice(["UTC", "Europe/Vienna"]),
                    overlap,
                    draw.choice(catch_ups),
                    draw.choice([0, 0, 500]),
                )
                tags = dict(draw.choice([{}, {TAG_TARGET: "g"}]))
                # In the same slot, and in others.
                template = draw.choice(["s.{timestamp}", "s!{timestamp}"])
                cron = draw.choice(["* * * * * *", "*/5 * * * * *"])
                return SchedulePut(
                    "s", cron, template, 2000, EMPTY, tags, plan, draw.random() < 0.5
                )
            case 2:
                return SchedulePause("s", "why", draw.choice([None, self.now + 3_000]))
            case 3:
                return ScheduleResume("s")
            case 4:
                return ScheduleUpdate("s", overlap=overlap, cron=draw.choice([None, "* * * * * *"]))
            case _:
                return ScheduleTrigger("s", self.now + (self.now % 1000 == 0))
