"""The functions that nodes announce, as an edge knows them: their names, and their schemas."""

from __future__ import annotations

from typing import Final, NamedTuple

import trio

from understudy.edge.asker import ASKER
from understudy.edge.brokers import Brokers, RefusedReportError
from understudy.edge.native.problems import Problem, of_reply
from understudy.edge.native.schemas import Arguments, FunctionSchema
from understudy.obstacles import lacks_text, why_queued
from understudy_broker.protocol.messages import FunctionInfo, GroupInfo, GroupsReport
from understudy_store.records import PromiseRecord

#: What was read is believed for so long where it allows a call. If the nodes have left, it waits.
KNOWN_S: Final = 30.0
#: What was read is believed for so long where it refuses a call, so that strangers cannot have it
#: read all the time.
LACKING_S: Final = 0.25

#: a function that a client may call, without a schema
_ANYTHING: Final = FunctionSchema("{}")


class _Group(NamedTuple):
    """The functions of a group, as they were read."""

    read_at_s: float
    schemas: dict[tuple[str, int], FunctionSchema]

    def find(self, function: str, version: int | None) -> FunctionSchema | None:
        versions = [number for name, number in self.schemas if name == function]
        number = max(versions, default=0) if version is None else version
        return self.schemas.get((function, number))

    def may_have(self, function: str, version: int) -> bool:
        """Return whether nodes have a version, or do not say which they have."""
        is_told = any(name == function for name, _ in self.schemas)
        return (function, version) in self.schemas or not is_told


class _Known:
    """Groups and functions as one identity is told of them."""

    def __init__(self) -> None:
        self.groups: dict[str, GroupInfo] = {}
        self.read_at_s = float("-inf")
        self.schemas: dict[str, _Group] = {}
        self.reading = trio.Lock()


class Functions:
    """The groups and functions as the brokers reported them last, to each who asks.

    They report only what may be called by who asks. There are as many of them as an edge's tokens
    have identities.
    """

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._known_to: dict[str | None, _Known] = {}

    @property
    def _known(self) -> _Known:
        return self._known_to.setdefault(ASKER.get(), _Known())

    # Names ---------------------------------------------------------------------------------------

    async def check(self, group: str, function: str, version: int | None) -> None:
        """Raise a `Problem` with 404 if a group has nodes, and none of them has the function.

        A group without nodes may get some that have it, so a call there waits for them.
        """
        age_s = trio.current_time() - self._known.read_at_s
        if age_s >= KNOWN_S or not self._serves(group, function):
            await self._read()
        info = self._known.groups.get(group)
        if info is None or not info.nodes:
            return
        if not self._serves(group, function):
            raise _lacking(info, function, None)
        if version is not None and not await self._has_version(group, function, version):
            raise _lacking(info, function, str(version))

    async def _has_version(self, group: str, function: str, version: int) -> bool:
        for age_max_s in (KNOWN_S, LACKING_S):
            known = await self._schemas_of(group, age_max_s)
            if known.may_have(function, version):
                return True
        return False

    async def why_queued(self, record: PromiseRecord) -> str | None:
        """Return why no node gets a call that is queued; None if one may get it."""
        await self._read()
        return why_queued(record, GroupsReport(tuple(self._known.groups.values()), {}))

    def _serves(self, group: str, function: str) -> bool:
        info = self._known.groups.get(group)
        # A node that announces nothing is of a release before that, and may have any function.
        return info is not None and any(
            function in node.functions or not node.functions for node in info.nodes
        )

    async def _read(self) -> None:
        """Read the groups, unless that was done just now; requests at the same time share it."""
        async with self._known.reading:
            if trio.current_time() - self._known.read_at_s >= LACKING_S:
                self.take(await report_of(self._brokers))

    def take(self, report: GroupsReport) -> None:
        """Take a report that was just read."""
        self._known.groups = {group.name: group for group in report.groups}
        self._known.read_at_s = trio.current_time()

    # Schemas -------------------------------------------------------------------------------------

    async def arguments(
        self, group: str, function: str, version: int | None, arguments: Arguments
    ) -> Arguments:
        """Return arguments as a function is meant to get them, by the schema that it has now.

        Raises
        ------
        Problem
            422 they do not suit it.
        """
        known = await self._schemas_of(group, KNOWN_S)
        schema = known.find(function, version) or _ANYTHING
        try:
            return schema.arguments(arguments)
        except Problem:
            # Its code may have changed since.
            newer = await self._schemas_of(group, LACKING_S)
            if newer is known:
                raise
            return (newer.find(function, version) or _ANYTHING).arguments(arguments)

    async def all(self) -> dict[str, dict[tuple[str, int], FunctionSchema]]:
        """Return the functions of all groups that have nodes, by group, name and version."""
        await self._read()
        served = [name for name, info in self._known.groups.items() if info.nodes]
        return {name: (await self._schemas_of(name, LACKING_S)).schemas for name in served}

    async def _schemas_of(self, group: str, age_max_s: float) -> _Group:
        known = self._known.schemas.get(group)
        if known is not None and trio.current_time() - known.read_at_s < age_max_s:
            return known
        async with self._known.reading:
            again = self._known.schemas.get(group)
            if again is None or again is known:
                again = self._made(group, await self._brokers.functions(group))
            return again

    def _made(self, group: str, functions: list[FunctionInfo]) -> _Group:
        """Take the functions that were read; those that are as before keep their schemas."""
        before = self._known.schemas.get(group)
        old = {} if before is None else before.schemas
        now_s = trio.current_time()
        made: dict[tuple[str, int], FunctionSchema] = {}
        for each in functions:
            key = (each.name, each.version)
            is_same = key in old and old[key].text == each.schema
            made[key] = old[key] if is_same else FunctionSchema(each.schema)
        if not made:
            # Groups without functions may have any name, so nothing is kept of them.
            self._known.schemas.pop(group, None)
            return _Group(now_s, {})
        found = self._known.schemas[group] = _Group(now_s, made)
        return found


async def report_of(brokers: Brokers) -> GroupsReport:
    """Return the brokers' report on their groups; raises `Problem` if it is refused."""
    try:
        return await brokers.groups()
    except RefusedReportError as error:
        raise of_reply(error.reply) from None


def _lacking(info: GroupInfo, function: str, version: str | None) -> Problem:
    return Problem(
        404,
        f"{lacks_text(info, function, version)}. Add unknown=wait to have the call wait for a node "
        "that has it",
        parameter="function" if version is None else "version",
    )
