"""Wall clocks that are set or wrong: nothing ends early for it, and schedules follow."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.recovery.launch import CLOCK_ENV
from tests.integration.recovery.world import SOON_S, World, until
from understudy.schedules import Schedule

HOUR_S = 3600
SLEEP_S = 0.6
SLACK_S = 0.2
#: timeout, in seconds, of calls that must not have expired at the end of a test
DEADLINE_S = 120
YEAR_S = 365 * 24 * HOUR_S


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


def schedule(world: World) -> Schedule:
    """The schedule "hourly", at half past each hour by the true time or a wrong one."""
    found = world.runtime.schedules.get("hourly")
    assert found is not None
    return found


def away(wall_shift_s: float, at: datetime) -> float:
    """Seconds from the wall clock that is shifted to a moment."""
    return at.timestamp() - (time.time() + wall_shift_s)


def wait_for_next_run(world: World, wall_shift_s: int) -> None:
    """Wait until the schedule is due next within an hour of the shifted clock."""

    def follows() -> bool:
        return 0 <= away(wall_shift_s, schedule(world).next_run_at) <= HOUR_S

    until("the schedule follows", follows)


@pytest.mark.parametrize("shift_s", [20 * HOUR_S, -20 * HOUR_S])
def test_schedules_follow_a_clock_that_is_set(world: World, wall: Wall, shift_s: int) -> None:
    """And timeouts do not."""
    world.start_broker(**wall.env)
    hold_question(world)
    world.runtime.options(target="nobody").schedules.create("hourly", "0 * * * *", "f")
    for shift in (shift_s, 0):
        wall.set(shift)
        wait_for_next_run(world, shift)
        assert world.runtime.promises.get("question").state == "pending"
    # The clock was set forward: what came due in that time was made, as after an absence.
    made = list(world.runtime.promises.search(prefix="hourly."))
    assert len(made) >= (19 if shift_s > 0 else 0)
    assert all(call.state == "pending" for call in made)


def hold_question(world: World) -> None:
    world.runtime.promises.create("question", timeout=DEADLINE_S)


@pytest.mark.parametrize("shift_s", [2 * YEAR_S, 73 * YEAR_S])
def test_years_ahead_for_one_start(world: World, wall: Wall, shift_s: int) -> None:
    """The broker says both times, waits until the clock is set, and goes on as if it had been."""
    world.start_broker(**wall.env)
    hold_question(world)
    world.runtime.options(target="nobody").schedules.create("hourly", "0 * * * *", "f")
    world.broker.kill()
    wall.set(shift_s)
    world.broker = world.fork_broker(**wall.env)
    world.broker.wait_for("not started")
    now = datetime.now(UTC)
    for part in (f"{now + timedelta(seconds=shift_s):%Y-%m-%d}", f"{now:%Y-%m-%d}"):
        assert part in world.broker.output
    assert "1 promises" in world.broker.output
    assert "listening on" not in world.broker.output
    wall.set(0)
    world.broker.wait_for("listening on")
    assert world.runtime.promises.resolve("question", "answer").state == "resolved"
    assert 0 <= away(0, schedule(world).next_run_at) <= HOUR_S
    assert not list(world.runtime.promises.search(prefix="hourly."))


def test_a_broker_that_waits_for_the_clock_stops_in_order(world: World, wall: Wall) -> None:
    world.start_broker(**wall.env)
    hold_question(world)
    world.broker.kill()
    wall.set(2 * YEAR_S)
    waiting = world.fork_broker(**wall.env)
    waiting.wait_for("not started")
    waiting.signal(signal.SIGTERM)
    assert waiting.ended() == 0
    wall.set(0)
    world.start_broker(**wall.env)
    assert world.runtime.promises.resolve("question", "answer").state == "resolved"


def test_a_person_who_says_the_date_is_believed(world: World, wall: Wall) -> None:
    """It was no wrong clock, but an absence: what came due in it has ended."""
    world.start_broker(**wall.env)
    hold_question(world)
    world.broker.kill()
    wall.set(2 * YEAR_S)
    world.settings["accept_clock"] = f"{datetime.now(UTC) + timedelta(seconds=2 * YEAR_S):%Y-%m-%d}"
    world.start_broker(**wall.env)
    ended = world.wait_settled("question")
    assert ended.settled_at == ended.timeout_at
    # The date says nothing of another jump.
    world.runtime.promises.create("later", timeout=DEADLINE_S)
    world.broker.kill()
    wall.set(4 * YEAR_S)
    world.fork_broker(**wall.env).wait_for("not started")


def test_a_clock_without_a_battery_is_waited_for(world: World, wall: Wall) -> None:
    """A new store is not begun in 1970, because all that it holds would end once it is later."""
    wall.set(-int(time.time()))
    world.broker = world.fork_broker(**wall.env)
    world.broker.wait_for("cannot be")
    wall.set(0)
    world.broker.wait_for("listening on")
    hold_question(world)
    # With a store, the broker goes on from the latest time in it, and learns the right one later.
    world.broker.kill()
    wall.set(-int(time.time()))
    world.start_broker(**wall.env)
    assert "1970-01-01" in world.broker.output
    hold_question(world)
    world.runtime.options(target="nobody").schedules.create("hourly", "0 * * * *", "f")
    wall.set(2 * HOUR_S)
    wait_for_next_run(world, 2 * HOUR_S)
    assert world.runtime.promises.resolve("question", "answer").state == "resolved"


@pytest.mark.parametrize("shift_s", [2 * YEAR_S, -2 * YEAR_S])
def test_years_while_the_broker_runs_are_held(world: World, wall: Wall, shift_s: int) -> None:
    world.start_broker(**wall.env)
    hold_question(world)
    world.runtime.options(target="nobody").schedules.create("hourly", "0 * * * *", "f")
    wall.set(shift_s)
    world.broker.wait_for("restart the broker with --accept-clock")
    assert 0 <= away(0, schedule(world).next_run_at) <= HOUR_S
    assert world.runtime.promises.resolve("question", "answer").state == "resolved"


def test_a_store_from_the_future_is_good_for_today(world: World, wall: Wall) -> None:
    """A new store was begun with a wrong clock: nothing in it ends early or late for that."""
    wall.set(2 * YEAR_S)
    world.start_broker(**wall.env)
    world.start_node("n-1")
    hold_two(world)
    world.runtime.options(target="nobody").schedules.create("hourly", "0 * * * *", "f")
    world.broker.kill()
    wall.set(0)
    world.start_broker(**wall.env)
    sleep_once(world, "x")
    let_go_of_two(world)
    world.broker.wait_for("--accept-clock")
    world.broker.kill()
    world.settings["accept_clock"] = f"{datetime.now(UTC):%Y-%m-%d}"
    world.start_broker(**wall.env)
    sleep_once(world, "y")
    assert 0 <= away(0, schedule(world).next_run_at) <= HOUR_S
