"""People and operators: they settle promises, make schedules, cancel and halt calls.

Their wishes outlive the client that they use: if it dies, they ask through another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.observations import hold
from tests.simulation.programs import GROUPS, environment_of
from understudy_broker.protocol.messages import Refused, Response
from understudy_store.commands import (
    PromiseCancel,
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
    TaskContinue,
    TaskHalt,
)
from understudy_store.machine.cron import following
from understudy_store.records import (
    CANCELED,
    HEADER_FUNCTION,
    HEADER_KIND,
    RESOLVED,
    TAG_TARGET,
    ScheduleRecord,
    Value,
    origin_of,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

CRON = "* * * * *"
#: The time for which one release serves in the fair phase, while calls wait for the other one.
ROLL_MS = 5_000
HOUR_MS = 3_600_000


class People:
    """The people of one world, who act from time to time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._wanted: dict[str, int] = {}
        #: When they may settle a promise, if they let it wait.
        self._not_before: dict[str, int] = {}
        self._done: set[str] = set()
        #: Schedules by time of creation, because a late create may create the schedule again.
        self._begun: dict[int, ScheduleRecord] = {}
        self._made = self._deleted = not world.plan.schedule
        #: How the ids of the schedule's promises begin.
        self._prefix = f"{world.plan.schedule_home}.s.".removeprefix(".")
        self._rolls_at = 0
        self._release = 0

    def begin(self) -> None:
        """Act now, and from time to time from now on."""
        world = self.world
        hosts = [host for host in world.clients if host.alive]
        if hosts:
            host = hosts[int(world.rng.random() * len(hosts))]
            values = environment_of(GROUPS[0]).values if self._wanted else None
            for id_, value in self._wanted.items():
                if id_ not in self._done and values is not None and not self._is_left(id_):
                    data = values.encode_value(value, "it")
                    settle = PromiseSettle(id_, RESOLVED, Value({}, data))
                    host.ask(settle, self._settled(id_))
            if not self._made:
                host.ask(self._line(), self._scheduled)
            elif world.fair and not self._deleted and self._due():
                host.ask(ScheduleDelete("s"), self._unscheduled)
            if world.fair:
                halted = self._halted()
                for id_ in halted:
                    # 409 means that the task is no longer halted.
                    host.ask(TaskContinue(id_), _whatever)
                if "deploy" in world.plan.faults and (halted or self._unserved()):
                    self._roll()
        if not world.fair or self.unfinished() or not self._wanted.keys() <= self._done:
            world.after(60 if not world.fair else 250, self.begin)
        else:
            world.after(1_000, self.begin)

    # Promises that wait for a person -------------------------------------------------------------

    def want(self, id_: str, value: int) -> None:
        world = self.world
        if id_ not in self._wanted and len(world.brokers) > 1 and world.may_cancel:
            # Its call may be canceled first.
            self._not_before[id_] = world.now + world.pick((0, 0, 300, 3_000))
        self._wanted.setdefault(id_, value)

    def _is_left(self, id_: str) -> bool:
        """Return whether a promise is left alone, for a while or because its call is canceled.

        If there are several brokers, a canceled call must end it, because these tell one another.
        """
        if self.world.now < self._not_before.get(id_, 0):
            return True
        row = self.world.row(id_)
        if row is None or len(self.world.brokers) == 1:
            return False
        root = self.world.row(origin_of(row.promise))
        return root is not None and root.promise.state == CANCELED

    def _settled(self, id_: str) -> Callable[[Response | Refused], None]:
        def on_reply(answer: Response | Refused) -> None:
            # 404 means that the create of the promise has not arrived yet.
            if isinstance(answer, Response) and answer.reply.ok:
                self._done.add(id_)

        return on_reply

    # Schedules -----------------------------------------------------------------------------------

    def _line(self) -> ScheduleCreate:
        data = environment_of(GROUPS[0]).values.encode_call(None, (7,), {})
        param = Value({HEADER_KIND: "schedule", HEADER_FUNCTION: "leaf"}, data)
        template = self._prefix + "{timestamp}"
        return ScheduleCreate("s", CRON, template, HOUR_MS, param, {TAG_TARGET: GROUPS[0]})

    def _scheduled(self, answer: Response | Refused) -> None:
        if isinstance(answer, Response) and answer.reply.ok:
            self._made = True

    def _due(self) -> bool:
        """True if the schedule has come due at least once."""
        return any(id_.startswith(self._prefix) for id_ in self.world.rows)

    def _unscheduled(self, answer: Response | Refused) -> None:
        if isinstance(answer, Response) and answer.reply.status in (200, 404):
            self._deleted = True
            schedule = answer.reply.schedule
            if schedule is not None:
                self._begun[schedule.created_at] = schedule

    # Operators -----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel a call."""
        world = self.world
        ids = [id_ for id_ in sorted(world.may_cancel) if id_ in world.acked]
        if len(world.brokers) > 1:
            rows = {id_: world.row(id_) for id_ in ids}
            ids = [id_ for id_, row in rows.items() if row is None or not row.promise.settled]
        hosts = [host for host in world.clients if host.alive]
        if ids and hosts:
            world.counts["cancels"] += 1
            hosts[0].ask(PromiseCancel(ids[0]), _whatever)

    def halt(self) -> None:
        """Halt a task for a while."""
        world = self.world
        tasks = [row.task for row in world.rows.values() if row.task is not None]
        ids = [task.id for task in tasks if task.retry_at]
        ids += [task.id for task in tasks if task.pid]
        hosts = [host for host in world.clients if host.alive]
        if ids and hosts:
            id_ = ids[int(world.rng.random() * len(ids))]
            world.counts["halts"] += 1
            hosts[0].ask(TaskHalt(id_), _whatever)

    def _halted(self) -> list[str]:
        """Return the tasks that are halted, by a person or after too many crashes."""
        tasks = (row.task for row in self.world.rows.values())
        return [task.id for task in tasks if task is not None and task.state == "halted"]

    def _unserved(self) -> bool:
        """Return whether calls wait for a function that no node of their group has."""
        return any(
            group.unserved
            for broker in self.world.brokers
            if broker.alive
            for group in broker.core.dispatcher.statistics().groups
        )

    def _roll(self) -> None:
        """Give all nodes the release that the calls left over wait for: each in turn."""
        if self.world.now >= self._rolls_at:
            self._rolls_at = self.world.now + ROLL_MS
            self._release = 1 - self._release
            for host in self.world.nodes:
                host.deploy(self._release)

    # The end -------------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Return the wishes that are left."""
        broker = self.world.stored.owner("s")
        if self._deleted and self.world.plan.schedule and broker is not None and broker.alive:
            # Another client's create may arrive after the delete.
            self._deleted = not broker.machine.state.schedules
        if not self._made or not self._deleted:
            return [f"the schedule: made {self._made}, deleted {self._deleted}"]
        return []

    def check_end(self) -> None:
        """Check that each occurrence of the schedule was one call, and none is missing."""
        rows = self.world.rows
        prefix = self._prefix
        made = sorted(int(id_.removeprefix(prefix)) for id_ in rows if id_.startswith(prefix))
        for each in made:
            record = rows[f"{prefix}{each}"].promise
            hold(record.state == RESOLVED, "an occurrence failed", record)
        due: set[int] = set()
        # A broker whose clock was set forward has made a schedule at a later time than it noted.
        for schedule in self._begun.values():
            at = following(CRON, schedule.created_at + self.world.set_ahead_ms)
            while at is not None and at <= (schedule.last_run_at or 0):
                due.add(at)
                at = following(CRON, at)
        hold(due <= set(made), "an occurrence is missing", sorted(due), made)


def _whatever(answer: Response | Refused) -> None:
    """Accept any reply, because the request may have come too late."""
