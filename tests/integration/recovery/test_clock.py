"""Wall clocks that jump: nothing expires early, and time in the store never goes backwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.recovery.launch import CLOCK_ENV
from tests.integration.recovery.world import SOON_S, World

HOUR_S = 3600
SLEEP_S = 0.6
SLACK_S = 0.2
#: timeout, in seconds, of calls that must not have expired at the end of a test
DEADLINE_S = 120


class Wall:
    """The wall clock of processes that are started with `env`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.env = {CLOCK_ENV: str(path)}
        self.set(0)

    def set(self, shift_s: int) -> None:
        other = self._path.with_suffix(".new")
        other.write_text(str(shift_s))
        other.replace(self._path)


@pytest.fixture
def wall(world: World) -> Wall:
    return Wall(world.folder / "clock")


def sleep_once(world: World, id: str) -> None:
    """Check that a durable sleep takes its time, by a clock that does not jump."""
    result = world.runtime.options(target="g").rpc(id, "sleeps", SLEEP_S).result(SOON_S)
    assert result == 3
    check_sleep(world, id)


def check_sleep(world: World, id: str) -> None:
    began, ended = world.wait_line("end", f"{id}.1").at, world.wait_line("begin", f"{id}.3").at
    # A node knows the broker's clock to within half a round trip, which is long on a busy machine.
    assert SLEEP_S - SLACK_S <= ended - began < SLEEP_S + SOON_S


def hold_two(world: World) -> None:
    """Start a leaf and ask a question, both with a deadline that a jump would pass."""
    calls = world.runtime.options(target="g", timeout=DEADLINE_S)
    world.hold("leaf")
    calls.rpc("held", "leaf", 5)
    world.wait_line("held", "leaf")
    world.runtime.promises.create("question", timeout=DEADLINE_S)


def let_go_of_two(world: World) -> None:
    """Check that neither has expired, and that no step ran twice."""
    assert world.runtime.promises.resolve("question", "answer").state == "resolved"
    world.release("leaf")
    assert world.wait_settled("held").value() == 5
    assert world.begun()["held"] == 1


def times(world: World, id: str) -> tuple[datetime, datetime]:
    """Return the times of creation and settlement in the store."""
    found = world.wait_settled(id)
    assert found.settled_at is not None
    assert found.created_at <= found.settled_at
    return found.created_at, found.settled_at


@pytest.mark.parametrize("shift_s", [HOUR_S, -HOUR_S])
def test_while_the_broker_runs(world: World, wall: Wall, shift_s: int) -> None:
    """Deadlines, leases and sleeps are not affected by a jump, nor by the jump back."""
    world.start_broker(**wall.env)
    world.start_node("n-1")
    hold_two(world)
    sleep_once(world, "before")
    for number, shift in enumerate((shift_s, 0)):
        wall.set(shift)
        sleep_once(world, f"after-{number}")
        assert times(world, f"after-{number}")[0] >= times(world, "before")[1]
    assert times(world, "after-1")[1] - times(world, "before")[0] < timedelta(minutes=1)
    assert world.counter("leases_lapsed") == 0
    let_go_of_two(world)


@pytest.mark.parametrize("shift_s", [HOUR_S, -HOUR_S])
def test_of_a_node(world: World, wall: Wall, shift_s: int) -> None:
    """A node's clock is wrong at first and is then set right: only the broker's clock counts."""
    world.start_broker()
    wall.set(shift_s)
    world.start_node("n-1", wait=True, **wall.env)
    sleep_once(world, "x")
    wall.set(0)
    sleep_once(world, "y")
    wall.set(-shift_s)
    sleep_once(world, "z")


def test_back_while_the_broker_was_away(world: World, wall: Wall) -> None:
    """The broker's clock goes on from the store's last time, so sleeps need not wait an hour."""
    world.start_broker(**wall.env)
    world.start_node("n-1")
    hold_two(world)
    world.runtime.options(target="g").rpc("x", "sleeps", SLEEP_S)
    world.wait_settled("x.1")
    sleep_once(world, "before")
    world.broker.kill()
    wall.set(-HOUR_S)
    world.start_broker(**wall.env)
    assert world.wait_settled("x").value() == 3
    check_sleep(world, "x")
    sleep_once(world, "after")
    assert times(world, "after")[0] >= times(world, "before")[1]
    let_go_of_two(world)


def test_forth_while_the_broker_was_away_and_back_again(world: World, wall: Wall) -> None:
    """A jump of an hour looks like an absence of an hour. After the jump back, time goes on."""
    world.start_broker(**wall.env)
    world.start_node("n-1")
    sleep_once(world, "before")
    for number, shift_s in enumerate((HOUR_S, 0)):
        world.broker.kill()
        wall.set(shift_s)
        world.start_broker(**wall.env)
        sleep_once(world, f"after-{number}")
        # The clock of this process is now an hour behind the broker's.
        called = world.runtime.options(target="g", timeout=DEADLINE_S).rpc(f"x-{number}", "who")
        assert called.result(SOON_S)
    assert times(world, "after-0")[0] - times(world, "before")[1] >= timedelta(minutes=59)
    assert times(world, "after-1")[0] >= times(world, "after-0")[1]
