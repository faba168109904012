"""The promises of the store, directly: for webhooks, people, and programs that look around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from understudy.client.node_environment import NodeEnvironment
from understudy.client.session import ClientSession
from understudy.errors import ConfigurationError
from understudy.options import Options, seconds
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseSearch,
    PromiseSettle,
)
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    REJECTED,
    RESOLVED,
    TAG_EXTERNAL,
    PromiseRecord,
    PromiseState,
    Value,
)


class StoredPromise:
    """A promise as it was when it was read."""

    __slots__ = ("_env", "record")

    def __init__(self, record: PromiseRecord, env: NodeEnvironment) -> None:
        self.record = record
        self._env = env

    def __repr__(self) -> str:
        return f"<StoredPromise {self.id} {self.state}>"

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def state(self) -> PromiseState:
        return self.record.state

    @property
    def tags(self) -> dict[str, str]:
        return self.record.tags

    @property
    def function(self) -> str | None:
        """The name of the function that it is a call of, if it is one."""
        return self.record.param.headers.get(HEADER_FUNCTION)

    @property
    def created_at(self) -> datetime:
        return _time(self.record.created_at)

    @property
    def timeout_at(self) -> datetime:
        return _time(self.record.timeout_at)

    @property
    def settled_at(self) -> datetime | None:
        return None if self.record.settled_at is None else _time(self.record.settled_at)

    def value(self) -> Any:
        """The value; raises what it was rejected with; None while it is pending."""
        record, values = self.record, self._env.values
        if record.state == RESOLVED:
            return values.decode_value(record.value.data)
        if record.settled:
            raise values.settled_error(record)
        return None


class Promises:
    """``runtime.promises``. Each call returns when it is done, and durable."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    def get(self, id: str) -> StoredPromise:
        """The promise; `CommandError` with status 404 if there is none."""
        return self._one(PromiseGet(id))

    def create(
        self,
        id: str,
        *,
        timeout: float | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        value: Any = None,
    ) -> StoredPromise:
        """A promise for the outside to settle; the same id again gives the one that there is.

        `value` is for whoever settles it to read; `timeout` in seconds.
        """
        timeout_ms = self._session.env.timeout_ms
        if timeout is not None:
            timeout_ms = int(seconds("timeout", timeout, zero=False) * 1000)
        all_tags = dict(Options().merge(tags=tags or {}).tags or {})
        all_tags[TAG_EXTERNAL] = "true"
        data = None if value is None else self._session.env.values.encode_value(value, "the value")
        return self._one(
            PromiseCreate(
                id,
                self._session.env.now_ms() + timeout_ms,
                Value({HEADER_KIND: "promise"}, data),
                all_tags,
            )
        )

    def resolve(self, id: str, value: Any = None) -> StoredPromise:
        """Settle it with a value; one that is settled already stays as it is."""
        data = self._session.env.values.encode_value(value, "the value")
        return self._one(PromiseSettle(id, RESOLVED, Value({}, data)))

    def reject(self, id: str, error: BaseException | str) -> StoredPromise:
        """Settle it with a failure: an exception, or the text of one."""
        raised = RuntimeError(error) if isinstance(error, str) else error
        data = self._session.env.values.encode_error(raised)
        return self._one(PromiseSettle(id, REJECTED, Value({}, data)))

    def cancel(self, id: str) -> StoredPromise:
        """Cancel it, and in its call graph all that it still waits for."""
        return self._one(PromiseCancel(id))

    def search(
        self,
        *,
        state: str | None = None,
        tags: Mapping[str, str] | None = None,
        prefix: str = "",
        origin: str | None = None,
        limit: int = 100,
    ) -> Iterator[StoredPromise]:
        """Promises in the order of their ids, fetched `limit` at a time.

        Parameters
        ----------
        state
            pending, resolved, rejected, rejected_canceled or rejected_timedout.
        prefix
            Of the id.
        origin
            Only the call graph with this root.
        """
        if limit < 1:
            raise ConfigurationError(f"limit={limit}: it must be 1 or more")
        cursor: str | None = None
        while True:
            reply = self._session.command(
                PromiseSearch(state, dict(tags or {}), prefix, origin, limit, cursor)
            )
            for record in reply.promises or ():
                yield StoredPromise(record, self._session.env)
            cursor = reply.cursor
            if cursor is None:
                return

    def _one(self, command: Any) -> StoredPromise:
        record = self._session.command(command).promise
        assert record is not None
        return StoredPromise(record, self._session.env)


def _time(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
