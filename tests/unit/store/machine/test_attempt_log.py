"""Which attempts the machine logs, and what the task itself says of those that went well."""

from __future__ import annotations

from tests.unit.store.machine.world import START, World
from understudy_store.commands import (
    TaskAcquire,
    TaskContinue,
    TaskFulfill,
    TaskHalt,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.machine.hosts import HOSTS_MAX, Hosts
from understudy_store.records import (
    ATTEMPT_TEXT_MAX,
    EMPTY,
    ERROR_CHARS_MAX,
    AttemptRecord,
    Value,
)


def test_a_call_that_goes_well_costs_no_record() -> None:
    world = World()
    world.promise("r", target="g")
    world.advance(30)
    world.acquire("r", pid="n1#boot")
    world.child("r", "r.1")
    world.advance(20)
    world.do(TaskSuspend("r", 1, ("r.1",)))
    world.acquire("r.1", pid="n2#boot")
    world.fulfill("r.1")
    world.advance(10)
    world.acquire("r", pid="n3#boot", version=1)
    assert world.do(TaskFulfill("r", 2, "resolved")).ok
    assert world.commit().attempts == []
    task = world.task("r")
    assert (task.node, task.suspensions, task.logged) == ("n3", 1, 0)
    assert (task.started_at, task.queued_at, task.acquired_at) == (
        START + 30,
        START + 50,
        START + 60,
    )


def test_each_bad_end_is_logged_with_its_holder() -> None:
    world = World()
    world.machine.hosts.note("n1#boot", "web-1")
    world.promise("r", target="g")
    world.acquire("r", pid="n1#boot")
    world.advance(5)
    cause = "attempt 1 of 4 failed: shop.Declined: no money" + "!" * ATTEMPT_TEXT_MAX
    world.do(TaskRelease("r", 1, 100, True, cause, "shop.Declined"))
    world.advance(100)
    world.acquire("r", pid="n2#boot", version=1)
    world.release("n2#boot", crash="n2 was killed")
    world.acquire("r", pid="n1#boot", version=2)
    world.do(TaskRelease("r", 3))
    world.do(TaskHalt("r", "its code has changed"))
    world.do(TaskContinue("r"))
    world.acquire("r", pid="n1#boot", version=3)
    world.do(TaskFulfill("r", 4, "rejected", Value({"error": "E" * 300}, b"x")))
    now = START + 105
    assert world.commit().attempts == [
        AttemptRecord(
            *("r", 1, 1, "raised", START + 5, "n1", "web-1", START, START, "shop.Declined"),
            cause[:ATTEMPT_TEXT_MAX],
        ),
        AttemptRecord("r", 2, 2, "died", now, "n2", None, now, now, None, "n2 was killed"),
        AttemptRecord("r", 3, 3, "released", now, "n1", "web-1", now, now),
        AttemptRecord("r", 4, 3, "parked", now, text="its code has changed"),
        AttemptRecord("r", 5, 4, "raised", now, "n1", "web-1", now, now, "E" * ERROR_CHARS_MAX),
    ]
    assert world.task("r").logged == 5


def test_a_lease_that_lapses_and_a_restart() -> None:
    world = World()
    world.promise("r", target="g")
    world.acquire("r", pid="n1#boot", ttl=50)
    world.commit()
    world.restart()
    world.advance(60)
    world.sweep()
    [died] = world.commit().attempts
    assert (died.n, died.end, died.node, died.started_at) == (1, "died", "n1", START)
    assert "fell silent" in (died.text or "")


def test_a_refused_command_logs_nothing() -> None:
    world = World()
    world.promise("r", target="g")
    world.acquire("r", pid="n1#boot")
    assert world.do(TaskRelease("r", 7, 0, True, "no")).status == 409
    assert world.do(TaskRelease("r", 1, 0, True, "no", "E" * 201)).status == 400
    assert world.do(TaskRelease("r", 1, 0, True, "no", "E\0")).status == 400
    assert world.do(TaskFulfill("r", 2, "rejected", EMPTY)).status == 409
    assert world.do(TaskAcquire("r", 1, "n2#boot", 50)).status == 409
    assert world.commit().attempts == []


def test_hosts_are_remembered_up_to_a_bound() -> None:
    hosts = Hosts()
    for number in range(HOSTS_MAX + 2):
        hosts.note(f"n{number}#b", "h")
        hosts.note("n0#b", "h0")
    assert (hosts.of("n0#b"), hosts.of("n1#b"), hosts.of(f"n{HOSTS_MAX}#b")) == ("h0", None, "h")
