"""Schedules: calls that the broker makes by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from understudy.client.calls import client_call
from understudy.client.session import ClientSession
from understudy.errors import ConfigurationError
from understudy.options import Options
from understudy_store.commands import (
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleSearch,
)
from understudy_store.records import (
    ScheduleRecord,
)

#: one promise per occurrence
DEFAULT_PROMISE_ID = "{id}.{timestamp}"


class Schedules:
    """``runtime.schedules``. Options of the runtime (target, timeout, ...) apply to each call."""

    def __init__(self, session: ClientSession, options: Options) -> None:
        self._session = session
        self._options = options

    def create(
        self,
        id: str,
        cron: str,
        f: Any,
        *args: Any,
        promise_id: str = DEFAULT_PROMISE_ID,
        **kwargs: Any,
    ) -> ScheduleRecord:
        """Call `f` at each occurrence of `cron` (UTC). The same id again gives what there is.

        `promise_id` is the id of each call; ``{id}`` and ``{timestamp}`` (epoch milliseconds of
        the occurrence) are replaced.
        """
        if self._options.delay_s is not None:
            raise ConfigurationError("option delay: a schedule's calls are due when cron says")
        call = client_call(self._session.env, self._options, "schedule", f, args, kwargs)
        return self._one(
            ScheduleCreate(id, cron, promise_id, call.timeout_ms, call.param, call.tags)
        )

    def get(self, id: str) -> ScheduleRecord:
        """The schedule; `CommandError` with status 404 if there is none."""
        return self._one(ScheduleGet(id))

    def delete(self, id: str) -> None:
        """No more occurrences; calls already made go on."""
        self._session.command(ScheduleDelete(id))

    def search(self, *, prefix: str = "", limit: int = 100) -> Iterator[ScheduleRecord]:
        """Schedules in the order of their ids, fetched `limit` at a time."""
        cursor: str | None = None
        while True:
            reply = self._session.command(ScheduleSearch(prefix, limit, cursor))
            yield from reply.schedules or ()
            cursor = reply.cursor
            if cursor is None:
                return

    def _one(self, command: Any) -> ScheduleRecord:
        record: ScheduleRecord | None = self._session.command(command).schedule
        assert record is not None
        return record
