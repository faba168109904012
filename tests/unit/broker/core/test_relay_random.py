"""Random carriers, tasks, settlements, answers and losses: nothing is lost, no bound is passed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.core.carriers import place_of
from understudy_broker.protocol.messages import Beat, Carry, Forward, Forwarded
from understudy_store.commands import (
    PromiseCreate,
    PromiseRegisterListener,
    PromiseSettle,
    TaskAcquire,
    TaskFulfill,
    TaskRelease,
)
from understudy_store.records import TAG_EXTERNAL, Value, foreign_pid

CLIENT, HOLDER = b"c", b"h"
EDGES = (b"e1", b"e2", b"e3")
ADDRESSES = [
    f"{scheme}://{host}/{path}"
    for scheme in ("http", "https", "nats")
    for host in ("a", "b", "c")
    for path in ("1", "2")
]
PLACES = sorted({place_of(address) for address in ADDRESSES})
PID = foreign_pid("them")
LONG_MS = 10**11


class World:
    """Carriers, and what they were given; each step checks what must always hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rig = Rig()
        self.rig.join(CLIENT, "client", kind="client")
        self.rig.join(HOLDER, "holder", group="edges", kind="edge")
        self.flying: dict[bytes, dict[tuple[str, str], Forward]] = {}
        self.credit: dict[bytes, int] = {}
        self.credit_max: dict[bytes, int] = {}
        self.schemes: dict[bytes, tuple[str, ...]] = {}
        self.places: dict[bytes, tuple[str, ...]] = {}
        self.count = 0
        #: versions of the tasks that are not done, and of those held
        self.tasks: dict[str, int] = {}
        self.held: dict[str, int] = {}
        #: address and id of the unblocks, and of those that somebody took
        self.owed: set[tuple[str, str]] = set()
        self.taken: Counter[tuple[str, str]] = Counter()
        self.open: dict[str, set[str]] = {}

    def settle_in(self) -> None:
        """Take what was sent, and check it."""
        self.rig.turn()
        for edge, flying in self.flying.items():
            for forward in self.rig.take(edge, Forward):
                key = (forward.address, forward.id)
                assert not any(key in others for others in self.flying.values()), key
                assert forward.address.partition("://")[0] in self.schemes[edge]
                assert place_of(forward.address) in (self.places[edge] or PLACES)
                flying[key] = forward
                assert len(flying) <= self.credit[edge]
                if forward.promise is not None:
                    assert key in self.owed
            places = Counter(place_of(address) for address, _ in flying)
            if len(places) > 1:
                assert max(places.values()) <= max(1, self.credit_max[edge] // 2)

    # Actions -------------------------------------------------------------------------------------

    def step(self) -> None:
        actions = (
            (self.join, 2), (self.lose, 1), (self.recredit, 1), (self.task, 6), (self.listen, 3),
            (self.settle, 3), (self.acquire, 4), (self.end_task, 3), (self.answer, 10),
            (self.time, 2),
        )  # fmt: skip
        (action,) = self.random.choices([each for each, _ in actions], [n for _, n in actions])
        action()
        self.settle_in()

    def join(self, schemes: tuple[str, ...] | None = None) -> None:
        edge = self.random.choice(EDGES)
        self.rig.join(edge, edge.decode(), group="edges", kind="edge")
        self.flying[edge] = {}
        self.credit[edge] = self.credit_max[edge] = self.random.randint(1, 8)
        some = self.random.sample(["http", "https", "nats"], self.random.randint(1, 3))
        self.schemes[edge] = schemes or tuple(some)
        self.places[edge] = ()
        if schemes is None and self.random.random() < 0.5:
            own = [place for place in PLACES if place.partition("://")[0] in self.schemes[edge]]
            self.places[edge] = tuple(self.random.sample(own, 2))
        self.carry(edge)

    def carry(self, edge: bytes) -> None:
        self.rig.send(edge, Carry(self.schemes[edge], self.credit[edge], self.places[edge]))

    def lose(self) -> None:
        if self.flying:
            edge = self.random.choice(list(self.flying))
            del self.flying[edge]
            self.rig.core.connection_lost(edge, self.rig.now)

    def recredit(self) -> None:
        if self.flying:
            edge = self.random.choice(list(self.flying))
            self.credit[edge] = max(len(self.flying[edge]), self.random.randint(1, 8))
            self.credit_max[edge] = max(self.credit[edge], self.credit_max[edge])
            self.carry(edge)

    def task(self) -> None:
        self.count += 1
        id_ = f"t{self.count}"
        assert self.rig.create(CLIENT, id_, self.random.choice(ADDRESSES), LONG_MS).ok
        self.tasks[id_] = 0

    def listen(self) -> None:
        self.count += 1
        id_ = f"p{self.count}"
        create = PromiseCreate(id_, self.rig.now + LONG_MS, Value({}), {TAG_EXTERNAL: "true"})
        assert self.rig.reply(CLIENT, create).ok
        self.open[id_] = set(self.random.sample(ADDRESSES, self.random.randint(1, 4)))
        for address in self.open[id_]:
            assert self.rig.reply(CLIENT, PromiseRegisterListener(id_, address)).ok

    def settle(self) -> None:
        ids = [*self.open, *self.tasks]
        if not ids:
            return
        id_ = self.random.choice(ids)
        assert self.rig.reply(CLIENT, PromiseSettle(id_, "resolved")).ok
        self.tasks.pop(id_, None)
        self.held.pop(id_, None)
        self.owed |= {(address, id_) for address in self.open.pop(id_, ())}

    def acquire(self) -> None:
        free = [id_ for id_ in self.tasks if id_ not in self.held]
        if free:
            id_ = self.random.choice(free)
            ttl = LONG_MS
            assert self.rig.reply(HOLDER, TaskAcquire(id_, self.tasks[id_], PID, ttl)).ok
            self.tasks[id_] += 1
            self.held[id_] = self.tasks[id_]

    def end_task(self) -> None:
        if self.held:
            id_ = self.random.choice(list(self.held))
            version = self.held.pop(id_)
            if self.random.random() < 0.5:
                assert self.rig.reply(HOLDER, TaskRelease(id_, version)).ok
            else:
                assert self.rig.reply(HOLDER, TaskFulfill(id_, version, "resolved")).ok
                del self.tasks[id_]

    def answer(self, *, works: bool = False) -> None:
        edges = [edge for edge, flying in self.flying.items() if flying]
        if not edges:
            return
        edge = self.random.choice(edges)
        key = self.random.choice(list(self.flying[edge]))
        forward = self.flying[edge].pop(key)
        error = None if works or self.random.random() < 0.6 else "status 500"
        if forward.promise is not None and error is None:
            self.taken[key] += 1
        again_ms = self.random.choice([None, None, 1_000, 200_000])
        rest_ms = self.random.choice([None, None, 500, 20_000, 10**9])
        self.rig.send(edge, Forwarded(*key, forward.version, error, again_ms, rest_ms))

    def time(self) -> None:
        for _ in range(self.random.choice([1, 30])):
            self.rig.send(CLIENT, Beat())
            self.rig.send(HOLDER, Beat())
            for edge in self.flying:
                self.rig.send(edge, Beat())
            self.rig.pass_time(2_500, 2_500)
            self.settle_in()

    def end(self) -> None:
        """Let everything work, until nothing is owed and every task was offered once more."""
        for _ in range(10):
            self.join(("http", "https", "nats"))
            self.settle_in()
        offered: set[tuple[str, int]] = set()
        missing = {(id_, v) for id_, v in self.tasks.items() if id_ not in self.held}
        for _ in range(3_000):
            self.time()
            for flying in self.flying.values():
                offered |= {(f.id, f.version) for f in flying.values() if f.promise is None}
            while any(self.flying.values()):
                self.answer(works=True)
                self.settle_in()
                for flying in self.flying.values():
                    offered |= {(f.id, f.version) for f in flying.values() if f.promise is None}
            if not self.rig.machine.owed_unblocks() and missing <= offered:
                return
        raise AssertionError((missing - offered, self.rig.machine.owed_unblocks()))


@pytest.mark.parametrize("seed", range(30))
def test_random_carriers(seed: int) -> None:
    world = World(seed)
    for _ in range(200):
        world.step()
    world.end()
    # Each unblock was taken, once for each time that a carrier has said so.
    assert set(world.taken) == world.owed
    assert max(world.taken.values(), default=1) == 1
    for _ in range(20):
        world.time()  # what paused is offered, or was acquired meanwhile
        while any(world.flying.values()):
            world.answer(works=True)
            world.settle_in()
    numbers = world.rig.core.metrics.read()
    kinds = ("forwards_waiting", "forwards_in_flight", "forwards_pausing")
    assert [numbers[kind] for kind in kinds] == [0, 0, 0]
