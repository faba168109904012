"""The calls of the store: which run, which failed, how long they took, and what attempts said."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from understudy.client.answers import Search, ask
from understudy.client.calls import check_id
from understudy.client.session import ClientSession
from understudy.errors import ConfigurationError
from understudy.options import LIMITS, check_int, check_tags, check_text, seconds
from understudy.promises import utc
from understudy.states import CALL_STATES, call_states
from understudy_broker.protocol.messages import Response
from understudy_store.commands import CallSearch, TaskAttempts
from understudy_store.records import PROMISE_WORDS, TASK_WORDS, AttemptRecord, CallRecord


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call that begins a call graph, as it was when it was read from the store.

    Attributes
    ----------
    id : str
        The id of the call.
    function : str
        The name of its function.
    group : str
        The group that performs it.
    state : str
        ``pending``, ``resolved``, ``rejected``, ``canceled`` or ``timedout``.
    task_state : str
        What a pending call does: ``queued``, ``running``, ``waiting`` or ``halted``.
    created_at : datetime
        When it was created, in UTC.
    started_at : datetime or None
        When a node first began with it, in UTC.
    settled_at : datetime or None
        When it ended, in UTC; None while it is pending.
    attempts : int
        How many attempts there were, with one that is running or due.
    error : str or None
        The class of the exception that it failed with.
    cause : str or None
        Why it is tried again or does not go on, for people.
    node : str or None
        The name of the process that had it last.
    suspensions : int
        How often it gave its place up to wait.
    tags : dict of str to str
        Its tags.

    Examples
    --------
    >>> failed = runtime.calls.search(state="failed", since=3600)
    >>> {call.id: (call.error, call.attempts) for call in failed}
    {}
    """

    id: str
    function: str
    group: str
    state: str
    task_state: str
    created_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    attempts: int
    error: str | None
    cause: str | None
    node: str | None
    suspensions: int
    tags: dict[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a call that ended badly.

    Attributes
    ----------
    number : int
        Its place among those that were logged of the call, from 1.
    end : str
        ``raised``: the function raised. ``released``: its node gave it back. ``died``: its node
        vanished. ``parked``: the call was halted.
    node, host : str or None
        The name of the process that had the call, and its machine.
    queued_at, started_at : datetime or None
        When the call was due, and when the node began with it, in UTC.
    ended_at : datetime
        When the attempt ended, in UTC.
    error : str or None
        The class of the exception that the function raised.
    text : str or None
        The reason, for people; None if it is in the value of the call.

    Examples
    --------
    >>> [(each.number, each.end, each.text) for each in runtime.calls.attempts("order-7")]
    []
    """

    number: int
    end: str
    node: str | None
    host: str | None
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime
    error: str | None
    text: str | None


class Calls:
    """The calls of a store that begin a call graph; ``runtime.calls``.

    On an event loop, ``await`` what `attempts` and `count` return, and iterate over `search` with
    ``async for``.

    Examples
    --------
    >>> runtime.calls.count()
    {}
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    def search(
        self,
        *,
        state: str | Collection[str] | None = None,
        function: str | None = None,
        group: str | None = None,
        error: str | None = None,
        tags: Mapping[str, str] | None = None,
        prefix: str = "",
        since: datetime | timedelta | float | None = None,
        until: datetime | timedelta | float | None = None,
        slower_than: timedelta | float | None = None,
        limit: int = 100,
    ) -> Search[StoredCall]:
        """Iterate over calls from the newest to the oldest.

        Parameters
        ----------
        state : str or collection of str, optional
            Only calls in one of these states. ``failed`` stands for ``rejected`` and
            ``timedout``.
        function, group : str, optional
            Only calls of this function, and those that this group performs.
        error : str, optional
            Only calls that failed with an exception of this class; with its module, or without.
        tags : mapping of str to str, optional
            Only calls that have all these tags.
        prefix : str, optional
            Only calls whose ids start with this text.
        since, until : datetime, timedelta or float, optional
            Only calls from that time on, or before it: a moment, or so long ago (in seconds, if it
            is a number). If only calls are asked for that ended without a value, this is about the
            time of their end, and so is the order; else about that of their creation.
        slower_than : timedelta or float, optional
            Only calls that have taken so long from their creation, in seconds.
        limit : int, optional
            How many calls one request fetches, 1 to 1000. All that match are returned, whatever
            the limit.

        Returns
        -------
        Search of StoredCall
            The calls, each as it was when its page was fetched.

        Raises
        ------
        ConfigurationError
            An argument that cannot be used.
        CommandError
            The broker refused the search. It is raised at the first step of the iteration.

        Examples
        --------
        >>> [call.id for call in runtime.calls.search(state="failed", since=3600)]
        []
        """
        check_int("limit", limit, 1, LIMITS.page_max)
        wanted = self._search(
            state, function, group, error, tags, prefix, since, until, slower_than
        )
        return Search(
            self._session,
            "calls.search",
            lambda cursor: CallSearch(**wanted, limit=limit, cursor=cursor),
            lambda reply: [_stored_call(each) for each in reply.calls or ()],
        )

    def count(
        self,
        *,
        state: str | Collection[str] | None = None,
        function: str | None = None,
        group: str | None = None,
        error: str | None = None,
        tags: Mapping[str, str] | None = None,
        prefix: str = "",
        since: datetime | timedelta | float | None = None,
        until: datetime | timedelta | float | None = None,
        slower_than: timedelta | float | None = None,
    ) -> dict[str, int]:
        """Count calls by state: the newest 10,000 of those that `search` would return.

        Where several brokers share the calls, so many of each.

        Parameters
        ----------
        state, function, group, error, tags, prefix, since, until, slower_than
            As for `search`.

        Returns
        -------
        dict of str to int
            The number of calls in each state; a state without calls is left out.

        Raises
        ------
        ConfigurationError
            An argument that cannot be used.
        CommandError
            The broker refused the search.

        Examples
        --------
        >>> runtime.calls.count(state="failed", since=3600)
        {}
        """
        wanted = self._search(
            state, function, group, error, tags, prefix, since, until, slower_than
        )

        def convert(response: Response) -> dict[str, int]:
            counts = response.reply.counts or {}
            return {word: counts[name] for name, word in PROMISE_WORDS.items() if name in counts}

        command = CallSearch(**wanted, limit=1, counts=True)
        return ask(self._session, "calls.count(...)", command, convert)

    def attempts(self, id: str) -> list[Attempt]:
        """Read what the attempt log has of a call: the attempts that ended badly.

        It keeps the first three of a call and the last twenty. An attempt that ended with a value,
        or by waiting, is not in it.

        Parameters
        ----------
        id : str
            The id of any call, not only of one that begins a call graph.

        Returns
        -------
        list of Attempt
            The attempts in their order; empty if there are none, or no such call.

        Raises
        ------
        CommandError
            The broker refused to tell.

        Examples
        --------
        >>> runtime.calls.attempts("order-7")
        []
        """

        def convert(response: Response) -> list[Attempt]:
            return [_attempt(each) for each in response.reply.attempts or ()]

        command = TaskAttempts(check_id(id))
        return ask(self._session, f"calls.attempts({id!r})", command, convert)

    def _search(
        self,
        state: str | Collection[str] | None,
        function: str | None,
        group: str | None,
        error: str | None,
        tags: Mapping[str, str] | None,
        prefix: str,
        since: datetime | timedelta | float | None,
        until: datetime | timedelta | float | None,
        slower_than: timedelta | float | None,
    ) -> dict[str, Any]:
        """Check the conditions of a search, and return them as the fields of its command."""
        texts = (("function", function), ("group", group), ("error", error), ("prefix", prefix))
        for option, text in texts:
            check_text(option, text)
        named = () if state is None else (state,) if isinstance(state, str) else tuple(state)
        states = call_states(named, error=error)
        if states is None:
            raise ConfigurationError(
                f"state={state!r}: use states of calls, which are {', '.join(CALL_STATES)}"
            )
        slow_s = None if slower_than is None else seconds("slower_than", slower_than, zero=True)
        return {
            "states": states,
            "function": function,
            "group": group,
            "error": error,
            "tags": {} if tags is None else check_tags(tags, reserved=True),
            "prefix": prefix,
            "since": self._moment("since", since),
            "until": self._moment("until", until),
            "slow_ms": 0 if slow_s is None else round(slow_s * 1000),
        }

    def _moment(self, option: str, given: datetime | timedelta | float | None) -> int | None:
        """Return a time in epoch milliseconds; a length of time is one before now."""
        if given is None:
            return None
        if isinstance(given, datetime):
            if given.tzinfo is None:
                raise ConfigurationError(
                    f"{option}={given!r} has no time zone: write datetime(..., tzinfo=UTC)"
                )
            return round(given.timestamp() * 1000)
        ago_s = seconds(option, given, zero=True)
        return round((datetime.now(UTC).timestamp() - ago_s) * 1000)


def _stored_call(call: CallRecord) -> StoredCall:
    return StoredCall(
        call.id,
        call.function,
        call.group,
        PROMISE_WORDS[call.state],
        TASK_WORDS[call.task_state],
        utc(call.created_at),
        None if call.started_at is None else utc(call.started_at),
        None if call.settled_at is None else utc(call.settled_at),
        call.failures + 1,
        call.error,
        call.cause,
        call.node,
        call.suspensions,
        call.tags,
    )


def _attempt(attempt: AttemptRecord) -> Attempt:
    return Attempt(
        attempt.n,
        attempt.end,
        attempt.node,
        attempt.host,
        None if attempt.queued_at is None else utc(attempt.queued_at),
        None if attempt.started_at is None else utc(attempt.started_at),
        utc(attempt.ended_at),
        attempt.error,
        attempt.text,
    )
