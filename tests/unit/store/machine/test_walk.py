"""Long random walks: a client, nodes and time mostly do what makes sense, and often what does not.

Longer than what hypothesis grows in `test_properties`, and therefore deeper. Each seed is
one walk; a seed that fails once fails again.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.store.machine.chooser import Chooser
from tests.unit.store.machine.world import World
from understudy_store.addresses import slot_of_address
from understudy_store.machine import MachineConfig
from understudy_store.records import PromiseRecord, TaskRecord

CONFIG = MachineConfig(retry_timeout_ms=20, sweep_max=5, missed_max=3, pack_after_ms=2)
STEPS = 500


class Walker(Chooser):
    """Chooses what happens next, by what there is."""

    def __init__(self, seed: int, config: MachineConfig = CONFIG) -> None:
        super().__init__(seed)
        self.world = World(config)

    @property
    def now(self) -> int:
        return self.world.now

    @property
    def known_promises(self) -> Mapping[str, PromiseRecord]:
        return self.world.view.promises

    @property
    def known_tasks(self) -> Mapping[str, TaskRecord]:
        return self.world.view.tasks

    def step(self) -> None:
        """One thing happens."""
        world, chance = self.world, self.random.random()
        if chance < 0.62:
            reply = world.do(self.command())
            assert reply.status in (200, 201, 300, 400, 404, 409, 422)
        elif chance < 0.77:
            world.sweep()
        elif chance < 0.85:
            world.advance(self.random.choice([0, 1, 1, 2, 5, 10, 30]))
        elif chance < 0.90:
            world.depart()
        elif chance < 0.95:
            world.land()
        elif chance < 0.965:
            world.restart()
        elif chance < 0.967:
            world.follow(self.random.choice([0, -60_000, -5_000, 5_000, 60_000]))
        elif chance < 0.98:
            pid = self.pid()
            keep = [each for each in world.machine.view.held(pid) if self.random.random() < 0.5]
            crash = self.random.choice([None, f"{pid} is gone"])
            had = world.machine.view.held(pid)
            world.release(pid, keep, crash, presumed=self.random.random() < 0.5)
            if self.random.random() < 0.3:
                world.retract_crashes(pid, had)
        else:
            for address, record in world.machine.owed_unblocks()[:2]:
                if slot_of_address(address) is None:
                    world.machine.acknowledge(record.id, address)


@pytest.mark.parametrize("seed", range(40))
def test_every_property_holds_along_a_walk(seed: int) -> None:
    walker = Walker(seed)
    for _ in range(STEPS):
        walker.step()
    walker.world.settle_down()
    walker.world.commit()
    walker.world.restart()
    walker.world.settle_down()
