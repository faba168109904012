"""The functions that nodes announce, as an edge knows them: for a request that misspells one."""

from __future__ import annotations

from typing import Final

import trio

from understudy.edge.brokers import Brokers
from understudy.edge.native.problems import Problem
from understudy.obstacles import lacks_text, why_queued
from understudy_broker.protocol.messages import GroupInfo, GroupsReport
from understudy_store.records import PromiseRecord

#: A report that has a function is believed for so long. If its nodes have left, a call waits.
KNOWN_S: Final = 30.0
#: A report that lacks one is believed for so long, so that strangers cannot have it read all the
#: time.
LACKING_S: Final = 0.25


class Functions:
    """The groups as the brokers reported them last."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._groups: dict[str, GroupInfo] = {}
        self._read_at_s = float("-inf")
        self._reading = trio.Lock()

    async def check(self, group: str, function: str) -> None:
        """Raise a `Problem` with 404 if a group has nodes, and none of them has the function.

        A group without nodes may get some that have it, so a call there waits for them.
        """
        age_s = trio.current_time() - self._read_at_s
        if age_s < KNOWN_S and self._serves(group, function):
            return
        await self._read()
        info = self._groups.get(group)
        if info is not None and not self._serves(group, function) and info.nodes:
            raise Problem(
                404,
                f"{lacks_text(info, function, None)}. Add unknown=wait to have the call wait for a "
                "node that has it",
                parameter="function",
            )

    async def why_queued(self, record: PromiseRecord) -> str | None:
        """Return why no node gets a call that is queued; None if one may get it."""
        await self._read()
        return why_queued(record, GroupsReport(tuple(self._groups.values()), {}))

    def _serves(self, group: str, function: str) -> bool:
        info = self._groups.get(group)
        # A node that announces nothing is of a release before that, and may have any function.
        return info is not None and any(
            function in node.functions or not node.functions for node in info.nodes
        )

    async def _read(self) -> None:
        """Read the groups, unless that was done just now; requests at the same time share it."""
        async with self._reading:
            if trio.current_time() - self._read_at_s >= LACKING_S:
                self.take(await self._brokers.groups())

    def take(self, report: GroupsReport) -> None:
        """Take a report that was just read."""
        self._groups = {group.name: group for group in report.groups}
        self._read_at_s = trio.current_time()
