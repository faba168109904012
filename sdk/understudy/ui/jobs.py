"""Actions on many calls that somebody has asked for on a page, while they are carried out.

A job belongs to whoever asked for it, and is carried out in that name, batch after batch. It goes
on when the page is closed. If the dashboard ends in the middle, every call has been dealt with or
is as it was, and the same action goes on with the others.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from understudy.edge.asker import ASKER
from understudy.errors import UnderstudyError
from understudy.repairs.conversation import hold_async
from understudy.repairs.execution import execute
from understudy.repairs.plan import Plan, Tally
from understudy.ui.ports import AwayError, Port

_LOG: Final = logging.getLogger("understudy.ui")

#: jobs that are carried out at a time
RUNNING_MAX: Final = 4
#: jobs that are remembered
KEPT_MAX: Final = 20
#: plans of one person that wait for a yes, and calls in those of all
PLANS_MAX: Final = 5
PLANNED_MAX: Final = 200_000
#: how long a page waits for the end of a job before it shows how far it is
QUICK_S: Final = 0.5


class TooManyJobsError(UnderstudyError):
    """Enough jobs are carried out; the message says what to do."""


@dataclass(slots=True)
class Job:
    """An action that is carried out.

    Attributes
    ----------
    who
        Whose it is; None: nobody logs in.
    trouble
        Why it ended before all was done; empty: it did not.
    """

    key: str
    who: str | None
    plan: Plan
    tally: Tally
    trouble: str = ""
    is_stopping: bool = False
    ended: trio.Event = field(default_factory=trio.Event)


class Jobs:
    """The jobs of a dashboard, and the plans that wait for somebody to say yes."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._plans: OrderedDict[str, tuple[str | None, Plan]] = OrderedDict()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._send, self._receive = trio.open_memory_channel[Job](RUNNING_MAX)

    def propose(self, plan: Plan) -> str:
        """Keep a plan until whoever asks says yes; return its key."""
        key = secrets.token_urlsafe(12)
        who = ASKER.get()
        own = [each for each, (asked, _) in self._plans.items() if asked == who]
        for old in own[: max(0, len(own) - PLANS_MAX + 1)]:
            del self._plans[old]
        self._plans[key] = who, plan
        planned = sum(len(each.targets) for _, each in self._plans.values())
        while planned > PLANNED_MAX and len(self._plans) > 1:
            planned -= len(self._plans.popitem(last=False)[1][1].targets)
        return key

    def get(self, key: str) -> Job | None:
        """Return a job of whoever asks."""
        job = self._jobs.get(key)
        return job if job is not None and job.who == ASKER.get() else None

    async def begin(self, key: str) -> Job | None:
        """Carry out a plan, once; return its job, or None if there is no such plan any more.

        Raises
        ------
        TooManyJobsError
        """
        known = self.get(key)
        if known is not None:
            return known
        who, plan = self._plans.get(key, (None, None))
        if plan is None or who != ASKER.get():
            return None
        job = Job(key, who, plan, Tally(len(plan.targets)))
        running = sum(not each.ended.is_set() for each in self._jobs.values())
        if running >= RUNNING_MAX:
            raise TooManyJobsError("others are carried out: wait for them, or stop one")
        del self._plans[key]
        self._jobs[key] = job
        for old in [each for each in self._jobs.values() if each.ended.is_set()]:
            if len(self._jobs) > KEPT_MAX:
                del self._jobs[old.key]
        self._send.send_nowait(job)
        with trio.move_on_after(QUICK_S):
            await job.ended.wait()
        return job

    async def run(self) -> None:
        """Carry out what is begun, until canceled."""
        async with trio.open_nursery() as nursery:
            async for job in self._receive:
                nursery.start_soon(self._carry_out, job)

    async def _carry_out(self, job: Job) -> None:
        ASKER.set(job.who)
        work = execute(job.plan, job.tally, self._port.now_ms())
        try:
            await hold_async(work, self._port.ask, lambda: not job.is_stopping)
        except AwayError as error:
            job.trouble = f"no broker answers: {error}"
        except Exception as error:
            # An error in here must not end the dashboard, which others look at.
            _LOG.exception("an action of the dashboard has failed")
            job.trouble = f"it failed: {type(error).__name__}: {error}"
        finally:
            # A page about it needs no more than the first.
            job.plan = replace(job.plan, targets=job.plan.targets[:1])
            job.ended.set()
