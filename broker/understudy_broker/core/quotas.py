"""Quotas: what each identity uses, and the refusals of what is beyond its limits. Pure.

Rates are token buckets. A request that comes when its identity's bucket is empty is refused with
429 and the time after which it will be taken; peers wait so long and send it again. What is no
request (hellos, credit, malformed frames) cannot be refused like that: beyond a budget for it, an
identity's frames are no longer read, and its connections are cut. Pending promises and their bytes,
watches, schedules and connections are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from understudy_broker.core.authorization import GrantOf
from understudy_broker.core.kept_times import kept_within
from understudy_broker.core.sessions import Session
from understudy_broker.keys.quota import NO_QUOTA, Quota
from understudy_broker.protocol.messages import (
    Functions,
    Hello,
    OwnCommand,
    Progress,
    PromiseCreateWatched,
    Request,
    ToBroker,
)
from understudy_store.changes import Changes
from understudy_store.commands import (
    PromiseCreate,
    ScheduleCreate,
    SchedulePut,
    ScheduleTrigger,
    TaskCreate,
    TaskFence,
)
from understudy_store.machine import MachineView
from understudy_store.records import (
    TAG_IDENTITY,
    PromiseRecord,
    RetentionRules,
    ScheduleRecord,
    Value,
)

#: What functions create may go so many times beyond the limits. If calls from outside could fill
#: them, no function could make the calls without which it never ends.
FUNCTIONS_TIMES: Final = 2
#: What an identity may say beside its commands, in units of `work_of` in each second: so many for
#: each command in its limit, and so many more; and so many at once, as when a pool joins anew.
WORK_TIMES: Final = 4
WORK_MORE: Final = 2_000
WORK_BURST: Final = 4_096
#: the shortest time after which a request is sent again, if so much room has come by then
WAIT_MS_MIN: Final = 100
#: refusals are told to those who ask for so long
LATELY_MS: Final = 60_000
NO_RULES: Final = RetentionRules()
#: after which time something that is full is tried again, milliseconds
AGAIN_MS: Final = 1_000


class Level(NamedTuple):
    """Usage of one limit by an identity; `rule` is its name in ``rights.toml``."""

    identity: str
    rule: str
    used: int
    most: int


class Bucket:
    """A bucket of tokens: it fills by `rate` in a second, up to `most`, and may fall below zero."""

    __slots__ = ("_at", "_level")

    def __init__(self) -> None:
        self._level: float | None = None
        self._at = 0

    def wait_ms(self, rate: int, most: int, now: int) -> int:
        """Return how long it takes until the bucket has a token; 0: it has one."""
        level = most if self._level is None else self._level + (now - self._at) * rate / 1_000
        self._level, self._at = min(level, most), now
        return 0 if self._level > 0 else int(-self._level * 1_000 / rate) + 1

    def take(self, count: float) -> None:
        """Take tokens, after `wait_ms` was asked."""
        assert self._level is not None
        self._level -= count


class Usage:
    """Usage of one identity.

    Attributes
    ----------
    pending, stored
        Its pending promises and the bytes of their arguments, in batches that were taken.
    new, new_stored
        Those that it was permitted to create since then, perhaps in vain.
    """

    __slots__ = ("bytes", "commands", "new", "new_stored", "pending", "stored", "work")

    def __init__(self) -> None:
        self.commands = Bucket()
        self.work = Bucket()
        self.bytes = Bucket()
        self.pending = self.stored = 0
        self.new = self.new_stored = 0


class Quotas:
    """The usage of all identities.

    Parameters
    ----------
    grant_of
        What each identity may do, with its limits; None: the broker asks for no keys, and nobody
        has limits.
    view
        Of the machine, for a count of everything.
    rules
        How long call graphs are kept without a limit.
    """

    def __init__(
        self,
        grant_of: GrantOf | None,
        view: MachineView,
        rules: RetentionRules = NO_RULES,
    ) -> None:
        self._rules = rules
        self._grant_of = grant_of
        self._view = view
        self._usage: dict[str, Usage] = {}
        #: whose schedules there are, by id
        self._schedules: dict[str, str] = {}
        self._schedules_of: dict[str, set[str]] = {}
        #: those that were permitted since the last batch, perhaps in vain
        self._new_schedules: dict[str, set[str]] = {}
        #: identities with `new` promises
        self._with_new: set[str] = set()
        #: when an identity was last refused something because of a limit, and what it was told
        self._limited: dict[str, tuple[int, str]] = {}
        #: everything was counted; and no change of that moment is still to come in a batch
        self._is_counted = self._is_exact = False

    @property
    def is_on(self) -> bool:
        """True if the broker knows who its peers are."""
        return self._grant_of is not None

    def usage(self, identity: str) -> Usage:
        """Return what an identity uses."""
        found = self._usage.get(identity)
        if found is None:
            found = self._usage[identity] = Usage()
        return found

    def _quota(self, identity: str | None) -> Quota:
        grant = None
        if identity is not None and self._grant_of is not None:
            grant = self._grant_of(identity)
        return NO_QUOTA if grant is None else grant.limits

    def bounded(self, identity: str, command: OwnCommand) -> OwnCommand:
        """Return a command whose call graphs are kept no longer than an identity may have them."""
        most = self._quota(identity).retention
        return command if most is None else kept_within(command, most, self._rules)

    def note_refused(self, identity: str | None, text: str, now: int) -> None:
        """Note that an identity was refused something because of a limit."""
        if identity is not None and self.is_on:
            self._limited[identity] = now, text

    def limited(self, now: int) -> list[tuple[str, str, int]]:
        """Return who was refused something lately: identity, text, and milliseconds since then."""
        return [
            (identity, text, now - at)
            for identity, (at, text) in sorted(self._limited.items())
            if now - at < LATELY_MS
        ]

    def levels(self, sessions: Iterable[Session]) -> list[Level]:
        """Return for each kind of limit how far the identity is from it that is nearest to it.

        Looks at each session and each identity. Promises and schedules are told once something has
        had to be checked against a limit of them: before that, they are not counted.
        """
        connections: Counter[str] = Counter()
        watches: Counter[str] = Counter()
        for session in sessions:
            if session.identity is not None:
                connections[session.identity] += 1
                watches[session.identity] += len(session.watches)
        nearest: dict[str, Level] = {}
        for identity in sorted({*self._usage, *connections}):
            quota = self._quota(identity)
            used = {"connections": connections[identity], "watches": watches[identity]}
            if self._is_counted:
                usage = self.usage(identity)
                used |= {"pending": usage.pending, "stored": usage.stored}
                used["schedules"] = len(self._schedules_of.get(identity, ()))
            for rule, count in used.items():
                most = getattr(quota, rule)
                before = nearest.get(rule)
                if most is None or (
                    before is not None and count * before.most <= before.used * most
                ):
                    continue
                nearest[rule] = Level(identity, rule, count, most)
        return [*nearest.values()]

    # Rates ---------------------------------------------------------------------------------------

    def arrival(self, identity: str | None, commands: int, size: int, now: int) -> int:
        """Count a request that has come; return for how long it is to wait instead, milliseconds.

        Parameters
        ----------
        commands, size
            Of the request; a bucket that is not empty takes a request of any size.
        """
        quota = self._quota(identity)
        if identity is None or (quota.commands is quota.bytes is None):
            return 0
        usage = self.usage(identity)
        wait_ms = 0
        if quota.commands is not None:
            most = quota.burst or quota.commands
            wait_ms = usage.commands.wait_ms(quota.commands, most, now)
        if quota.bytes is not None:
            wait_ms = max(wait_ms, usage.bytes.wait_ms(quota.bytes, quota.bytes, now))
        if wait_ms:
            if quota.commands is None:
                return wait_ms
            # All that a peer was refused comes again at once, so not for each token.
            filled_ms = (quota.burst or quota.commands) * 1_000 // quota.commands
            return max(wait_ms, min(WAIT_MS_MIN, filled_ms))
        if quota.commands is not None:
            usage.commands.take(commands)
        if quota.bytes is not None:
            usage.bytes.take(size)
        return 0

    def floods(self, identity: str | None, now: int) -> bool:
        """Return whether an identity has said so much that its next frame is not even read."""
        quota = self._quota(identity)
        if identity is None or quota.commands is None:
            return False
        rate = WORK_TIMES * quota.commands + WORK_MORE
        return self.usage(identity).work.wait_ms(rate, WORK_BURST + rate, now) > 0

    def note_work(self, identity: str | None, work: float) -> None:
        """Count what a frame was that `floods` has let pass."""
        if identity is not None and self._quota(identity).commands is not None:
            self.usage(identity).work.take(work)

    # Counts --------------------------------------------------------------------------------------

    def connection_refusal(self, identity: str | None, connected: int) -> str | None:
        """Return why an identity may not have one connection more; None if it may."""
        most = self._quota(identity).connections
        if identity is None or most is None or connected < most:
            return None
        return _full(identity, "connections", most)

    def watch_refusal(
        self, identity: str | None, watched: Callable[[str], int], more: int
    ) -> str | None:
        """Return why an identity may not watch so many promises more; None if it may."""
        most = self._quota(identity).watches
        if identity is None or most is None or watched(identity) + more <= most:
            return None
        return _full(identity, "watched promises", most)

    def refusal(self, identity: str | None, command: OwnCommand) -> str | None:
        """Return why a command would exceed what its identity may have; None if it would not."""
        quota = self._quota(identity)
        if identity is None or (quota.pending is quota.stored is quota.schedules is None):
            return None
        if not self._is_counted:
            self._count()
        if isinstance(command, ScheduleCreate | SchedulePut):
            most = quota.schedules
            new = self._new_schedules.setdefault(identity, set())
            if most is None or command.id in self._schedules or command.id in new:
                return None
            if len(self._schedules_of.get(identity, ())) + len(new) >= most:
                return _full(identity, "schedules", most)
            new.add(command.id)
            return None
        params = self._params_of_new(command)
        if not params:
            return None
        usage = self.usage(identity)
        size = sum(len(param.data or b"") for param in params)
        times = FUNCTIONS_TIMES if isinstance(command, TaskFence) else 1
        pending, stored = quota.pending, quota.stored
        if pending is not None and usage.pending + usage.new + len(params) > times * pending:
            return _full(identity, "pending promises", times * pending)
        if stored is not None and usage.stored + usage.new_stored + size > times * stored:
            return _full(identity, "bytes in the arguments of pending promises", times * stored)
        usage.new += len(params)
        usage.new_stored += size
        self._with_new.add(identity)
        return None

    def take(self, changes: Changes) -> None:
        """Count what a batch changes."""
        for identity in self._with_new:
            usage = self._usage[identity]
            usage.new = usage.new_stored = 0
        self._with_new.clear()
        self._new_schedules.clear()
        if not self._is_counted:
            return  # There is nothing yet to be kept up to date.
        if not self._is_exact:
            # A part of this batch may have been counted as it was in memory then.
            self._count()
            self._is_exact = True
            return
        for row in changes.inserted:
            if not row.promise.settled:
                self._add(row.promise, 1)
        for row in changes.updated:
            if row.promise.settled:
                self._add(row.promise, -1)
        for schedule in changes.schedules_put:
            self._add_schedule(schedule)
        for id_ in changes.schedules_deleted:
            owner = self._schedules.pop(id_, None)
            if owner is not None:
                self._schedules_of[owner].discard(id_)

    def count_anew(self) -> None:
        """Count everything when it is asked for next: slots have come or gone."""
        self._is_counted = self._is_exact = False

    def _count(self) -> None:
        self._is_counted = True
        for usage in self._usage.values():
            usage.pending = usage.stored = 0
        self._schedules.clear()
        self._schedules_of.clear()
        for promise in self._view.records():
            if not promise.settled:
                self._add(promise, 1)
        for schedule in self._view.schedules():
            self._add_schedule(schedule)

    def _add(self, promise: PromiseRecord, sign: int) -> None:
        identity = promise.tags.get(TAG_IDENTITY)
        if identity is not None:
            usage = self.usage(identity)
            usage.pending = max(0, usage.pending + sign)
            usage.stored = max(0, usage.stored + sign * len(promise.param.data or b""))

    def _params_of_new(self, command: OwnCommand) -> list[Value]:
        """Return the param of each promise that a command creates."""
        if isinstance(command, ScheduleTrigger):
            schedule = self._view.schedule(command.id)
            return [] if schedule is None else [schedule.promise_param]
        return [create.param for create in _creates(command)]

    def _add_schedule(self, schedule: ScheduleRecord) -> None:
        identity = schedule.promise_tags.get(TAG_IDENTITY)
        before = self._schedules.get(schedule.id)
        if before is not None and before != identity:
            del self._schedules[schedule.id]
            self._schedules_of[before].discard(schedule.id)
        if identity is not None:
            self._schedules[schedule.id] = identity
            self._schedules_of.setdefault(identity, set()).add(schedule.id)


def work_of(message: ToBroker) -> float:
    """Return how much a message counts: about its work, but for requests, which have own limits.

    A peer sends a request again each time that it was refused, and many together.
    """
    if isinstance(message, Request):
        return 1 / 16
    if isinstance(message, Hello):
        return 10 + (len(message.functions) + len(message.claims)) // 4
    if isinstance(message, Functions):
        return 5 + len(message.functions) // 4
    if isinstance(message, Progress):
        return 1 + len(message.entries) / 16
    return 1


def _creates(command: OwnCommand) -> list[PromiseCreate | TaskCreate]:
    if isinstance(command, PromiseCreateWatched):
        return [command.create]
    if isinstance(command, TaskFence):
        return [each for each in command.commands if isinstance(each, PromiseCreate)]
    return [command] if isinstance(command, PromiseCreate | TaskCreate) else []


def _full(identity: str, what: str, most: int) -> str:
    return f"{identity!r} has reached its limit of {most:,} {what}"
