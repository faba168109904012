"""Queues of RabbitMQ, over AMQP 0-9-1.

A channel is one partition: messages are acknowledged in the order of their delivery, and one
acknowledgment covers all that came before. What is not acknowledged when the channel ends is
delivered again by the server. Poison messages are acknowledged like others, because their promise
has them; nothing is ever put back into the queue, where it would come again at once.

RabbitMQ has no positions. An id is made of what the sender has set, the message id, or of a hash of
the content, if the user asks for that.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelError

from understudy.errors import ConfigurationError
from understudy.sources.port import Message, QueueKind, SourceAwayError

KIND: Final = QueueKind(
    "rabbitmq",
    {
        "message_id": "the message id that the sender has set",
        "message_id_or_hash": "the same, and a hash of the content of messages without one",
        "routing_key": "the routing key",
    },
    [frozenset({"message_id"}), frozenset({"message_id_or_hash"})],
    "{message_id}",
    "rabbitmq",
)

#: Failures of the library have no common base.
_FAILURES: Final = (AMQPError, AMQPConnectorException, ChannelError, OSError)
#: the most unacknowledged messages of a consumer
_PREFETCH_MAX: Final = 65_535
_TIMEOUT_S: Final = 10.0
#: A server that is silent for two and a half times as long is away, unless the URL says otherwise.
_HEARTBEAT_S: Final = 10

# Each attempt to connect is logged with its traceback. The feed says in one line what matters.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class RabbitQueue:
    """A queue of RabbitMQ; see `port.Source`.

    Parameters
    ----------
    server
        The server, as an ``amqp://`` or ``amqps://`` URL.
    queue
        The queue, which must exist.
    prefetch
        Messages that the server may send ahead of their acknowledgment.

    Raises
    ------
    ConfigurationError
        `server` is no such URL.
    """

    kind: QueueKind = KIND

    def __init__(self, server: str, queue: str, prefetch: int) -> None:
        try:
            self._parameters = pika.URLParameters(server)
            address = urlsplit(server)
            valid = address.scheme in ("amqp", "amqps")
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"--server is no AMQP URL: {error}") from None
        if not valid:
            raise ConfigurationError(
                "--server is no AMQP URL: write amqp://user:password@host:port/vhost"
            )
        parameters = self._parameters
        if "socket_timeout=" not in address.query:
            parameters.socket_timeout = _TIMEOUT_S
        if "stack_timeout=" not in address.query:
            parameters.stack_timeout = _TIMEOUT_S
        if "heartbeat=" not in address.query:
            parameters.heartbeat = _HEARTBEAT_S
        self._queue = queue
        self._prefetch = min(prefetch, _PREFETCH_MAX)
        self._connection: Any = None
        self._channel: Any = None
        #: messages that the server has sent and nobody has polled
        self._arrived: deque[Message] = deque()
        self._canceled = False

    @property
    def place(self) -> str:
        """The queue and its server."""
        parameters = self._parameters
        return f"rabbitmq queue {self._queue} at {parameters.host}:{parameters.port}"

    def open(self) -> None:
        """Connect, and begin to consume."""
        try:
            self._connection = pika.BlockingConnection(self._parameters)
            self._channel = self._connection.channel()
            self._channel.basic_qos(prefetch_count=self._prefetch)
            self._channel.add_on_cancel_callback(self._on_cancel)
            self._channel.basic_consume(self._queue, self._on_message)
        except _FAILURES as error:
            raise _away(error) from None

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        """Return messages that have arrived, or wait for some."""
        arrived = self._arrived
        if not arrived or limit == 0:
            try:
                self._connection.process_data_events(0 if arrived else timeout_s)
            except _FAILURES as error:
                raise _away(error) from None
            if self._canceled:
                raise SourceAwayError("the queue was deleted, or its server fails over")
        return [arrived.popleft() for _ in range(min(limit, len(arrived)))]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge all messages up to the last of this channel."""
        channel = self._channel
        tags = [message.token for message in messages if message.partition is channel]
        if tags:
            try:
                channel.basic_ack(tags[-1], multiple=True)
            except _FAILURES as error:
                raise _away(error) from None

    def lag(self) -> int | None:
        """Return how many messages are ready and were not sent to anybody."""
        try:
            declared = self._channel.queue_declare(self._queue, passive=True)
        except _FAILURES as error:
            raise _away(error) from None
        return int(declared.method.message_count) + len(self._arrived)

    def close(self) -> None:
        """Disconnect; the server puts back what is not acknowledged."""
        connection, self._connection, self._channel = self._connection, None, None
        self._arrived.clear()
        self._canceled = False
        if connection is not None:
            with suppress(*_FAILURES):
                connection.close()

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        headers = properties.headers
        self._arrived.append(
            Message(
                channel,
                method.delivery_tag,
                {
                    "topic": self._queue,
                    "message_id": properties.message_id,
                    "routing_key": method.routing_key,
                },
                body,
                {k: v for k, v in headers.items() if isinstance(v, str)} if headers else {},
            )
        )

    def _on_cancel(self, _frame: Any) -> None:
        self._canceled = True


def _away(error: Exception) -> SourceAwayError:
    causes = list(error.args) if error.args else []
    text = "; ".join(str(cause) for cause in causes if str(cause)) or repr(error)
    return SourceAwayError(f"{type(error).__name__}: {text}")
