"""A client that reads from those brokers of a deployment that answer, while another one is away.

Commands ask through a router, which waits for every broker, so that nothing is missing. Here each
broker that answers is asked by itself, and whoever shows the result says which ones have not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from understudy.cli.deployment import BrokerStatus, ask, read_statuses
from understudy.client.address import broker_address
from understudy.client.seal_keys import process_sealer
from understudy.client.sealed_records import SealedRecords
from understudy.errors import BrokerUnavailableError
from understudy_broker.link.merging import merge_reports
from understudy_broker.protocol.messages import AnyCommand, GroupsReport
from understudy_store.commands import (
    PromiseGet,
    PromiseSearch,
    Reply,
    TaskAttempts,
    TaskGet,
    TaskSearch,
)
from understudy_store.records import AttemptRecord, PromiseRecord, TaskRecord
from understudy_store.slots import slot_of

#: records of one request
PAGE_MAX = 1000


class PartClient:
    """Reads promises, tasks and groups, as `Client` does, without the brokers that are away.

    Parameters
    ----------
    url
        The address of a broker, or several; by default that of the environment.

    Attributes
    ----------
    away
        The brokers that did not answer.

    Raises
    ------
    BrokerUnavailableError
        None of them answers.
    """

    def __init__(self, url: str | None) -> None:
        sealer = process_sealer()
        self._sealed = None if sealer is None else SealedRecords(sealer)
        self._url = broker_address(url)
        self._statuses = read_statuses(self._url)
        self.away = [status for status in self._statuses if status.report is None]

    @property
    def url(self) -> str:
        """The addresses of those that answer."""
        return ",".join(status.address for status in self._present)

    @property
    def _present(self) -> list[BrokerStatus]:
        return [status for status in self._statuses if status.report is not None]

    def groups(self) -> GroupsReport:
        """Return the groups with their nodes, as these brokers see them."""
        return merge_reports(each.report for each in self._statuses if each.report is not None)

    def find_promise(self, id: str) -> PromiseRecord | None:
        """Read a promise; None if it does not exist.

        Raises
        ------
        BrokerUnavailableError
            Its broker is one of those that are away.
        """
        owner = self._owner(id)
        if owner is None:
            return None
        if owner.report is None:
            raise BrokerUnavailableError(owner.address, owner.problem or "", others_answer=True)
        [reply] = self._ask(owner, [PromiseGet(id)])
        return reply.promise

    def promises(
        self, *, state: str | None = None, prefix: str = "", origin: str | None = None
    ) -> Iterator[PromiseRecord]:
        """Search promises at these brokers."""
        for reply in self._pages(
            lambda cursor: PromiseSearch(state, {}, prefix, origin, PAGE_MAX, cursor)
        ):
            yield from reply.promises or ()

    def tasks(
        self, *, state: str | None = None, group: str | None = None, limit: int | None = None
    ) -> Iterator[TaskRecord]:
        """Search tasks at these brokers; at most `limit`."""
        pages = self._pages(lambda cursor: TaskSearch(state, group, PAGE_MAX, cursor))
        return islice((task for reply in pages for task in reply.tasks or ()), limit)

    def tasks_of(self, ids: Iterable[str]) -> list[Reply]:
        """Read the tasks of those promises that have one, with their progress."""
        return [each for each in self._read(ids, TaskGet) if each.task is not None]

    def promises_of(self, ids: Iterable[str]) -> list[PromiseRecord]:
        """Read promises, without those of brokers that are away."""
        return [each.promise for each in self._read(ids, PromiseGet) if each.promise is not None]

    def _read(self, ids: Iterable[str], command: Callable[[str], AnyCommand]) -> list[Reply]:
        """Ask for each id the broker that has it, if that one answers."""
        wanted: dict[str, list[AnyCommand]] = {}
        for id in ids:
            owner = self._owner(id)
            if owner is not None and owner.report is not None:
                wanted.setdefault(owner.name, []).append(command(id))
        replies = []
        for status in self._present:
            replies += self._ask(status, wanted.get(status.name, []))
        return replies

    def _pages(self, search: Callable[[str | None], AnyCommand]) -> Iterator[Reply]:
        for status in self._present:
            cursor: str | None = None
            while True:
                [reply] = self._ask(status, [search(cursor)])
                yield reply
                cursor = reply.cursor
                if cursor is None:
                    break

    def attempts_of(self, ids: Iterable[str]) -> dict[str, list[AttemptRecord]]:
        """Read the attempt logs of tasks, by id; without those of brokers that are away."""
        found = {}
        for id in ids:
            owner = self._owner(id)
            if owner is not None and owner.report is not None:
                [reply] = self._ask(owner, [TaskAttempts(id)])
                found[id] = reply.attempts or []
        return found

    def _owner(self, id: str) -> BrokerStatus | None:
        slot = slot_of(id)
        return next((each for each in self._statuses if slot in each.slots), None)

    def _ask(self, status: BrokerStatus, commands: list[AnyCommand]) -> list[Reply]:
        replies = ask(self._url, status.address, commands) if commands else []
        sealed = self._sealed
        return replies if sealed is None else list(map(sealed.open_reply, replies))
