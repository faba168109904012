"""A store of one broker becomes one of several: waits between slots are not lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.integration.store.postgres_world import id_in, opened
from tests.unit.store.samples import row, targeted
from understudy_store.changes import Changes
from understudy_store.commands import PromiseRegisterListener
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.machine import Machine, MachineConfig
from understudy_store.slots import slot_of

Join: TypeAlias = Callable[..., SharedPostgresEngine]


def test_a_task_awaits_what_a_callback_alone_said_so_far(url: str, join: Join) -> None:
    here, there = id_in(1), id_in(2)
    sole = opened(url)
    changes = Changes(
        1_000,
        inserted=[targeted(here), row(there), row(f"{here}.1")],
        callbacks_added=[(there, here), (f"{here}.1", here)],
    )
    sole.commit(changes, [], sole.load().epoch)
    sole.close()
    engine = join("a")
    machine = Machine(MachineConfig(sharded=True))
    machine.admit(engine.load_slots([slot_of(here)]), 2_000)
    task = machine.view.task(here)
    assert task is not None
    assert task.awaits == (there,)
    [asked] = machine.take_requests()
    assert isinstance(asked, PromiseRegisterListener)
    assert asked.awaited == there
