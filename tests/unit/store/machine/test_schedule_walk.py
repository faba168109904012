"""Random walks about a schedule, with a clock that goes in seconds: every property holds."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.store.machine.test_walk import CONFIG, Walker
from understudy_store.addresses import slot_of_address
from understudy_store.commands import PromiseOccur, PromiseRegisterListener

STEPS = 300


class ScheduleWalker(Walker):
    """A walk through one machine; where slots are shared out, others do as it asks, or do not."""

    def __init__(self, seed: int, *, sharded: bool) -> None:
        super().__init__(seed, msgspec.structs.replace(CONFIG, sharded=sharded))

    def step(self) -> None:
        """One thing happens, mostly to the schedule."""
        world, chance = self.world, self.random.random()
        if chance < 0.25:
            world.do(self.schedule())
        elif chance < 0.35:
            world.advance(self.random.choice([500, 1_000, 3_000, 20_000]))
        elif chance < 0.45:
            world.settle_down()
        elif chance < 0.50:
            world.restart()
        elif chance < 0.52:
            world.follow(self.random.choice([0, -5_000, 5_000, 30_000]))
        elif chance < 0.70 and world.config.sharded:
            self.answer()
        else:
            super().step()

    def answer(self) -> None:
        """Other slots answer what they are asked for; some answers are lost until a restart."""
        for each in self.world.machine.take_requests():
            if self.random.random() < 0.3:
                continue
            if isinstance(each, PromiseOccur):
                self.world.occurred(each.schedule, each.date)
            elif isinstance(each, PromiseRegisterListener) and self.random.random() < 0.5:
                # It does not exist. The broker parks the tasks that wait for it, so not of those.
                slot = slot_of_address(each.address)
                assert slot is not None
                if each.awaited not in self.world.machine.state.awaiters_elsewhere:
                    self.world.forget_ask(each.awaited, slot)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_every_property_holds_along_a_walk_about_a_schedule(seed: int, *, sharded: bool) -> None:
    walker = ScheduleWalker(seed, sharded=sharded)
    for _ in range(STEPS):
        walker.step()
    walker.world.settle_down()
    walker.world.commit()
    walker.world.restart()
    walker.world.settle_down()
