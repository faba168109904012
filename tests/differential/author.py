"""The commands for both stores: those of `Chooser`, and everything that a database may get wrong.

There are values and tags with odd texts and bytes, ids that LIKE, quoting or collation could
confuse, old promises that memory has forgotten, pages and preloads, and malformed commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from tests.unit.store.machine.chooser import Chooser
from tests.unit.store.machine.strategies import IDS
from tests.unit.store.machine.world import START
from understudy_store.commands import (
    CallSearch,
    PromiseCreate,
    PromiseGet,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleSearch,
    StoreCommand,
    TaskAttempts,
    TaskCreate,
    TaskFence,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskPreload,
    TaskRelease,
    TaskSearch,
)
from understudy_store.records import (
    EMPTY,
    TAG_PRIORITY,
    TAG_TARGET,
    TAG_TIMER,
    PromiseRecord,
    TaskRecord,
    Value,
)

C = TypeVar("C", bound=msgspec.Struct)

#: Lone surrogates are left out, because no frame can hold them.
ODD_TEXTS = (*IDS, "", "%_", "a\0b", "{id}", "null", "[]", "1", "-0", "é" * 200)
STATES = ("pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout", "odd")
TASK_STATES = ("pending", "acquired", "suspended", "halted", "fulfilled", "odd")
#: Most commands are about so many of the youngest promises.
YOUNG = 12


class Author(Chooser):
    """Write one sequence; the code that performs it keeps the known promises and tasks current."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.time = START
        self.promises_now: dict[str, PromiseRecord] = {}
        self.tasks_now: dict[str, TaskRecord] = {}

    @property
    def now(self) -> int:
        return self.time

    @property
    def known_promises(self) -> Mapping[str, PromiseRecord]:
        return self.promises_now

    @property
    def known_tasks(self) -> Mapping[str, TaskRecord]:
        return self.tasks_now

    def command(self) -> StoreCommand:
        """Return the next command."""
        chance = self.random.random()
        if chance < 0.72:
            return self.adorned(super().command())
        if chance < 0.82:
            return self.look()
        if chance < 0.90:
            return self.page()
        if chance < 0.97:
            return self.late()
        return self.nonsense()

    def begin(self) -> StoreCommand:
        """Create a root; some have ids that are hard to tell apart."""
        command = super().begin()
        if self.random.random() < 0.25:
            assert isinstance(command, PromiseCreate | TaskCreate)
            return msgspec.structs.replace(command, id=self.random.choice(IDS) + command.id)
        return command

    # ---- ids and values -------------------------------------------------------------------------

    def any_id(self) -> str:
        """Return an id of any age, or one that may not exist."""
        if not self.promises_now or self.random.random() < 0.05:
            return self.random.choice(IDS)
        return self.random.choice(list(self.promises_now))

    def text(self) -> str:
        return self.random.choice(ODD_TEXTS)

    def value(self) -> Value:
        """Return headers and bytes of any kind; None and empty bytes are different values."""
        draw = self.random
        headers = {draw.choice(["fn", "k", "é"]): draw.choice(IDS)} if draw.random() < 0.6 else {}
        data = draw.choice([None, b"", b"\0\xff'\"", draw.randbytes(draw.choice([1, 40, 5000]))])
        return Value(headers, data)

    def adorned(self, command: C) -> C:
        """Return the same command with a value, param and tags that a store must keep."""
        draw, fields = self.random, type(command).__struct_fields__
        more: dict[str, Any] = {}
        for name in ("param", "value", "promise_param"):
            if name in fields and draw.random() < 0.5:
                more[name] = self.value()
        if isinstance(command, PromiseCreate | TaskCreate) and draw.random() < 0.3:
            extra = {draw.choice(["k", 'odd "key"', "é"]): draw.choice(["1", "2", "'", "é"])}
            if draw.random() < 0.5:
                extra[TAG_PRIORITY] = draw.choice(["-100", "7", "100"])
            more["tags"] = {**command.tags, **extra}
        if isinstance(command, TaskFence):
            more["commands"] = tuple(self.adorned(each) for each in command.commands)
        if isinstance(command, TaskRelease) and draw.random() < 0.5:
            more["failed"], more["error"] = True, draw.choice(["", "E", "é'.E"])
        if isinstance(command, TaskHalt) and draw.random() < 0.5:
            more["cause"] = draw.choice(["parked", "é'\"", "x" * 300])
            more["version"] = draw.choice([0, 1, 2])
        return msgspec.structs.replace(command, **more) if more else command

    # ---- commands -------------------------------------------------------------------------------

    def look(self) -> StoreCommand:
        """Read one object."""
        kind = self.random.randrange(4)
        if kind == 0:
            return PromiseGet(self.any_id())
        if kind == 1:
            return TaskGet(self.any_id())
        if kind == 2:
            return ScheduleGet(self.random.choice(["s", "none"]))
        task = self.task("acquired")
        return TaskPreload(task.id, self.version(task))

    def page(self) -> StoreCommand:
        """Read a page of objects."""
        draw = self.random
        limit = draw.choice([1, 2, 3, 10, 1000])
        cursor = draw.choice([None, self.any_id()])
        prefix = draw.choice(["", "r", self.any_id(), self.any_id()[:2]])
        kind = draw.randrange(4)
        if kind == 3:
            return self.calls(limit, prefix)
        if kind == 0:
            tags = draw.choice([{}, {"k": "1"}, {'odd "key"': "'"}, {"k": "1", "é": "é"}])
            state, origin = draw.choice([None, *STATES]), draw.choice([None, self.any_id()])
            return PromiseSearch(state, tags, prefix, origin, limit, cursor)
        if kind == 1:
            group = draw.choice([None, "g", "g", "h"])
            return TaskSearch(draw.choice([None, *TASK_STATES]), group, limit, cursor)
        return ScheduleSearch(draw.choice(["", "s", "é"]), limit, draw.choice([None, "s", "a"]))

    def calls(self, limit: int, prefix: str) -> StoreCommand:
        """Read a page of root calls, or the attempts at one."""
        draw = self.random
        if draw.random() < 0.4:
            return TaskAttempts(self.any_id())
        states = tuple(draw.sample(STATES, draw.choice([0, 0, 1, 2])))
        cursor = draw.choice([None, f"{draw.choice([0, 10**6 + 500])}:{self.any_id()}"])
        return CallSearch(
            states,
            draw.choice([None, None, "", *IDS]),
            draw.choice([None, None, "g", "h"]),
            prefix=draw.choice(["", prefix]),
            slow_ms=draw.choice([0, 0, 100]),
            limit=limit,
            cursor=cursor,
            counts=draw.random() < 0.5,
        )

    def late(self) -> StoreCommand:
        """Return a command about a promise that may have settled and left memory long ago."""
        draw, old = self.random, self.any_id()
        record = self.promises_now.get(old)
        kind = draw.randrange(5)
        if kind == 0:
            return PromiseSettle(old, draw.choice(STATES[1:4]), self.value())
        if kind == 1:
            tags = {} if record is None else record.tags
            return PromiseCreate(old, self.timeout_at(), self.value(), tags)
        if kind == 2:
            return PromiseRegisterListener(old, draw.choice(["poll://uni@c/1", "poll://uni@d/2"]))
        if kind == 3:
            tags = {TAG_TARGET: "g"} if record is None else record.tags
            return TaskCreate(self.pid(), 25, old, self.timeout_at(), EMPTY, tags)
        task = self.task("acquired")
        inner = (PromiseCreate(old, self.timeout_at()), PromiseSettle(old, "resolved"))
        return TaskFence(task.id, self.version(task), inner)

    def nonsense(self) -> StoreCommand:
        """Return a command that a store must refuse, or accept with care."""
        draw, text = self.random, self.text()
        kind = draw.randrange(7)
        if kind == 0:
            keys = [text, TAG_PRIORITY, TAG_TARGET, TAG_TIMER]
            tags = {draw.choice(keys): text}
            return PromiseCreate(self.any_id() + text, self.timeout_at(), EMPTY, tags)
        if kind == 1:
            return PromiseCreate(text, draw.choice([-1, 0, 2**62, 2**63 - 1, 2**53]))
        if kind == 2:
            return PromiseSettle(self.any_id(), text, Value({text: text}, b""))
        if kind == 3:
            return TaskHeartbeat(draw.choice([self.pid(), text]), ((text, -1), (self.any_id(), 1)))
        if kind == 4:
            template = draw.choice(["s2!{timestamp}", "{id}{timestamp}", text])
            schedule_id = draw.choice(["s2", text])
            return ScheduleCreate(schedule_id, "* * * * * *", template, 30, self.value())
        if kind == 5:
            return ScheduleDelete(draw.choice(["s2", text]))
        return PromiseSearch(prefix=text, cursor=text, limit=draw.choice([-1, 0, 5]))
