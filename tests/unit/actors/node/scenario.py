"""A world of nodes, functions registered in it, and a count of their runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.unit.actors.node.world import Node, World
from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Registry
from understudy.retry import Constant
from understudy.values import Codec
from understudy_actors.activation import Phase
from understudy_actors.node.config import NodeConfig
from understudy_store.commands import (
    PromiseSettle,
    TaskContinue,
)
from understudy_store.records import RESOLVED, PromiseRecord, Value

CONFIG = NodeConfig(concurrency=4, linger_ms=100)


class Scenario:
    """A world, functions registered in it, and a count of how often each ran."""

    def __init__(self, nodes: int = 1, config: NodeConfig = CONFIG) -> None:
        self.ran: Counter[str] = Counter()
        self.env = NodeEnvironment(
            Registry(), Codec(), group="g", timeout_s=3600, retry=Constant(1, 3)
        )
        self.world = World(self.env, nodes, config)
        for fn in (self.leaf, self.chain, self.person, self.local, self.flaky):
            self.env.registry.register(fn)

    def leaf(self, ctx: Any, n: int) -> int:
        self.ran[ctx.id] += 1
        return n + 1

    def chain(self, ctx: Any, n: int) -> Any:
        return (yield ctx.rfc("leaf", n))

    def person(self, ctx: Any) -> Any:
        self.ran[ctx.id] += 1
        self.ran["steps"] += yield ctx.lfc(self.leaf, 0)
        promise = yield ctx.promise(id="person")
        return (yield promise)

    def local(self, ctx: Any, n: int) -> Any:
        return (yield ctx.all([ctx.lfi(self.leaf, i) for i in range(n)]))

    def flaky(self, ctx: Any, times: int) -> int:
        self.ran[ctx.id] += 1
        if self.ran[ctx.id] <= times:
            raise OSError(f"time {self.ran[ctx.id]}")
        return self.ran[ctx.id]

    @property
    def node(self) -> Node:
        return self.world.nodes[0]

    def value(self, record: PromiseRecord) -> Any:
        if record.state == RESOLVED:
            return self.env.values.decode_value(record.value.data)
        raise self.env.values.settled_error(record)

    def call(self, name: str, *args: Any) -> Any:
        self.world.invoke("x", name, *args)
        return self.value(self.world.finish("x"))

    def settle(self, id: str, value: Any) -> None:
        data = self.env.values.encode_value(value, "it")
        assert self.world.machine.apply(
            PromiseSettle(id, RESOLVED, Value({}, data)), self.world.now
        ).ok
        self.world.settle()

    def suspended(self) -> None:
        """Call `person`, which waits long enough to be suspended."""
        self.world.invoke("x", "person")
        self.world.rest(0)
        self.world.rest(CONFIG.linger_ms)
        assert self.node.core.activations["x"].phase is Phase.SUSPENDED
        assert self.task_state == "suspended"
        assert self.node.core.statistics().warm == 1

    def parked(self) -> str:
        """Return why the task ``x`` is parked."""
        task = self.world.machine.view.task("x")
        assert task is not None
        assert task.state == "halted"
        assert task.cause
        return task.cause

    def proceed(self) -> None:
        """Continue the parked task, as a person does."""
        assert self.world.machine.apply(TaskContinue("x"), self.world.now).ok
        self.world.settle()

    @property
    def task_state(self) -> str:
        task = self.world.machine.view.task("x")
        assert task is not None
        return task.state
