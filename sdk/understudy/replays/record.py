"""The record of calls, as a replay asks for it."""

from __future__ import annotations

from collections.abc import Iterable

from understudy_store.records import TAG_BRANCH, TAG_PARENT, PromiseRecord, origin_of


class Record:
    """Promises of one or more call graphs, to be found by id, and by the task that made them."""

    def __init__(self, promises: Iterable[PromiseRecord]) -> None:
        self._by_id: dict[str, PromiseRecord] = {}
        self._by_branch: dict[str, list[PromiseRecord]] = {}
        for promise in promises:
            self._by_id[promise.id] = promise
            branch = promise.tags.get(TAG_BRANCH)
            if branch is not None:
                self._by_branch.setdefault(branch, []).append(promise)

    def __contains__(self, id: str) -> bool:
        return id in self._by_id

    def find(self, id: str) -> PromiseRecord | None:
        """Return a promise; None if the record lacks it."""
        return self._by_id.get(id)

    def made_by(self, task: PromiseRecord) -> dict[str, list[PromiseRecord]]:
        """Return the promises that the store would preload, by the id of the run that made them.

        They belong to the call graph of the task, but for detached calls, of which each is its own.
        The runs are the task's own function, and steps in it that make calls themselves.
        """
        origin = origin_of(task)
        made: dict[str, list[PromiseRecord]] = {}
        for promise in self._by_branch.get(task.id, ()):
            if origin_of(promise) in (origin, promise.id):
                made.setdefault(promise.tags.get(TAG_PARENT, task.id), []).append(promise)
        return made
