"""Redis as the server of a connector: entries of streams, many in one request.

An entry is confirmed by the reply to ``XADD``. Whether it outlives the server is a matter of the
server's settings: with ``appendonly yes`` and ``appendfsync everysec``, a second may be lost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final, NamedTuple

import redis
import redis.asyncio

from understudy.connectors.port import RefusedError, ServerAwayError
from understudy.errors import ConfigurationError

#: the field of an entry that holds the message, as `understudy source redis` has it
FIELD: Final = "body"
_TIMEOUT_S: Final = 5.0
_BATCH_MAX: Final = 256
#: how often a connection without work is looked at
_LOOK_S: Final = 2.0


class _Entry(NamedTuple):
    stream: str
    body: bytes
    done: asyncio.Future[None]


class RedisServer:
    """A server of Redis; see `port.QueueServer`.

    Parameters
    ----------
    url
        A ``redis://`` or ``rediss://`` URL.

    Raises
    ------
    ConfigurationError
        It is none.
    """

    def __init__(self, url: str) -> None:
        try:
            redis.Redis.from_url(url).close()
        except ValueError:
            raise ConfigurationError(
                "the server is no URL of Redis: write redis://user:password@host:port/0"
            ) from None
        self._url = url
        self._client: Any = None
        self._waiting: list[_Entry] = []
        self._flushing: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[str] | None = None

    async def open(self) -> None:
        """Connect."""
        self._lost = asyncio.get_running_loop().create_future()
        self._client = redis.asyncio.Redis.from_url(
            self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, protocol=2
        )
        try:
            await self._client.ping()
        except (redis.RedisError, OSError) as error:
            raise ServerAwayError(_text(error)) from None

    async def put(self, queue: str, body: bytes) -> None:
        """Add an entry to a stream; those that come meanwhile are sent together."""
        if self._lost is None or self._lost.done():
            raise ServerAwayError("the connection is lost")
        entry = _Entry(queue, body, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        if self._flushing is None:
            self._flushing = asyncio.ensure_future(self._flush())
        await entry.done

    async def lost(self) -> str:
        """Return once a request has failed; now and then one is made for that."""
        assert self._lost is not None
        while True:
            done, _ = await asyncio.wait([self._lost], timeout=_LOOK_S)
            if done:
                return self._lost.result()
            try:
                await self._client.ping()
            except (redis.RedisError, OSError) as error:
                return _text(error)

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(redis.RedisError, OSError):
                await client.aclose()

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH_MAX], self._waiting[_BATCH_MAX:]
                await self._add(batch)
        finally:
            self._flushing = None

    async def _add(self, batch: list[_Entry]) -> None:
        try:
            pipeline = self._client.pipeline(transaction=False)
            for entry in batch:
                pipeline.xadd(entry.stream, {FIELD: entry.body})
            answers = await pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError, AttributeError) as error:
            text = _text(error)
            answers = [ServerAwayError(text)] * len(batch)
            if self._lost is not None and not self._lost.done():
                self._lost.set_result(text)
        for entry, answer in zip(batch, answers, strict=True):
            if entry.done.done():
                continue
            if isinstance(answer, redis.ResponseError):
                entry.done.set_exception(RefusedError(str(answer)))
            elif isinstance(answer, Exception):
                entry.done.set_exception(ServerAwayError(str(answer)))
            else:
                entry.done.set_result(None)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
