"""Schedules: calls that the broker makes by the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from understudy.environment import NodeEnvironment
from understudy.options import Options
from understudy.retry import to_wire
from understudy_store.commands import (
    Reply,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleSearch,
)
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_RETRY,
    HEADER_VERSION,
    TAG_PRIORITY,
    TAG_TARGET,
    ScheduleRecord,
    Value,
)

#: one promise per occurrence
DEFAULT_PROMISE_ID = "{id}.{timestamp}"


class Schedules:
    """``runtime.schedules``. Options of the runtime (target, timeout, ...) apply to each call."""

    def __init__(
        self, command: Callable[[Any], Reply], env: NodeEnvironment, options: Options
    ) -> None:
        self._command = command
        self._env = env
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
        env, options = self._env, self._options
        function = env.registered(f) if callable(f) else env.registry_find(f)
        headers = {
            HEADER_KIND: "schedule",
            HEADER_FUNCTION: f if function is None else function.name,
        }
        if options.version is not None:
            headers[HEADER_VERSION] = str(options.version)
        if options.retry is not None:
            headers[HEADER_RETRY] = to_wire(options.retry)
        tags = dict(options.tags or {})
        tags[TAG_TARGET] = options.target or env.target
        if options.priority:
            tags[TAG_PRIORITY] = str(options.priority)
        timeout_ms = env.timeout_ms
        if options.timeout_s is not None:
            timeout_ms = int(options.timeout_s * 1000)
        data = env.values.encode_call(function, args, kwargs)
        return self._one(
            ScheduleCreate(id, cron, promise_id, timeout_ms, Value(headers, data), tags)
        )

    def get(self, id: str) -> ScheduleRecord:
        """The schedule; `CommandError` with status 404 if there is none."""
        return self._one(ScheduleGet(id))

    def delete(self, id: str) -> None:
        """No more occurrences; calls already made go on."""
        self._command(ScheduleDelete(id))

    def search(self, *, prefix: str = "", limit: int = 100) -> Iterator[ScheduleRecord]:
        """Schedules in the order of their ids, fetched `limit` at a time."""
        cursor: str | None = None
        while True:
            reply = self._command(ScheduleSearch(prefix, limit, cursor))
            yield from reply.schedules or ()
            cursor = reply.cursor
            if cursor is None:
                return

    def _one(self, command: Any) -> ScheduleRecord:
        record = self._command(command).schedule
        assert record is not None
        return record
