"""A short-lived client of a broker, for commands that ask or change something and then end."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain, islice
from types import TracebackType
from typing import Final, Self, TypeVar

from understudy import unanswered
from understudy.cli.printing import err
from understudy.client.address import broker_address
from understudy.runtime import Runtime
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import AnyCommand, GroupsGet, GroupsReport, Response
from understudy_store.commands import (
    PromiseGet,
    PromiseSearch,
    Reply,
    ScheduleGet,
    ScheduleSearch,
    TaskAttempts,
    TaskGet,
    TaskSearch,
)
from understudy_store.records import AttemptRecord, PromiseRecord, ScheduleRecord, TaskRecord

#: short, because a person is waiting
CONNECT_TIMEOUT_S: Final = 5.0
#: how long a broker may take to answer before the user is told
SILENT_S: Final = 5.0
#: records of one request
PAGE_MAX: Final = 1000
#: seconds in which the client stops
_STOP_S: Final = 2.0

_LOG: Final = logging.getLogger("understudy")

_Record = TypeVar("_Record")


class _WaitNotice(logging.Handler):
    """Tells a user why a call does not go on, and of addresses that do not fit together."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        is_of_call = getattr(record, "waited_id", None) is not None
        if is_of_call or getattr(record, "strangers", False):
            err(f"understudy: {record.getMessage()}", flush=True)


class _NoBrokerNotice(logging.Handler):
    """Tells the user that no broker answers yet. The connection logs that after about a second.

    Parameters
    ----------
    more
        What else could be done about it.
    """

    def __init__(self, more: str) -> None:
        super().__init__(logging.WARNING)
        self._more = more

    def emit(self, record: logging.LogRecord) -> None:
        url = getattr(record, "unavailable_url", None)
        if url is not None:
            left_s: float | None = getattr(record, "left_s", None)
            next_step = "waiting for it" if left_s is None else f"trying for {left_s:.0f} s more"
            others_answer: bool = getattr(record, "others_answer", False)
            advice = unanswered.advice(url, others_answer=others_answer) + self._more
            text = f"no broker answers at {url} yet; {advice[0].lower()}{advice[1:]}"
            if reason := getattr(record, "reason", ""):
                text = f"the broker at {url} is not available yet: {reason}"
            err(f"understudy: {text}; {next_step}", flush=True)


class Client:
    """A client that connects on first use and stops when its ``with`` block ends.

    Parameters
    ----------
    url
        The broker's address; by default that of the environment.
    connect_timeout_s
        Seconds after which the first connection is given up.
    more_advice
        What else could be done if no broker answers at once, after a semicolon. None tells the user
        nothing, because the caller itself starts the broker.
    opens
        Whether sealed values are opened, if this process has seal keys; else they are read as they
        are stored.
    runtime
        The runtime to ask through, in the place of one that is made for it: its functions are to be
        given what is read. `url` and the timeout are its own then (see `borrow`).

    Raises
    ------
    BrokerUnavailableError
        On first use, if nothing answers in time.
    """

    def __init__(
        self,
        url: str | None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        more_advice: str | None = "",
        *,
        opens: bool = True,
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime or Runtime(
            id=f"cli-{secrets.token_hex(4)}",
            url=url,
            connect_timeout=connect_timeout_s,
            seal_keys=None if opens else "",
            seal_required=None if opens else False,
        )
        self._notices: list[logging.Handler] = [_WaitNotice()]
        if more_advice is not None:
            self._notices.append(_NoBrokerNotice(more_advice))

    def __enter__(self) -> Self:
        # With --verbose the logger has no handler, and everything that is logged is shown anyway.
        if _LOG.handlers:
            for notice in self._notices:
                _LOG.addHandler(notice)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for notice in self._notices:
            _LOG.removeHandler(notice)
        self.runtime.stop(timeout=_STOP_S)

    @property
    def url(self) -> str:
        """The broker's address."""
        return self.runtime.url

    def connect(self, timeout_s: float | None = None) -> None:
        """Wait until the broker has answered, by default for the client's own timeout."""
        self.runtime.session.connection.wait_connected(timeout_s)

    def command(self, command: AnyCommand) -> Reply:
        """Send one command; raises `CommandError` if it is refused."""
        return _answer(self.runtime.session.connected().command(command)).reply

    def commands(self, commands: Sequence[AnyCommand]) -> Iterator[Reply | CommandError]:
        """Send many commands without waiting for each; yield their replies in order."""
        connection = self.runtime.session.connected()
        for start in range(0, len(commands), PAGE_MAX):
            page = commands[start : start + PAGE_MAX]
            futures = [connection.command(command) for command in page]
            for future in futures:
                try:
                    yield _answer(future).reply
                except CommandError as error:
                    yield error

    def groups(self) -> GroupsReport:
        """Read the groups with their nodes, and the broker's counters."""
        report = _answer(self.runtime.session.connected().command(GroupsGet())).report
        assert report is not None
        return report

    # Promises ------------------------------------------------------------------------------------

    def watch(self, id: str) -> Future[PromiseRecord]:
        """Return a future of the promise, done when it settles."""
        return self.runtime.session.connected().watch(id)

    def promise(self, id: str) -> PromiseRecord:
        """Read a promise; raises `CommandError` with status 404 if it does not exist."""
        record = self.command(PromiseGet(id)).promise
        assert record is not None
        return record

    def find_promise(self, id: str) -> PromiseRecord | None:
        """Read a promise; None if it does not exist."""
        try:
            return self.promise(id)
        except CommandError as error:
            if error.status == 404:
                return None
            raise

    def promises(
        self,
        *,
        state: str | None = None,
        tags: dict[str, str] | None = None,
        prefix: str = "",
        origin: str | None = None,
        limit: int | None = None,
    ) -> Iterator[PromiseRecord]:
        """Search promises, in the order of their ids; at most `limit`."""
        return self._search(
            lambda size, cursor: PromiseSearch(state, tags or {}, prefix, origin, size, cursor),
            lambda reply: reply.promises,
            limit,
        )

    # Tasks ---------------------------------------------------------------------------------------

    def tasks(
        self, *, state: str | None = None, group: str | None = None, limit: int | None = None
    ) -> Iterator[TaskRecord]:
        """Search tasks, in the order of their ids; at most `limit`."""
        return self._search(
            lambda size, cursor: TaskSearch(state, group, size, cursor),
            lambda reply: reply.tasks,
            limit,
        )

    def tasks_of(self, ids: Iterable[str]) -> list[Reply]:
        """Read the tasks of those promises that have one, with their progress."""
        replies = self.commands([TaskGet(id) for id in ids])
        return [each for each in replies if isinstance(each, Reply) and each.task is not None]

    def promises_of(self, ids: Iterable[str]) -> list[PromiseRecord]:
        """Read those of the promises that exist."""
        replies = self.commands([PromiseGet(id) for id in ids])
        return [each.promise for each in replies if isinstance(each, Reply) and each.promise]

    def attempts_of(self, ids: Iterable[str]) -> dict[str, list[AttemptRecord]]:
        """Read the attempt logs of tasks, by id; one after the other, because each is a search."""
        return {id: self.command(TaskAttempts(id)).attempts or [] for id in ids}

    # Schedules -----------------------------------------------------------------------------------

    def schedule(self, id: str) -> ScheduleRecord:
        """Read a schedule; raises `CommandError` with status 404 if it does not exist."""
        record = self.command(ScheduleGet(id)).schedule
        assert record is not None
        return record

    def schedules(self, prefix: str = "") -> Iterator[ScheduleRecord]:
        """Search schedules, in the order of their ids."""
        return self._search(
            lambda size, cursor: ScheduleSearch(prefix, size, cursor),
            lambda reply: reply.schedules,
            None,
        )

    def _search(
        self,
        search: Callable[[int, str | None], AnyCommand],
        records_of: Callable[[Reply], Sequence[_Record] | None],
        limit: int | None,
    ) -> Iterator[_Record]:
        """Read page after page, up to `limit` records.

        Parameters
        ----------
        search
            Makes the command for a page from its size and its cursor.
        records_of
            Returns the records in a reply.
        """
        size = PAGE_MAX if limit is None else min(PAGE_MAX, limit)
        pages = self._pages(lambda cursor: search(size, cursor))
        found = chain.from_iterable(records_of(reply) or () for reply in pages)
        return islice(found, limit)

    def _pages(self, search: Callable[[str | None], AnyCommand]) -> Iterator[Reply]:
        """Read page after page, each when it is asked for."""
        cursor: str | None = None
        while True:
            reply = self.command(search(cursor))
            yield reply
            cursor = reply.cursor
            if cursor is None:
                return


def borrow(runtime: Runtime, url: str | None) -> Runtime:
    """Make the runtime of an app one that asks a broker for a moment, and serves nothing.

    It keeps its keys, and its trust in pickles. It has a name of its own, because a node of this
    app may run with that of the runtime.
    """
    session = runtime.session
    if url is None and session.embedded is not None:
        url = broker_address(None)
    runtime.configure(id=f"cli-{secrets.token_hex(4)}", url=url)
    session.connect_timeout_s = CONNECT_TIMEOUT_S
    return runtime


def _answer(future: Future[Response]) -> Response:
    """Wait for an answer without end, and tell the user if it takes long."""
    try:
        return future.result(SILENT_S)
    except TimeoutError:
        if future.done():
            raise  # of the broker itself
    err(
        f"understudy: the broker has not answered for {SILENT_S:.0f} s: it waits for its database "
        "or disk, most often, or has too much to do. Waiting for it; see: understudy brokers",
        flush=True,
    )
    return future.result()
