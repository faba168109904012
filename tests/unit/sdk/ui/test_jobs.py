"""Jobs of the dashboard: whose they are, how many there are, and how they end before the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
import trio

from understudy.edge.asker import ASKER
from understudy.repairs.execution import BATCH
from understudy.repairs.plan import Plan, Target
from understudy.ui.jobs import KEPT_MAX, PLANS_MAX, RUNNING_MAX, Job, Jobs, TooManyJobsError
from understudy.ui.ports import AwayError
from understudy_broker.protocol.messages import GroupsReport, OwnCommand
from understudy_store.commands import Reply


class Broker:
    """A port that answers each batch once it may."""

    kind: Final = "broker"
    name = "tcp://test"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.askers: set[str | None] = set()
        self.may_answer = trio.Semaphore(0)
        self.is_away = False

    def now_ms(self) -> int:
        return 1

    async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        self.batches.append(len(commands))
        self.askers.add(ASKER.get())
        await self.may_answer.acquire()
        if self.is_away:
            raise AwayError("gone")
        return [Reply(200) for _ in commands]

    async def groups(self) -> GroupsReport | None:
        return None


def plan(count: int) -> Plan:
    return Plan("halt", tuple(Target(f"c-{number}") for number in range(count)))


async def begun(jobs: Jobs, count: int = 1) -> Job:
    job = await jobs.begin(jobs.propose(plan(count)))
    assert job is not None
    return job


async def test_a_job_is_done_in_the_name_of_who_asked_and_seen_by_nobody_else(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    broker = Broker()
    jobs = Jobs(broker)
    nursery.start_soon(jobs.run)
    ASKER.set("ann")
    key = jobs.propose(plan(3))
    ASKER.set("bob")
    assert await jobs.begin(key) is None
    ASKER.set("ann")
    job = await jobs.begin(key)
    assert job is not None
    assert await jobs.begin(key) is job, "a form that is sent twice begins it once"
    broker.may_answer.release()
    await job.ended.wait()
    assert (job.tally.done, broker.askers) == (3, {"ann"})
    ASKER.set("bob")
    assert jobs.get(key) is None


async def test_a_job_that_is_stopped_leaves_the_rest_as_it_was(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    broker = Broker()
    jobs = Jobs(broker)
    nursery.start_soon(jobs.run)
    job = await begun(jobs, 3 * BATCH)
    job.is_stopping = True
    broker.may_answer.release()
    await job.ended.wait()
    assert (job.tally.done, broker.batches) == (BATCH, [BATCH])


async def test_a_job_says_that_the_broker_went_away(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    broker = Broker()
    jobs = Jobs(broker)
    nursery.start_soon(jobs.run)
    broker.is_away = True
    broker.may_answer.release()
    job = await begun(jobs)
    await job.ended.wait()
    assert (job.trouble, job.tally.done) == ("no broker answers: gone", 0)


async def test_jobs_and_plans_are_bounded(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    jobs = Jobs(broker)
    nursery.start_soon(jobs.run)
    running = [await begun(jobs) for _ in range(RUNNING_MAX)]
    with pytest.raises(TooManyJobsError, match="wait for them, or stop one"):
        await begun(jobs)
    for _ in running:
        broker.may_answer.release()
    for job in running:
        await job.ended.wait()
    for _ in range(KEPT_MAX):
        broker.may_answer.release()
        await begun(jobs)
    assert jobs.get(running[0].key) is None, "the oldest is forgotten"
    ASKER.set("ann")
    first = jobs.propose(plan(1))
    ASKER.set("bob")
    last = [jobs.propose(plan(1)) for _ in range(PLANS_MAX)][-1]
    ASKER.set("ann")
    broker.may_answer.release()
    assert await jobs.begin(first) is not None, "nobody pushes out the plans of others"
    ASKER.set("bob")
    monkeypatch.setattr("understudy.ui.jobs.PLANNED_MAX", 10)
    jobs.propose(plan(10))
    assert await jobs.begin(last) is None, "nor are there more calls in them than may be"


async def test_an_error_in_a_job_ends_that_job_alone(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    class Broken(Broker):
        async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
            if not self.batches:
                self.batches.append(len(commands))
                raise RuntimeError("an error of ours")
            return await super().ask(commands)

    broker = Broken()
    jobs = Jobs(broker)
    nursery.start_soon(jobs.run)
    job = await begun(jobs)
    assert job.trouble == "it failed: RuntimeError: an error of ours"
    broker.may_answer.release()
    job = await begun(jobs)
    await job.ended.wait()
    assert job.tally.done == 1
