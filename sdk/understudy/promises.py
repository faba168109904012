"""The promises of the store: for webhooks, for people, and for programs that look around."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from understudy.client.answers import Search, ask
from understudy.client.calls import check_id
from understudy.client.node_environment import NodeValues
from understudy.client.session import ClientSession
from understudy.errors import ConfigurationError
from understudy.options import LIMITS, check_int, check_tags, check_text, seconds
from understudy.renamed import warn_renamed
from understudy.states import stored_name
from understudy_actors.error_classes import error_class
from understudy_actors.errors import check_not_dropped
from understudy_broker.protocol.messages import AnyCommand, Response
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseSearch,
    PromiseSettle,
)
from understudy_store.limits import DATE_MAX_S
from understudy_store.records import (
    HEADER_ERROR,
    HEADER_FUNCTION,
    HEADER_KIND,
    PROMISE_WORDS,
    REJECTED,
    RESOLVED,
    TAG_EXTERNAL,
    PromiseRecord,
    Value,
)


@dataclass(frozen=True, slots=True)
class StoredPromise:
    """A promise as it was when it was read from the store.

    Attributes
    ----------
    id : str
        The id of the promise.
    state : str
        ``pending``, ``resolved``, ``rejected``, ``canceled`` or ``timedout``.
    function : str or None
        The name of the function, if the promise is a call of one.
    tags : dict of str to str
        The tags of the promise; those that start with ``understudy:`` are the library's own.
    created_at : datetime
        When it was created, in UTC.
    timeout_at : datetime
        Its deadline, in UTC.
    settled_at : datetime or None
        When it was settled, in UTC; None while it is pending.

    Examples
    --------
    >>> promise = runtime.promises.create("approval-7", timeout=3600)
    >>> promise.state, promise.timeout_at - promise.created_at
    ('pending', datetime.timedelta(seconds=3600))
    """

    id: str
    state: str
    function: str | None
    tags: dict[str, str] = field(hash=False)
    created_at: datetime
    timeout_at: datetime
    settled_at: datetime | None
    _record: PromiseRecord = field(repr=False, hash=False)
    _values: NodeValues = field(repr=False, compare=False)

    def __await__(self) -> Generator[Any, Any, StoredPromise]:
        """Return the promise itself; see `Promises`."""
        yield from ()
        return self

    def value(self) -> Any:
        """Return the value that the promise was resolved with.

        Returns
        -------
        object
            The value; None while the promise is pending.

        Raises
        ------
        Exception
            The error that the promise was rejected with, as the exception that it was.
        CanceledError
            It was canceled.
        DeadlineExceededError
            It was still pending at its deadline.
        DecodingError
            The stored data cannot be read in this process.

        Examples
        --------
        >>> approval = runtime.promises.create("approval-8")
        >>> runtime.promises.resolve("approval-8", {"by": "Ann"}).value()
        {'by': 'Ann'}
        """
        record = self._record
        if record.state == RESOLVED:
            check_not_dropped(record)
            return self._values.decode_value(record.value.data)
        if record.settled:
            raise self._values.settled_error(record)
        return None

    def param(self) -> Any:
        """Return the value that `Promises.create` attached for the settler to read.

        Returns
        -------
        object
            The value; None if there is none, or if the promise is a call (see `arguments`).

        Raises
        ------
        DecodingError
            The stored data cannot be read in this process.

        Examples
        --------
        >>> made = runtime.promises.create("approval-9", value={"amount": 120})
        >>> runtime.promises.get("approval-9").param()
        {'amount': 120}
        """
        param = self._record.param
        if param.data is None or self.function is not None:
            return None
        return self._values.decode_value(param.data)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the arguments of a call.

        Returns
        -------
        tuple of tuple and dict, or None
            The positional and the keyword arguments, without the context. None if the promise is no
            call, or if it is a step, whose arguments are not stored.

        Raises
        ------
        DecodingError
            The stored data cannot be read in this process.

        Examples
        --------
        >>> @runtime.register
        ... def pay(ctx, amount, currency="EUR"):
        ...     return f"{amount} {currency}"
        >>> runtime.rpc("pay-7", pay, 120, currency="CHF").result()
        '120 CHF'
        >>> runtime.promises.get("pay-7").arguments()
        ((120,), {'currency': 'CHF'})
        """
        data = self._record.param.data
        if data is None or self.function is None:
            return None
        return self._values.decode_call(None, data)

    @property
    def record(self) -> PromiseRecord:
        """The record of the wire, as earlier releases gave it."""
        warn_renamed("StoredPromise.record", "its fields, value() and param()")
        return self._record


class Promises:
    """The promises in the store, as ``runtime.promises``.

    Every method waits for the broker; what it changed is on disk when it returns. On an event loop
    it returns at once, and ``await`` waits: ``promise = await runtime.promises.get("approval-1")``.

    Examples
    --------
    >>> approval = runtime.promises.create("approval-1", timeout=3600)
    >>> runtime.promises.resolve("approval-1", "yes").value()
    'yes'
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    def get(self, id: str) -> StoredPromise:
        """Read one promise.

        Parameters
        ----------
        id : str
            The id of the promise.

        Returns
        -------
        StoredPromise
            The promise as it is now.

        Raises
        ------
        CommandError
            With status 404 if it does not exist.

        Examples
        --------
        >>> made = runtime.promises.create("approval-2")
        >>> runtime.promises.get("approval-2").state
        'pending'
        """
        return self._one(f"get({id!r})", PromiseGet(check_id(id)))

    def create(
        self,
        id: str,
        *,
        timeout: float | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        value: Any = None,
    ) -> StoredPromise:
        """Create a promise that a person or another system will settle.

        Parameters
        ----------
        id : str
            The id of the promise. If it exists already, it stays as it is and is returned.
        timeout : float or timedelta, optional
            Seconds to its deadline; by default the runtime's timeout.
        tags : mapping of str to str, optional
            Tags to search by.
        value : object, optional
            A value for the settler to read with `StoredPromise.param`.

        Returns
        -------
        StoredPromise
            The promise that was created or found.

        Raises
        ------
        ConfigurationError
            An id, a timeout or tags that cannot be used.
        EncodingError
            The value cannot be sent.
        CommandError
            The broker refused it, for example because the id is too long.

        Examples
        --------
        >>> runtime.promises.create("approval-3", timeout=3600, tags={"order": "7"}).state
        'pending'
        """
        check_id(id)
        env = self._session.env
        timeout_ms = env.timeout_ms
        if timeout is not None:
            timeout_ms = int(seconds("timeout", timeout, zero=False) * 1000)
        all_tags = check_tags({} if tags is None else tags)
        all_tags[TAG_EXTERNAL] = "true"
        data = None if value is None else env.values.encode_value(value, "the value")
        param = Value({HEADER_KIND: "promise"}, data)
        return self._one(
            f"create({id!r})", PromiseCreate(id, env.now_ms() + timeout_ms, param, all_tags)
        )

    def resolve(self, id: str, value: Any = None) -> StoredPromise:
        """Settle a promise with a value.

        Any pending promise can be settled, also that of a function that is running: the run is then
        stopped, and its result is ignored.

        Parameters
        ----------
        id : str
            The id of the promise. If it is settled already, it stays as it is and is returned.
        value : object, optional
            The value.

        Returns
        -------
        StoredPromise
            The promise as it is now.

        Raises
        ------
        EncodingError
            The value cannot be sent.
        CommandError
            With status 404 if the promise does not exist.

        Examples
        --------
        >>> made = runtime.promises.create("approval-4")
        >>> runtime.promises.resolve("approval-4", "yes").state
        'resolved'
        """
        data = self._session.env.values.encode_value(value, "the value")
        return self._one(f"resolve({id!r})", PromiseSettle(check_id(id), RESOLVED, Value({}, data)))

    def reject(self, id: str, error: BaseException | str) -> StoredPromise:
        """Settle a promise with a failure, which is raised wherever the promise is waited for.

        Parameters
        ----------
        id : str
            The id of the promise. If it is settled already, it stays as it is and is returned.
        error : BaseException or str
            The failure; a text becomes a RuntimeError.

        Returns
        -------
        StoredPromise
            The promise as it is now.

        Raises
        ------
        ConfigurationError
            `error` is neither an exception nor a text.
        CommandError
            With status 404 if the promise does not exist.

        Examples
        --------
        >>> made = runtime.promises.create("approval-5")
        >>> runtime.promises.reject("approval-5", "too expensive").state
        'rejected'
        """
        raised = RuntimeError(error) if isinstance(error, str) else error
        if not isinstance(raised, BaseException):
            raise ConfigurationError(f"error={error!r}: it must be an exception or a text")
        data = self._session.env.values.encode_error(raised)
        value = Value({HEADER_ERROR: error_class(raised)}, data)
        return self._one(f"reject({id!r})", PromiseSettle(check_id(id), REJECTED, value))

    def cancel(self, id: str) -> StoredPromise:
        """Cancel a promise and, in its call graph, everything that it still waits for.

        Parameters
        ----------
        id : str
            The id of the promise. If it is settled already, it stays as it is and is returned.

        Returns
        -------
        StoredPromise
            The promise as it is now.

        Raises
        ------
        CommandError
            With status 404 if the promise does not exist.

        Examples
        --------
        >>> made = runtime.promises.create("approval-6")
        >>> runtime.promises.cancel("approval-6").state
        'canceled'
        """
        return self._one(f"cancel({id!r})", PromiseCancel(check_id(id)))

    def search(
        self,
        *,
        state: str | None = None,
        tags: Mapping[str, str] | None = None,
        prefix: str = "",
        origin: str | None = None,
        limit: int = 100,
    ) -> Search[StoredPromise]:
        """Iterate over promises in the order of their ids.

        Parameters
        ----------
        state : str, optional
            Only promises in this state; see `StoredPromise`.
        tags : mapping of str to str, optional
            Only promises that have all these tags.
        prefix : str, optional
            Only promises whose ids start with this text.
        origin : str, optional
            Only promises of the call graph whose root has this id.
        limit : int, optional
            How many promises one request fetches, 1 to 1000. All that match are returned,
            whatever the limit.

        Returns
        -------
        Search of StoredPromise
            The promises, each as it was when its page was fetched. On an event loop iterate
            with ``async for``.

        Raises
        ------
        ConfigurationError
            An argument that cannot be used.
        CommandError
            The broker refused the search. It is raised at the first step of the iteration.

        Examples
        --------
        >>> for number in range(3):
        ...     made = runtime.promises.create(f"bill-{number}", tags={"month": "may"})
        >>> [promise.id for promise in runtime.promises.search(tags={"month": "may"})]
        ['bill-0', 'bill-1', 'bill-2']
        """
        for option, text in (("state", state), ("prefix", prefix), ("origin", origin)):
            check_text(option, text)
        check_int("limit", limit, 1, LIMITS.page_max)
        wanted = {} if tags is None else check_tags(tags, reserved=True)
        named = None if state is None else stored_name(state, PROMISE_WORDS)
        if state is not None and named is None:
            raise ConfigurationError(
                f"state={state!r} is no state of a promise: use one of "
                f"{', '.join(PROMISE_WORDS.values())}"
            )
        values = self._session.env.values
        return Search(
            self._session,
            "promises.search",
            lambda cursor: PromiseSearch(named, wanted, prefix, origin, limit, cursor),
            lambda reply: [_stored_promise(each, values) for each in reply.promises or ()],
        )

    def _one(self, what: str, command: AnyCommand) -> StoredPromise:
        def convert(response: Response) -> StoredPromise:
            record = response.reply.promise
            assert record is not None
            return _stored_promise(record, self._session.env.values)

        return ask(self._session, f"promises.{what}", command, convert)


def utc(epoch_ms: int) -> datetime:
    """Convert a time of the store, in milliseconds since the epoch.

    The store counts on after the year 9999, and Python's dates do not: a later time, such as a
    deadline that another client has set for never, is given as the last second of that year.
    """
    if epoch_ms // 1000 >= DATE_MAX_S:
        return datetime.fromtimestamp(DATE_MAX_S, UTC)
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _stored_promise(record: PromiseRecord, values: NodeValues) -> StoredPromise:
    return StoredPromise(
        record.id,
        PROMISE_WORDS[record.state],
        record.param.headers.get(HEADER_FUNCTION),
        record.tags,
        utc(record.created_at),
        utc(record.timeout_at),
        None if record.settled_at is None else utc(record.settled_at),
        record,
        values,
    )
