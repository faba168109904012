"""What an engine does: loads, finds, commits. It decides nothing; the machine does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from understudy_store.changes import Changes, Row, Snapshot
from understudy_store.commands import ReadCommand, Reply


class Read(msgspec.Struct, frozen=True):
    """A command that the engine answers, and the time (epoch milliseconds) to project it to.

    Pages are in the order of ids; a cursor is the last id of the page before. A preload is all
    promises of the task's call graph whose branch tag is the task's id.
    """

    command: ReadCommand
    now: int


class Engine(Protocol):
    """A place to keep promises. `commit` and `find` run on two threads at the same time."""

    @property
    def description(self) -> str:
        """What it is and where, for logs and errors."""

    def load(self) -> Snapshot:
        """All that a machine needs to go on. Called once, before any `commit`."""

    def find(self, ids: Collection[str]) -> list[Row]:
        """The rows of `ids` as last committed, unprojected, in any order; unknown ids have none."""

    def commit(self, changes: Changes, reads: Sequence[Read]) -> list[Reply]:
        """Keep `changes` wholly or not at all, durable on return; then answer `reads`.

        The reads see exactly this commit. Empty changes write nothing, not even their time.
        Callbacks, listeners and unblocks are sets: adding one twice is adding it once.

        Raises
        ------
        StoreError
            Nothing of the changes is visible then; whether they are gone only a reopen tells.
            Also where an inserted row exists, or an updated one does not; an engine that brings
            commits elsewhere later may say so at a later one.
        """

    def close(self) -> None:
        """Give back all that is held. A second time does nothing."""
