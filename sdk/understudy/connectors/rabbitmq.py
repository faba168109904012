"""RabbitMQ as the server of a connector: publisher confirms, any number of them under way.

Queues are declared as durable when they are first put into; one that exists stays as it is. The
messages are persistent and *mandatory*: one for a queue that was deleted meanwhile comes back
before its confirmation, and the queue is declared again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Final

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from understudy.connectors.port import RefusedError, ServerAwayError
from understudy.queues.rabbitmq import EXISTS, FAILURES, TIMEOUT_S, describe, parameters_of

#: how long a confirmation may take; a server without memory or disk gives none
_CONFIRM_S: Final = 20.0
#: names of queues that are remembered as declared
_KNOWN_MAX: Final = 10_000


class RabbitServer:
    """A server of RabbitMQ; see `port.QueueServer`.

    Parameters
    ----------
    url
        An ``amqp://`` or ``amqps://`` URL with user, password and virtual host.

    Raises
    ------
    ConfigurationError
        `url` is none.
    """

    def __init__(self, url: str) -> None:
        self._parameters = parameters_of(url, "the server")
        self._connection: Any = None
        self._channel: Any = None
        self._lost: asyncio.Future[str] | None = None
        self._sent = 0
        #: messages that are not confirmed, by their delivery tags, which count up
        self._unconfirmed: dict[int, asyncio.Future[bool]] = {}
        self._returned: set[int] = set()
        #: queues that were declared: the reason why one may not exist, None if it does
        self._known: dict[str, asyncio.Future[str | None]] = {}

    async def open(self) -> None:
        """Connect, and open the channel for messages."""
        loop = asyncio.get_running_loop()
        self._lost = loop.create_future()
        self._sent = 0
        self._unconfirmed.clear()
        self._returned.clear()
        self._known.clear()
        opened: asyncio.Future[None] = loop.create_future()
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                self._connection = AsyncioConnection(
                    self._parameters,
                    on_open_callback=lambda _: _settle(opened, None),
                    on_open_error_callback=lambda _, error: _fail(opened, error),
                    on_close_callback=lambda _, error: self._on_lost(error),
                    custom_ioloop=loop,
                )
                await opened
                self._channel = await self._open_channel()
                self._channel.add_on_return_callback(self._on_returned)
                self._channel.add_on_close_callback(lambda _, error: self._on_lost(error))
                confirming: asyncio.Future[None] = loop.create_future()
                self._channel.confirm_delivery(
                    self._on_confirmed, callback=lambda _: _settle(confirming, None)
                )
                await confirming
        except FAILURES as error:
            raise ServerAwayError(describe(error)) from None

    async def put(self, queue: str, body: bytes) -> None:
        """Publish a persistent message, and wait until it is confirmed."""
        try:
            async with asyncio.timeout(_CONFIRM_S):
                flaw = await self._declare(queue)
                if await self._publish(queue, body):
                    return
                # It was deleted meanwhile, or could not be declared.
                self._known.pop(queue, None)
                flaw = await self._declare(queue)
                if await self._publish(queue, body):
                    return
        except TimeoutError:
            raise ServerAwayError(f"no confirmation within {_CONFIRM_S:g} s") from None
        except FAILURES as error:
            raise ServerAwayError(describe(error)) from None
        raise RefusedError(flaw or "the queue does not exist")

    async def lost(self) -> str:
        """Return once the connection or its channel has ended."""
        assert self._lost is not None
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is None:
            return
        if not connection.is_closed:
            with suppress(*FAILURES):
                if not connection.is_closing:
                    connection.close()
                # The goodbye is sent by the loop.
                await asyncio.wait([asyncio.ensure_future(self.lost())], timeout=1.0)

    async def _open_channel(self) -> Any:
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._connection.channel(on_open_callback=partial(_settle, opened))
        return await opened

    # Queues --------------------------------------------------------------------------------------

    async def _declare(self, queue: str) -> str | None:
        """Make a queue if need be, once; return why it may not exist."""
        known = self._known.get(queue)
        if known is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[queue] = asyncio.ensure_future(self._make(queue))
        return await asyncio.shield(known)

    async def _make(self, queue: str) -> str | None:
        channel = await self._open_channel()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The server closes the channel if it refuses.
        channel.add_on_close_callback(lambda _, error: _fail(done, error))
        channel.queue_declare(queue, durable=True, callback=lambda _: _settle(done, None))
        try:
            await done
        except pika.exceptions.ChannelClosedByBroker as error:
            return None if error.reply_code == EXISTS else error.reply_text
        channel.close()
        return None

    # Messages ------------------------------------------------------------------------------------

    async def _publish(self, queue: str, body: bytes) -> bool:
        """Return True once the message is kept, False if there is no queue."""
        channel = self._channel
        if channel is None or not channel.is_open:
            raise ServerAwayError("the connection is lost")
        self._sent += 1
        tag = self._sent
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._unconfirmed[tag] = kept
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, correlation_id=str(tag)
        )
        channel.basic_publish("", queue, body, properties, mandatory=True)
        try:
            return await kept
        finally:
            self._unconfirmed.pop(tag, None)

    def _on_returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self._returned.add(int(properties.correlation_id))

    def _on_confirmed(self, frame: Any) -> None:
        method = frame.method
        last = method.delivery_tag
        if method.multiple:
            # They are in order.
            tags = []
            for tag in self._unconfirmed:
                if tag > last:
                    break
                tags.append(tag)
        else:
            tags = [last]
        for tag in tags:
            future = self._unconfirmed.pop(tag, None)
            is_returned = tag in self._returned
            self._returned.discard(tag)
            if future is None:
                continue
            if isinstance(method, pika.spec.Basic.Nack):
                _fail(future, RefusedError("the queue takes no more"))
            else:
                _settle(future, not is_returned)

    def _on_lost(self, error: BaseException) -> None:
        text = describe(error)
        if self._lost is not None:
            _settle(self._lost, text)
        for future in list(self._unconfirmed.values()):
            _fail(future, ServerAwayError(text))


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # It is not missed if nobody waits for it.
