"""Nodes, their broker and time, in one thread: every message waits until it is delivered.

The broker is the real machine, with as little around it as the nodes need: credit, dispatch,
watches. Executors step a run when they are told to. So a test, or a random number generator,
decides the order of everything.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from understudy.client.node_environment import NodeEnvironment
from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.inline import inline_call
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_broker.protocol.messages import (
    AnyCommand,
    Credit,
    Invoke,
    PromiseWatch,
    Refused,
    Response,
    Resume,
    Revoked,
    Settled,
    ToBroker,
    ToPeer,
)
from understudy_store.commands import PromiseCreate, Reply, TaskAcquire, TaskHeartbeat, TaskPreload
from understudy_store.machine import Machine, MachineConfig
from understudy_store.machine.live import Execute
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    TAG_BRANCH,
    TAG_TARGET,
    PromiseRecord,
    Value,
)

START = 1_000_000
TTL_MS = 10_000
DAY_MS = 86_400_000

OnReply = Callable[[Response | Refused], None]


class Executor:
    """An executor that steps a run when it is told to."""

    def __init__(self) -> None:
        self.queue: list[Run] = []
        self.closed: list[Run] = []

    def submit(self, run: Run) -> None:
        self.queue.append(run)

    def withdraw(self, run: Run) -> bool:
        if run in self.queue:
            self.queue.remove(run)
            return True
        return False

    def close(self, run: Run) -> None:
        self.closed.append(run)
        if not run.scheduled:
            run.routine.close()


class Node:
    """A node with the messages on their way; the port of its core."""

    def __init__(self, world: World, env: NodeEnvironment, number: int, config: NodeConfig) -> None:
        self.world = world
        self.pid = f"n{number}#{number}"
        self.executor = Executor()
        self.core = NodeCore(env, self, self.executor, config)
        self.connected = False
        #: on the way to the broker, and from it
        self.out: deque[tuple[AnyCommand, OnReply] | ToBroker] = deque()
        self.inbox: deque[ToPeer | tuple[OnReply, Response]] = deque()
        self.unanswered: list[tuple[AnyCommand, OnReply]] = []
        self.total = 0
        self.sent = 0
        self.watches: set[str] = set()

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        asked = (command, on_reply)
        self.unanswered.append(asked)
        if self.connected:
            self.out.append(asked)
        return 0

    def cork(self) -> None:
        """Do nothing, because nothing leaves before it is delivered."""

    def uncork(self) -> None: ...

    def send(self, message: ToBroker) -> bool:
        if self.connected:
            assert isinstance(message, Credit)
            self.out.append(message)
        return self.connected

    # The link ------------------------------------------------------------------------------------

    def join(self) -> None:
        again = self.total > 0
        credit, claims = self.core.new_session(self), self.core.claims()
        lost = self.world.welcome(self, credit, claims)
        self.connected = True
        self.out.extend(self.unanswered)
        self.core.connected(lost, again)
        self.core.grant()

    def cut(self) -> None:
        """Lose the connection, with everything that is on the way."""
        self.connected = False
        self.out.clear()
        self.inbox.clear()
        self.watches.clear()
        self.core.disconnected()

    def deliver_out(self) -> None:
        asked = self.out.popleft()
        if isinstance(asked, Credit):
            assert asked.total > self.total, "credit only grows within a session"
            self.total = asked.total
        else:
            assert isinstance(asked, tuple)
            command, on_reply = asked
            reply = self.world.apply(self, command)
            self.inbox.append((on_reply, Response(0, reply)))
        self.world.settle()

    def deliver_in(self) -> None:
        message = self.inbox.popleft()
        if isinstance(message, tuple):
            on_reply, response = message
            self.unanswered = [asked for asked in self.unanswered if asked[1] is not on_reply]
            on_reply(response)
        else:
            self.core.receive([message], self.world.now, self)
        self.core.grant()
        room = self.core.credit.policy.target - self.core.running
        assert self.core.credit.left <= max(0, room) + self.overdrawn()

    def overdrawn(self) -> int:
        """Return the most credit that was given while activations waited that run again now."""
        return len(self.core.activations)

    def run_one(self, index: int = 0) -> None:
        run = self.executor.queue.pop(index)
        if run.routine.dropped:
            run.routine.close()
            return
        output = run.routine.step(self.world.now)
        inlined = inline_call(
            run.routine,
            output,
            lambda _: self.world.is_quick(),
            lambda quick: quick.step(self.world.now),
        )
        self.core.stepped([StepReport(run, output, True, inlined)], self.world.now)
        self.core.grant()


class World:
    def __init__(self, env: NodeEnvironment, nodes: int = 1, config: NodeConfig | None = None):
        self.env = env
        self.config = config or NodeConfig(concurrency=4)
        self.machine = Machine(MachineConfig())
        self.now = START
        self.queue: list[Execute] = []
        #: returns whether the next local call is performed in its caller's step, if it may be
        self.is_quick: Callable[[], bool] = lambda: False
        self.nodes: list[Node] = []
        self.born = 0
        for _ in range(nodes):
            self.add_node()

    def add_node(self) -> Node:
        self.born += 1
        node = Node(self, self.env, self.born, self.config)
        node.core.serve()
        self.nodes.append(node)
        node.join()
        return node

    def crash(self, node: Node) -> None:
        """Kill the process, and let its lease lapse."""
        self.nodes.remove(node)
        node.connected = False
        self.machine.release_pid(node.pid, self.now)
        self.settle()

    def welcome(
        self, node: Node, credit: int, claims: tuple[tuple[str, int], ...]
    ) -> list[tuple[str, int]]:
        self.machine.release_pid(node.pid, self.now, keep=frozenset(claims))
        node.total, node.sent = credit, 0
        lost = [(i, version) for i, version in claims if not self._has(node.pid, i, version)]
        self.settle()
        return lost

    def _has(self, pid: str, id: str, version: int) -> bool:
        task = self.machine.view.task(id)
        return self.machine.view.holds(pid, id, version) or (
            task is not None and task.state == "suspended" and task.version == version
        )

    def invoke(self, id: str, name: str, *args: Any, **tags: str) -> None:
        data = self.env.values.encode_call(None, args, {})
        param = Value({HEADER_KIND: "rpc", HEADER_FUNCTION: name}, data)
        create = PromiseCreate(id, self.now + DAY_MS, param, {TAG_TARGET: "poll://any@g", **tags})
        assert self.machine.apply(create, self.now).ok
        self.settle()

    # The broker ----------------------------------------------------------------------------------

    def apply(self, node: Node, command: AnyCommand) -> Reply:
        if isinstance(command, PromiseWatch):
            records = [self.machine.view.record(id) for id in command.ids]
            if None in records:
                return Reply(404, "absent")
            node.watches.update(command.ids)
            return Reply(200, promises=[r for r in records if r is not None and r.settled])
        reply = self.machine.apply(command, self.now)  # type: ignore[arg-type]
        if isinstance(command, TaskPreload) and reply.ok:
            reply.promises = self.children(command.id)
        return reply

    def children(self, id: str) -> list[PromiseRecord]:
        found = self.machine.view.records()
        return [r for r in found if r.tags.get(TAG_BRANCH) == id]

    def settle(self) -> None:
        """Sweep, send settlements and revocations, and hand out tasks as far as there is credit."""
        self.machine.sweep(self.now)
        told: dict[str, list[PromiseRecord]] = {}
        for settlement in self.machine.take_settled():
            id = settlement.promise.id
            for node in self.nodes:
                if node.pid == settlement.holder or id in node.watches:
                    node.watches.discard(id)
                    told.setdefault(node.pid, []).append(settlement.promise)
        revoked = self.machine.take_revoked()
        for node in self.nodes:
            if node.connected and node.pid in told:
                node.inbox.append(Settled(told[node.pid]))
            for revocation in revoked:
                if node.connected and revocation.pid == node.pid:
                    node.inbox.append(Revoked(revocation.id, revocation.version, revocation.reason))
        self.queue += self.machine.take_executes()
        self.dispatch()

    def dispatch(self) -> None:
        waiting, self.queue = self.queue, []
        for execute in waiting:
            takers = [n for n in self.nodes if n.connected and n.sent < n.total]
            if not takers:
                self.queue.append(execute)
                continue
            node = next((n for n in takers if n.pid == execute.warm), takers[0])
            command = TaskAcquire(execute.id, execute.version, node.pid, TTL_MS)
            reply = self.machine.apply(command, self.now)
            if not reply.ok:
                continue
            assert reply.promise is not None
            assert reply.task is not None
            node.sent += 1
            assert node.sent <= node.total, "never more than it announced room for"
            version = reply.task.version
            if version == 1:
                node.inbox.append(Invoke(reply.promise, 1))
            else:
                warm = execute.warm == node.pid
                preload = None if warm else self.children(execute.id)
                failures = reply.task.failures
                node.inbox.append(Resume(reply.promise, version, preload, failures))

    # Running everything --------------------------------------------------------------------------

    def record(self, id: str) -> PromiseRecord:
        record = self.machine.view.record(id)
        assert record is not None
        return record

    def moves(self) -> list[Callable[[], None]]:
        """Return everything that can happen next while time stands still."""
        found: list[Callable[[], None]] = []
        for node in self.nodes:
            if node.out:
                found.append(node.deliver_out)
            if node.inbox:
                found.append(node.deliver_in)
            found += [partial(node.run_one, i) for i in range(len(node.executor.queue))]
        return found

    def settle_down(self) -> None:
        """Do everything that can be done now, in a fair order."""
        for _ in range(100_000):
            moves = self.moves()
            if not moves:
                return
            moves[0]()
        raise AssertionError("it never comes to rest")

    def beat(self) -> None:
        for node in self.nodes:
            if node.connected:
                self.machine.apply(TaskHeartbeat(node.pid), self.now)

    def advance(self, by_ms: int) -> None:
        """Let time pass; living nodes keep their leases."""
        self.now += by_ms
        self.beat()
        for node in self.nodes:
            node.core.tick(self.now)
        self.settle()

    def rest(self, by_ms: int) -> None:
        self.settle_down()
        self.advance(by_ms)
        self.settle_down()

    def finish(self, id: str, rng: random.Random | None = None, turns: int = 2000) -> PromiseRecord:
        """Let everything happen until the promise is settled, in an order that `rng` decides."""
        for _ in range(turns):
            while moves := self.moves():
                (rng.choice(moves) if rng else moves[0])()
            if self.record(id).settled:
                return self.record(id)
            self.advance(rng.choice([1, 50, 300, 2000]) if rng else 300)
        raise AssertionError(f"{id} never settles")
