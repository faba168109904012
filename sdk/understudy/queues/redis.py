"""Streams of Redis, read by a consumer group.

An entry that is read is *pending* for its consumer until it is acknowledged. A source begins with
the entries that are pending for its own name, as after a lost connection. Those that are pending
for others are taken over once they have not been touched for a while (``XAUTOCLAIM``), because
their consumer is dead. A source that waits for its broker touches its own now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import redis

from understudy.errors import ConfigurationError
from understudy.queues.addresses import HOW_TO_QUOTE, has_stray_at
from understudy.queues.port import Message, QueueKind, SourceAwayError

KIND: Final = QueueKind(
    "redis",
    {"entry": "the id of the entry in its stream"},
    [frozenset({"entry"})],
    "{topic}-{entry}",
    "redis",
)

_TIMEOUT_S: Final = 5.0
_PORT: Final = 6379
#: ids of one command
_CHUNK: Final = 1000


class RedisStream:
    """A stream of Redis; see `port.Source`.

    Parameters
    ----------
    server
        The server, as a ``redis://``, ``rediss://`` or ``unix://`` URL.
    stream
        The key of the stream. It is made if it does not exist.
    group
        The consumer group. It is made if it does not exist, and begins with the oldest entry.
    consumer
        The name in the group, which no other process may have.
    field
        The field of an entry that holds the body. The others are headers.
    claim_s
        Seconds after which entries that nobody has touched are taken over.
    deletes
        Whether entries are deleted from the stream once they are acknowledged.
    what
        What `server` is, for messages.
    now
        The clock, in seconds.

    Raises
    ------
    ConfigurationError
        `server` is no such URL.
    """

    kind: QueueKind = KIND

    def __init__(
        self,
        server: str,
        stream: str,
        group: str,
        consumer: str,
        *,
        field: str = "body",
        claim_s: float = 60.0,
        deletes: bool = False,
        what: str = "--server",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            if has_stray_at(server):
                raise ValueError
            # Entries come as lists in this version of the protocol, whatever the library is.
            self._client: Any = redis.Redis.from_url(
                server, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, protocol=2
            )
        except ValueError:
            # The error may have a part of the password in it.
            raise ConfigurationError(
                f"{what} is no URL of Redis: write redis://user:password@host:port/0; "
                f"{HOW_TO_QUOTE}"
            ) from None
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._field = field.encode()
        self._claim_s = claim_s
        self._deletes = deletes
        self._now = now
        #: the server has answered, and nothing has failed since
        self._is_open = False
        #: entries that were polled and are not acknowledged
        self._held: dict[bytes, None] = {}
        #: the last own pending entry that was read; None: all were
        self._own_cursor: bytes | None = b"0"
        self._claim_cursor: bytes = b"0-0"
        self._claim_at = 0.0
        self._touch_at = 0.0

    @property
    def place(self) -> str:
        """The stream and its server."""
        options = self._client.connection_pool.connection_kwargs
        host, port = options.get("host") or "localhost", options.get("port") or _PORT
        where = options.get("path") or f"{host}:{port}"
        return f"redis stream {self._stream} at {where}"

    def open(self) -> None:
        """Make the group if need be, and begin with what is pending for this consumer."""
        self._held.clear()
        self._own_cursor = b"0"
        self._claim_at = self._touch_at = self._now()
        with self._reaching():
            try:
                self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        self._is_open = True

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        """Return own pending entries first, then those of the dead, then new ones."""
        with self._reaching():
            self._touch()
            if limit == 0:
                return []
            if self._own_cursor is not None:
                entries = self._read(self._own_cursor, limit, 0)
                self._own_cursor = entries[-1][0] if entries else None
                if entries:
                    return list(self._messages(entries))
            if self._now() >= self._claim_at:
                claimed = self._claim(limit)
                if claimed:
                    return claimed
            return list(self._messages(self._read(b">", limit, timeout_s)))

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge entries."""
        entries = [message.token for message in messages]
        with self._reaching():
            for chunk in _chunks(entries):
                # Together, because an entry that is acknowledged is delivered to nobody any more.
                with self._client.pipeline(transaction=self._deletes) as request:
                    request.xack(self._stream, self._group, *chunk)
                    if self._deletes:
                        request.xdel(self._stream, *chunk)
                    request.execute()
        for entry in entries:
            self._held.pop(entry, None)

    def give_back(self) -> None:
        """Do nothing: there is nothing that was read and not polled."""

    def lag(self) -> int | None:
        """Return how many entries the group has not read yet, if the server knows that."""
        with self._reaching():
            groups = self._client.xinfo_groups(self._stream)
        for group in groups:
            if group.get("name") == self._group.encode():
                lag = group.get("lag")
                return None if lag is None else int(lag)
        return None

    def close(self) -> None:
        """Leave the group if nothing is pending for this consumer, and disconnect."""
        if self._is_open and not self._held:
            self._is_open = False
            with suppress(redis.RedisError, OSError):
                self._leave()
        with suppress(redis.RedisError, OSError):
            self._client.close()

    def _leave(self) -> None:
        place = (self._stream, self._group)
        name = self._consumer
        if not self._client.xpending_range(*place, "-", "+", 1, consumername=name):
            self._client.xgroup_delconsumer(*place, name)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Raise a failure of the block as `SourceAwayError`."""
        try:
            yield
        except (redis.RedisError, OSError) as error:
            self._is_open = False
            raise SourceAwayError(f"{type(error).__name__}: {error}") from None

    def _read(self, after: bytes, limit: int, timeout_s: float) -> list[Any]:
        answer = self._client.xreadgroup(
            self._group,
            self._consumer,
            {self._stream: after},
            count=limit,
            block=max(1, int(timeout_s * 1000)) if timeout_s > 0 else None,
        )
        return list(answer[0][1]) if answer else []

    def _claim(self, limit: int) -> list[Message]:
        """Take over entries that nobody has touched, a part of them at a time."""
        cursor, entries, *_ = self._client.xautoclaim(
            self._stream,
            self._group,
            self._consumer,
            int(self._claim_s * 1000),
            start_id=self._claim_cursor,
            count=limit,
        )
        self._claim_cursor = cursor
        if cursor == b"0-0":
            self._claim_at = self._now() + self._claim_s / 2
        return list(self._messages(entries))

    def _touch(self) -> None:
        """Keep the entries that are held from being taken over."""
        now_s = self._now()
        if now_s < self._touch_at:
            return
        self._touch_at = now_s + self._claim_s / 3
        place = (self._stream, self._group, self._consumer)
        for chunk in _chunks(list(self._held)):
            self._client.xclaim(*place, 0, chunk, justid=True)

    def _messages(self, entries: Iterable[Any]) -> Iterator[Message]:
        for entry, content in entries:
            if entry in self._held:
                continue
            if not content:
                # It was deleted from the stream after it was read, and nobody can read it any more.
                self._client.xack(self._stream, self._group, entry)
                continue
            self._held[entry] = None
            yield self._message(entry, content)

    def _message(self, entry: bytes, content: Mapping[bytes, bytes]) -> Message:
        headers = {}
        for name, value in content.items():
            if name != self._field:
                with suppress(UnicodeDecodeError):
                    headers[name.decode()] = value.decode()
        return Message(
            self._stream,
            entry,
            {"topic": self._stream, "entry": entry.decode()},
            content.get(self._field, b""),
            headers,
        )


def _chunks(entries: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(entries), _CHUNK):
        yield entries[start : start + _CHUNK]
