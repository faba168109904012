"""Schedules: calls that the broker makes at the times of a cron expression."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar, overload
from zoneinfo import ZoneInfo

import msgspec

from understudy.client.answers import Search, ask, done
from understudy.client.calls import check_id, client_call, trigger_command
from understudy.client.schedule_conflicts import check_same_schedule
from understudy.client.session import ClientSession
from understudy.context import PlainFn
from understudy.errors import ConfigurationError
from understudy.options import LIMITS, Options, check_bool, check_int, check_text, seconds
from understudy.promises import utc
from understudy.renamed import warn_renamed
from understudy_actors.interpreter.child_commands import (
    call_param,
    call_tags,
    call_timeout_ms,
)
from understudy_broker.protocol.messages import AnyCommand, Response
from understudy_store.commands import (
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleNext,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleSearch,
    ScheduleUpdate,
)
from understudy_store.records import (
    CATCH_UPS,
    HEADER_FUNCTION,
    OVERLAPS,
    PLAN,
    SchedulePlan,
    ScheduleRecord,
    Value,
)

P = ParamSpec("P")
T = TypeVar("T")

#: One promise for each time at which the schedule is due.
DEFAULT_PROMISE_ID = "{id}.{timestamp}"
#: what becomes of a call whose predecessor has not settled
Overlap: TypeAlias = Literal["allow", "skip", "buffer_one", "cancel_other"]
#: what is made up for after a time without a broker
CatchUp: TypeAlias = Literal["all", "last", "none"]
#: times that one `Schedules.next` may ask for
TIMES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it was when it was read from the store.

    Attributes
    ----------
    id : str
        The id of the schedule.
    cron : str
        When it is due, in its time zone: five fields, or six that begin with seconds.
    function : str
        The name of the function that it calls.
    promise_id : str
        The id of each call, in which ``{id}`` and ``{timestamp}`` are replaced.
    timeout_s : float
        Seconds from the moment when a call is due to its deadline.
    tags : dict of str to str
        The tags of each call; those that start with ``understudy:`` are the library's own.
    next_run_at : datetime
        When it is due next, in UTC.
    created_at : datetime
        When it was created, in UTC.
    last_run_at : datetime or None
        When it was due last, in UTC; None before the first time.
    zone : str
        The time zone of `cron`, by its name in the IANA database.
    overlap : str
        What becomes of a call whose predecessor has not settled: ``"allow"``, ``"skip"``,
        ``"buffer_one"`` or ``"cancel_other"``.
    catch_up : str or float
        What is made up for: ``"all"``, ``"last"``, ``"none"``, or what is at most so many seconds
        late.
    jitter_s : float
        Up to so many seconds each call is put off.
    paused_at : datetime or None
        Since when it is paused, in UTC; None: it is not.
    paused_until : datetime or None
        When it goes on by itself, in UTC; None: it does not.
    pause_reason : str
        Why it is paused, as whoever paused it says.
    last_id : str or None
        The id of the call that it has made last.
    skipped_at : datetime or None
        Its last occurrence that made no call, in UTC.
    skipped_why : str
        Why that made none: ``"overlap"``, ``"missed"`` or ``"paused"``.

    Examples
    --------
    >>> nightly = runtime.schedules.create("nightly-1", "0 3 * * *", "report", "sales")
    >>> nightly.next_run_at.hour, nightly.function, nightly.last_run_at
    (3, 'report', None)
    """

    id: str
    cron: str
    function: str
    promise_id: str
    timeout_s: float
    tags: dict[str, str] = field(hash=False)
    next_run_at: datetime
    created_at: datetime
    last_run_at: datetime | None
    zone: str
    overlap: str
    catch_up: str | float
    jitter_s: float
    paused_at: datetime | None
    paused_until: datetime | None
    pause_reason: str
    last_id: str | None
    skipped_at: datetime | None
    skipped_why: str
    _record: ScheduleRecord = field(repr=False, hash=False)

    def __await__(self) -> Generator[Any, Any, Schedule]:
        """Return the schedule itself; see `Schedules`."""
        yield from ()
        return self

    @property
    def promise_timeout(self) -> int:
        """The old form of `timeout_s`, in milliseconds."""
        warn_renamed("Schedule.promise_timeout", "Schedule.timeout_s")
        return self._record.promise_timeout

    @property
    def promise_tags(self) -> dict[str, str]:
        """The old name of `tags`."""
        warn_renamed("Schedule.promise_tags", "Schedule.tags")
        return self._record.promise_tags

    @property
    def promise_param(self) -> Value:
        """The record of the wire that holds function and arguments."""
        warn_renamed("Schedule.promise_param", "Schedule.function")
        return self._record.promise_param


class _Terms(msgspec.Struct, frozen=True):
    """Options of `Schedules.options`."""

    promise_id: str = DEFAULT_PROMISE_ID
    plan: SchedulePlan = PLAN
    replace: bool = False


class Schedules:
    """The schedules in the store, as ``runtime.schedules``.

    The runtime's options (target, timeout, tags, priority, version, retry) apply to every call of
    the schedules that are created through it.

    Every method waits for the broker; what it changed is on disk when it returns. On an event loop
    it returns at once, and ``await`` waits: ``await runtime.schedules.get("nightly-1")``.

    Examples
    --------
    >>> reports = runtime.options(target="reports", timeout=600).schedules
    >>> reports.create("nightly-2", "0 3 * * *", "report", "sales").timeout_s
    600.0
    """

    def __init__(
        self, session: ClientSession, options: Options, terms: _Terms | None = None
    ) -> None:
        self._session = session
        self._options = options
        self._terms = _Terms() if terms is None else terms

    def options(
        self,
        *,
        promise_id: str | None = None,
        zone: str | ZoneInfo | None = None,
        overlap: Overlap | None = None,
        catch_up: CatchUp | float | timedelta | None = None,
        jitter: float | timedelta | None = None,
        replace: bool | None = None,
    ) -> Schedules:
        """Return a copy that creates schedules with other rules.

        What is not given is as it was in the original.

        Parameters
        ----------
        promise_id : str, optional
            The id of each call. ``{id}`` is replaced by the schedule's id and ``{timestamp}`` by
            the moment when the call was due, in milliseconds since the epoch. By default
            ``{id}.{timestamp}``.
        zone : str or ZoneInfo, optional
            The time zone of the cron expression, such as ``"Europe/Vienna"``. By default UTC. The
            page on schedules says what happens when clocks are set forward or back.
        overlap : str, optional
            What becomes of a call whose predecessor has not settled. ``"allow"``, the default: it
            is made. ``"skip"``: it is left out. ``"buffer_one"``: it is made when the predecessor
            has settled, and those that come meanwhile are left out. ``"cancel_other"``: the
            predecessor is canceled first.
        catch_up : str, float or timedelta, optional
            What is made of calls that were due while no broker ran. ``"all"``, the default: each
            is made. ``"last"``: the last one. ``"none"``: none. A number of seconds: those that
            are not later than that. Less than ten seconds late never counts as missed.
        jitter : float or timedelta, optional
            Each call is put off by 0 to so many seconds, and less than up to the next one, so that
            many schedules do not come due at once. By default 0.
        replace : bool, optional
            Whether `create` changes a schedule that exists. By default it raises an error if that
            is another one than is asked for.

        Returns
        -------
        Schedules
            The copy.

        Raises
        ------
        ConfigurationError
            An option that cannot be used.

        Examples
        --------
        >>> named = runtime.schedules.options(promise_id="report-of-{timestamp}")
        >>> named.create("nightly-3", "0 3 * * *", "report").promise_id
        'report-of-{timestamp}'
        >>> local = runtime.schedules.options(zone="Europe/Vienna", overlap="skip", replace=True)
        >>> local.create("nightly-3", "0 3 * * *", "report").zone
        'Europe/Vienna'
        """
        terms = self._terms
        if promise_id is not None:
            terms = msgspec.structs.replace(terms, promise_id=check_id(promise_id))
        if replace is not None:
            check_bool("replace", replace)
            terms = msgspec.structs.replace(terms, replace=replace)
        changes = _plan_changes(zone, overlap, catch_up, jitter)
        plan = msgspec.structs.replace(terms.plan, **changes)
        terms = msgspec.structs.replace(terms, plan=plan)
        return Schedules(self._session, self._options, terms)

    @overload
    def create(
        self, id: str, cron: str, f: PlainFn[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Schedule: ...
    @overload
    def create(self, id: str, cron: str, f: str, /, *args: Any, **kwargs: Any) -> Schedule: ...
    def create(self, id: str, cron: str, f: Any, /, *args: Any, **kwargs: Any) -> Schedule:
        """Call a function each time a cron expression is due.

        Parameters
        ----------
        id : str
            The id of the schedule. If it exists already just as it is asked for, it is returned.
        cron : str
            When it is due, in UTC or the zone of `options`: minute, hour, day, month and weekday;
            or six fields, of which the first is the second.
        f : function or str
            A function that is registered here, or the name of one.
        *args, **kwargs
            The arguments of each call.

        Returns
        -------
        Schedule
            The schedule that was created or found.

        Raises
        ------
        ConfigurationError
            An id or a function that cannot be used, or an option that a schedule cannot have.
        EncodingError
            An argument cannot be sent.
        InvalidArgumentsError
            The arguments do not suit the function, if it is registered here.
        CommandError
            With status 400 if `cron` cannot be read or the time zone is not known; with 409 if a
            schedule of this id exists that is another one: the message says in what. Use
            ``options(replace=True)`` to change it.

        Examples
        --------
        >>> @runtime.register
        ... def remind(ctx, name):
        ...     print(f"{name}, it is time")
        >>> schedule = runtime.schedules.create("remind-1", "*/5 * * * *", remind, "Ann")
        >>> schedule.next_run_at.minute % 5
        0
        """
        if self._options.delay_s is not None:
            raise ConfigurationError(
                "option delay: a schedule's calls are due when its cron expression says so"
            )
        if self._options.home is not None:
            raise ConfigurationError(
                f"option home={self._options.home!r}: the calls of a schedule live where their ids "
                "say. Begin these with the home and a dot: "
                f"schedules.options(promise_id={self._options.home + '.{id}.{timestamp}'!r})"
            )
        check_id(id)
        check_text("cron", cron)
        promise_id = self._promise_id_of(f, kwargs)
        env = self._session.env
        spec = client_call(env, self._options, "schedule", f, args, kwargs).spec
        timeout_ms = call_timeout_ms(env.outside, spec)
        param, tags = call_param(spec), call_tags(env.outside, spec)
        terms = self._terms
        create: ScheduleCreate | SchedulePut
        if terms.replace or terms.plan != PLAN:
            create = SchedulePut(
                id, cron, promise_id, timeout_ms, param, tags, terms.plan, terms.replace
            )
        else:  # Brokers of earlier releases know this one only.
            create = ScheduleCreate(id, cron, promise_id, timeout_ms, param, tags)

        def convert(response: Response) -> Schedule:
            record = response.reply.schedule
            assert record is not None
            if response.reply.status != 201 and not terms.replace:
                check_same_schedule(create, record, "options(replace=True)")
            return _schedule(record)

        return ask(self._session, f"schedules.create({id!r}, ...)", create, convert)

    def update(
        self,
        id: str,
        *,
        cron: str | None = None,
        zone: str | ZoneInfo | None = None,
        overlap: Overlap | None = None,
        catch_up: CatchUp | float | timedelta | None = None,
        jitter: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
    ) -> Schedule:
        """Change when a schedule is due, and its rules; what is not given stays.

        It stays paused if it is. What it calls, and with which arguments, is changed by
        ``options(replace=True).create(...)``.

        Parameters
        ----------
        id : str
            The id of the schedule.
        cron : str, optional
            When it is due, as in `create`.
        zone, overlap, catch_up, jitter : optional
            As in `options`.
        timeout : float or timedelta, optional
            Seconds from the moment when a call is due to its deadline.

        Returns
        -------
        Schedule
            The schedule as it is now.

        Raises
        ------
        ConfigurationError
            An argument that cannot be used.
        CommandError
            With status 404 if it does not exist, 400 if `cron` or `zone` cannot be used.

        Examples
        --------
        >>> made = runtime.schedules.create("nightly-6", "0 3 * * *", "report")
        >>> runtime.schedules.update("nightly-6", zone="Europe/Vienna", overlap="skip").overlap
        'skip'
        """
        if cron is not None:
            check_text("cron", cron)
        timeout_ms = None if timeout is None else _ms("timeout", timeout, zero=False)
        changes = _plan_changes(zone, overlap, catch_up, jitter)
        command = ScheduleUpdate(check_id(id), cron, timeout_ms, **changes)
        return self._one(f"update({id!r}, ...)", command)

    def pause(self, id: str, reason: str = "", *, until: datetime | None = None) -> Schedule:
        """Let a schedule make no more calls until it is resumed. Calls that it has made go on.

        Calls that would be due meanwhile are left out, and so is one that waits for its
        predecessor. Of a schedule that is paused, reason and time are changed.

        Parameters
        ----------
        id : str
            The id of the schedule.
        reason : str, optional
            Why, for people.
        until : datetime, optional
            When it goes on by itself, with a time zone. By default it does not.

        Returns
        -------
        Schedule
            The schedule as it is now.

        Raises
        ------
        ConfigurationError
            `until` has no time zone, or an argument is of another type.
        CommandError
            With status 404 if it does not exist, 400 if `until` is over.

        Examples
        --------
        >>> made = runtime.schedules.create("nightly-7", "0 3 * * *", "report")
        >>> runtime.schedules.pause("nightly-7", "the warehouse moves").pause_reason
        'the warehouse moves'
        """
        check_text("reason", reason)
        until_ms = None if until is None else _date_ms(until)
        return self._one(f"pause({id!r})", SchedulePause(check_id(id), reason, until_ms))

    def resume(self, id: str) -> Schedule:
        """Let a schedule that is paused go on with the next time at which it is due.

        Parameters
        ----------
        id : str
            The id of the schedule.

        Returns
        -------
        Schedule
            The schedule as it is now.

        Raises
        ------
        CommandError
            With status 404 if it does not exist.

        Examples
        --------
        >>> made = runtime.schedules.create("nightly-8", "0 3 * * *", "report")
        >>> paused = runtime.schedules.pause("nightly-8")
        >>> runtime.schedules.resume("nightly-8").paused_at is None
        True
        """
        return self._one(f"resume({id!r})", ScheduleResume(check_id(id)))

    def trigger(self, id: str) -> str:
        """Make a call of a schedule now, also if it is paused.

        Its rule about overlaps counts. With ``"buffer_one"``, or if the ids of its calls have
        another home than the schedule, the call may be made only after this has returned.

        Parameters
        ----------
        id : str
            The id of the schedule.

        Returns
        -------
        str
            The id of the call. In it, the timestamp is the time at which it was asked for.

        Raises
        ------
        CommandError
            With status 404 if it does not exist; with 409 if its rule about overlaps does not let
            it make a call now.

        Examples
        --------
        >>> made = runtime.schedules.create("nightly-9", "0 3 * * *", "report")
        >>> runtime.promises.get(runtime.schedules.trigger("nightly-9")).state
        'pending'
        """
        command = trigger_command(check_id(id), self._session.env.now_ms())
        return ask(self._session, f"schedules.trigger({id!r})", command, _call_id_of)

    def next(self, id: str, count: int = 10) -> list[datetime]:
        """Return when a schedule is due next; while it is paused, when it would be.

        Parameters
        ----------
        id : str
            The id of the schedule.
        count : int, optional
            How many times, 1 to 100.

        Returns
        -------
        list of datetime
            The times in order, in UTC; fewer if it is not due so often any more.

        Raises
        ------
        ConfigurationError
            `count` is not between 1 and 100.
        CommandError
            With status 404 if it does not exist.

        Examples
        --------
        >>> local = runtime.schedules.options(zone="Europe/Vienna")
        >>> made = local.create("nightly-10", "0 3 * * *", "report")
        >>> len(runtime.schedules.next("nightly-10", 3))
        3
        """
        check_int("count", count, 1, TIMES_MAX)
        command = ScheduleNext(check_id(id), count)
        return ask(self._session, f"schedules.next({id!r})", command, _times_of)

    def get(self, id: str) -> Schedule:
        """Read one schedule.

        Parameters
        ----------
        id : str
            The id of the schedule.

        Returns
        -------
        Schedule
            The schedule as it is now.

        Raises
        ------
        CommandError
            With status 404 if it does not exist.

        Examples
        --------
        >>> made = runtime.schedules.create("nightly-4", "0 3 * * *", "report")
        >>> runtime.schedules.get("nightly-4").cron
        '0 3 * * *'
        """
        return self._one(f"get({id!r})", ScheduleGet(check_id(id)))

    def delete(self, id: str) -> Awaitable[None]:
        """Delete a schedule. Calls that it has made already go on.

        Parameters
        ----------
        id : str
            The id of the schedule.

        Returns
        -------
        Awaitable
            On an event loop, to wait until it is done; None in a thread, where it is done then.

        Raises
        ------
        CommandError
            With status 404 if it does not exist.

        Examples
        --------
        >>> made = runtime.schedules.create("nightly-5", "0 3 * * *", "report")
        >>> runtime.schedules.delete("nightly-5")
        >>> list(runtime.schedules.search(prefix="nightly-5"))
        []
        """
        command = ScheduleDelete(check_id(id))
        return ask(self._session, f"schedules.delete({id!r})", command, done)

    def search(self, *, prefix: str = "", limit: int = 100) -> Search[Schedule]:
        """Iterate over schedules in the order of their ids.

        Parameters
        ----------
        prefix : str, optional
            Only schedules whose ids start with this text.
        limit : int, optional
            How many schedules one request fetches, 1 to 1000. All that match are returned,
            whatever the limit.

        Returns
        -------
        Search of Schedule
            The schedules, each as it was when its page was fetched. On an event loop iterate
            with ``async for``.

        Raises
        ------
        ConfigurationError
            An argument that cannot be used.

        Examples
        --------
        >>> made = runtime.schedules.create("hourly-1", "0 * * * *", "report")
        >>> [schedule.id for schedule in runtime.schedules.search(prefix="hourly-")]
        ['hourly-1']
        """
        check_text("prefix", prefix)
        check_int("limit", limit, 1, LIMITS.page_max)
        return Search(
            self._session,
            "schedules.search",
            lambda cursor: ScheduleSearch(prefix, limit, cursor),
            lambda reply: [_schedule(record) for record in reply.schedules or ()],
        )

    def _one(self, what: str, command: AnyCommand) -> Schedule:
        return ask(self._session, f"schedules.{what}", command, _schedule_of)

    def _promise_id_of(self, f: Any, kwargs: dict[str, Any]) -> str:
        """Take the old keyword `promise_id` out of `kwargs`, unless the function may want it.

        Nothing is known of a function that is not registered here, so all keywords are its own.
        """
        if "promise_id" not in kwargs:
            return self._terms.promise_id
        registry = self._session.env.registry
        function = registry.of(f) or registry.elsewhere(f) if callable(f) else registry.find(f)
        if function is None or function.takes_keyword("promise_id"):
            return self._terms.promise_id
        warn_renamed(
            "schedules.create(promise_id=...)", "schedules.options(promise_id=...).create(...)"
        )
        return check_id(kwargs.pop("promise_id"))


def _plan_changes(zone: Any, overlap: Any, catch_up: Any, jitter: Any) -> dict[str, Any]:
    """Return the fields of a plan that are given, as the store has them."""
    changes: dict[str, Any] = {}
    if zone is not None:
        name = zone.key if isinstance(zone, ZoneInfo) else zone
        check_text("zone", name)
        changes["zone"] = name
    if overlap is not None:
        if overlap not in OVERLAPS:
            raise ConfigurationError(
                f"option overlap={overlap!r}: it must be one of {', '.join(OVERLAPS)}"
            )
        changes["overlap"] = overlap
    if catch_up is not None:
        if isinstance(catch_up, str) and catch_up not in CATCH_UPS:
            raise ConfigurationError(
                f"option catch_up={catch_up!r}: it must be one of {', '.join(CATCH_UPS)}, or "
                "seconds, as a number or a timedelta"
            )
        is_text = isinstance(catch_up, str)
        changes["catch_up"] = catch_up if is_text else _ms("catch_up", catch_up, zero=True)
    if jitter is not None:
        changes["jitter"] = _ms("jitter", jitter, zero=True)
    return changes


def _ms(option: str, value: Any, *, zero: bool) -> int:
    return int(seconds(option, value, zero=zero) * 1000)


def _date_ms(until: object) -> int:
    if not isinstance(until, datetime) or until.utcoffset() is None:
        raise ConfigurationError(f"until={until!r}: it must be a datetime with a time zone")
    return int(until.timestamp() * 1000)


def _call_id_of(response: Response) -> str:
    promise, record = response.reply.promise, response.reply.schedule
    assert record is not None
    course = record.course
    if promise is not None:
        return promise.id
    if course.waiting is None:
        return course.last_id or ""
    text = record.promise_id.replace("{timestamp}", str(course.waiting))
    return text.replace("{id}", record.id)


def _times_of(response: Response) -> list[datetime]:
    return [utc(at) for at in response.reply.times or ()]


def _schedule_of(response: Response) -> Schedule:
    record = response.reply.schedule
    assert record is not None
    return _schedule(record)


def _schedule(record: ScheduleRecord) -> Schedule:
    plan, course = record.plan, record.course
    return Schedule(
        record.id,
        record.cron,
        record.promise_param.headers.get(HEADER_FUNCTION, ""),
        record.promise_id,
        record.promise_timeout / 1000,
        record.promise_tags,
        utc(record.next_run_at),
        utc(record.created_at),
        _utc(record.last_run_at),
        plan.zone,
        plan.overlap,
        plan.catch_up if isinstance(plan.catch_up, str) else plan.catch_up / 1000,
        plan.jitter / 1000,
        _utc(course.paused_at),
        _utc(course.paused_until),
        course.pause_reason,
        course.last_id,
        _utc(course.skipped_at),
        course.skipped_why,
        record,
    )


def _utc(at: int | None) -> datetime | None:
    return None if at is None else utc(at)
