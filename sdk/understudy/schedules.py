"""Schedules: calls that the broker makes at the times of a cron expression."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, overload

from understudy.client.answers import Search, ask, done
from understudy.client.calls import check_id, client_call
from understudy.client.session import ClientSession
from understudy.context import PlainFn
from understudy.errors import ConfigurationError
from understudy.options import LIMITS, Options, check_int, check_text
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
    ScheduleSearch,
)
from understudy_store.records import HEADER_FUNCTION, ScheduleRecord, Value

P = ParamSpec("P")
T = TypeVar("T")

#: One promise for each time at which the schedule is due.
DEFAULT_PROMISE_ID = "{id}.{timestamp}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it was when it was read from the store.

    Attributes
    ----------
    id : str
        The id of the schedule.
    cron : str
        When it is due, in UTC: five fields, or six that begin with seconds.
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
        self, session: ClientSession, options: Options, promise_id: str = DEFAULT_PROMISE_ID
    ) -> None:
        self._session = session
        self._options = options
        self._promise_id = promise_id

    def options(self, *, promise_id: str) -> Schedules:
        """Return a copy whose schedules give their calls other ids.

        Parameters
        ----------
        promise_id : str
            The id of each call. ``{id}`` is replaced by the schedule's id and ``{timestamp}`` by
            the moment when the call was due, in milliseconds since the epoch. By default
            ``{id}.{timestamp}``.

        Returns
        -------
        Schedules
            The copy.

        Raises
        ------
        ConfigurationError
            `promise_id` is not a text.

        Examples
        --------
        >>> named = runtime.schedules.options(promise_id="report-of-{timestamp}")
        >>> named.create("nightly-3", "0 3 * * *", "report").promise_id
        'report-of-{timestamp}'
        """
        return Schedules(self._session, self._options, check_id(promise_id))

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
            The id of the schedule. If it exists already, it stays as it is and is returned: delete
            it first to change it.
        cron : str
            When it is due, in UTC: minute, hour, day, month and weekday; or six fields, of which
            the first is the second.
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
            With status 400 if `cron` cannot be read.

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
        create = ScheduleCreate(id, cron, promise_id, timeout_ms, param, tags)
        return self._one(f"create({id!r}, ...)", create)

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
            return self._promise_id
        registry = self._session.env.registry
        function = registry.of(f) or registry.elsewhere(f) if callable(f) else registry.find(f)
        if function is None or function.takes_keyword("promise_id"):
            return self._promise_id
        warn_renamed(
            "schedules.create(promise_id=...)", "schedules.options(promise_id=...).create(...)"
        )
        return check_id(kwargs.pop("promise_id"))


def _schedule_of(response: Response) -> Schedule:
    record = response.reply.schedule
    assert record is not None
    return _schedule(record)


def _schedule(record: ScheduleRecord) -> Schedule:
    return Schedule(
        record.id,
        record.cron,
        record.promise_param.headers.get(HEADER_FUNCTION, ""),
        record.promise_id,
        record.promise_timeout / 1000,
        record.promise_tags,
        utc(record.next_run_at),
        utc(record.created_at),
        None if record.last_run_at is None else utc(record.last_run_at),
        record,
    )
