"""The core under random peers, lost connections, crashes and restarts: all promises settle.

Peers behave as a link does: they claim the tasks that they hold, repeat unanswered requests, and
forget everything when they crash. A seed determines a run.
"""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.frames import encode
from understudy_broker.protocol.messages import (
    AnyCommand,
    Beat,
    Credit,
    Invoke,
    Message,
    PromiseWatch,
    Refused,
    Request,
    Response,
    Resume,
    Revoked,
    Settled,
    ToPeer,
    Welcome,
)
from understudy_store.commands import PromiseCreate, TaskFulfill
from understudy_store.records import TAG_TARGET, Value

ROOM = 3


class Peer:
    """A node, or, without credit, a client that creates and watches."""

    def __init__(self, world: World, name: str, room: int) -> None:
        self.world, self.name, self.room = world, name, room
        self.boot = 0
        self.connection = 0
        self.crash()

    def crash(self) -> None:
        """Forget everything, and come back as another process."""
        self.boot += 1
        self.held: dict[str, int] = {}
        self.unanswered: dict[int, AnyCommand] = {}
        self.watched: set[str] = set()
        self.corr = 0
        self.connect()

    def connect(self) -> None:
        self.connection += 1
        self.peer = f"{self.name}/{self.boot}/{self.connection}".encode()
        self.welcomed = False
        self.total = self.room - len(self.held)
        self.used = 0

    def greet(self) -> None:
        claims = tuple(self.held.items())
        boot, credit = str(self.boot), self.total
        if self.room:
            self.send(hello(self.name, boot=boot, credit=credit, claims=claims))
        else:
            self.send(hello(self.name, boot=boot, kind="client", group="callers"))

    def send(self, *messages: Message) -> None:
        self.world.rig.core.receive(self.peer, encode(messages), self.world.rig.now)

    def ask(self, command: AnyCommand) -> None:
        self.corr += 1
        self.unanswered[self.corr] = command
        if self.welcomed:
            self.send(Request(self.corr, command))

    def take(self, message: ToPeer) -> None:
        if isinstance(message, Welcome):
            self.welcomed = True
            for id_ in message.lost:
                del self.held[id_]
            for corr, command in self.unanswered.items():
                self.send(Request(corr, command))
            if self.watched:
                self.ask(PromiseWatch(tuple(sorted(self.watched))))
        elif isinstance(message, Invoke | Resume):
            self.used += 1
            assert self.used <= self.total, "sent more than there was room for"
            self.world.holders[message.promise.id, message.version].add((self.name, self.boot))
            self.held[message.promise.id] = message.version
        elif isinstance(message, Response):
            self.answered(message)
        elif isinstance(message, Settled):
            self.settled(*(promise.id for promise in message.promises))
        elif isinstance(message, Revoked):
            self.let_go(message.id, message.version)
        elif isinstance(message, Refused):
            assert message.status in (409, 412), message
            self.connect()

    def answered(self, response: Response) -> None:
        command = self.unanswered.pop(response.corr, None)
        if isinstance(command, TaskFulfill):
            if response.reply.status == 200:
                self.world.fulfilled[command.id].add((self.name, self.boot, command.version))
            self.let_go(command.id, command.version)
        elif isinstance(command, PromiseCreate):
            assert response.reply.ok
            self.watched.add(command.id)
            self.ask(PromiseWatch((command.id,)))
        elif isinstance(command, PromiseWatch):
            assert response.reply.promises is not None
            self.settled(*(promise.id for promise in response.reply.promises))

    def settled(self, *ids: str) -> None:
        self.world.told.update(ids)
        self.watched.difference_update(ids)

    def let_go(self, id_: str, version: int) -> None:
        if self.held.get(id_) == version:
            del self.held[id_]
            self.total += 1
            if self.welcomed:
                self.send(Credit(self.total))

    def work(self, chance: random.Random) -> None:
        for id_, version in list(self.held.items()):
            asked = any(
                isinstance(c, TaskFulfill) and c.id == id_ for c in self.unanswered.values()
            )
            if not asked and chance.random() < 0.5:
                self.ask(TaskFulfill(id_, version, "resolved", Value({}, b"y")))


class World:
    """Nodes, a client, a broker that may be started again, and the properties that must hold."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.rig = Rig()
        self.holders: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)
        self.fulfilled: dict[str, set[tuple[str, int, int]]] = defaultdict(set)
        self.told: set[str] = set()
        self.created: list[str] = []
        self.nodes = [Peer(self, name, ROOM) for name in ("n1", "n2", "n3")]
        self.client = Peer(self, "c", 0)
        self.peers = [*self.nodes, self.client]

    def turn(self) -> None:
        for peer in self.peers:
            if not peer.welcomed:
                peer.greet()
            elif self.chance.random() < 0.3:
                peer.send(Beat())
        for node in self.nodes:
            node.work(self.chance)
        if self.chance.random() < 0.5:
            self.rig.turn()
        else:
            self.rig.step()  # more comes before the commit
        self.rig.now += self.chance.choice([1, 5, 20, 100])
        self.deliver()

    def deliver(self) -> None:
        for peer in self.peers:
            address = peer.peer
            for message in self.rig.inbox.pop(address, []):
                if peer.peer == address:
                    peer.take(message)
        self.rig.inbox.clear()
        for version, holders in self.holders.items():
            assert len(holders) == 1, (version, holders)
        for id_, by in self.fulfilled.items():
            assert len(by) == 1, (id_, by)

    def disturb(self) -> None:
        peer = self.chance.choice(self.peers)
        what = self.chance.random()
        if what < 0.5:
            self.rig.core.connection_lost(peer.peer, self.rig.now)
            peer.connect()
        elif what < 0.6:
            peer.connect()  # The broker does not notice.
        elif what < 0.8 and peer in self.nodes:
            self.rig.core.connection_lost(peer.peer, self.rig.now)
            peer.crash()
        elif what < 0.9:
            self.restart()

    def restart(self) -> None:
        """Lose everything that was not committed or not delivered, and start again."""
        now = self.rig.now
        self.rig = Rig(engine=self.rig.engine, start=now)
        for peer in self.peers:
            peer.connect()

    def create(self) -> None:
        id_ = f"p{len(self.created)}"
        self.created.append(id_)
        group = self.chance.choice(["g", "g", "g", "poll://any@g/n1", "poll://uni@g/n2"])
        at = self.rig.now + 10_000_000
        self.client.ask(PromiseCreate(id_, at, Value({}, b"x"), {TAG_TARGET: group}))


@pytest.mark.parametrize("seed", range(25))
def test_every_call_is_settled_by_one_holder_and_its_caller_told(seed: int) -> None:
    world = World(seed)
    for _ in range(120):
        if world.chance.random() < 0.4:
            world.create()
        if world.chance.random() < 0.08:
            world.disturb()
        world.turn()
    for _ in range(400):  # without disturbances
        world.turn()
        if world.told.issuperset(world.created):
            break
    assert world.told == set(world.created)
    assert world.created
    assert world.rig.core.dispatcher.statistics().queued == 0
