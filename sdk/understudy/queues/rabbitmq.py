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
from pika.exceptions import AMQPError, ChannelClosedByBroker, ChannelError

from understudy.errors import ConfigurationError
from understudy.queues.addresses import has_stray_at
from understudy.queues.port import Message, QueueKind, SourceAwayError

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

#: the most unacknowledged messages of a consumer
_PREFETCH_MAX: Final = 65_535
#: Failures of the library have no common base.
FAILURES: Final = (AMQPError, AMQPConnectorException, ChannelError, OSError)
TIMEOUT_S: Final = 10.0
#: A server that is silent for two and a half times as long is away, unless the URL says otherwise.
_HEARTBEAT_S: Final = 10
#: the queue exists, with other arguments
EXISTS: Final = 406
#: the queue does not exist
MISSING: Final = 404

# Each attempt to connect is logged with its traceback. Others say in one line what matters.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class RabbitQueue:
    """A queue of RabbitMQ; see `port.Source`.

    Parameters
    ----------
    server
        The server, as an ``amqp://`` or ``amqps://`` URL.
    queue
        The queue, which must exist, unless it is made.
    prefetch
        Messages that the server may send ahead of their acknowledgment.
    makes
        Whether the queue is made if it does not exist: a durable one.
    in_order
        Whether messages are acknowledged in the order in which they were polled, as sources do.
    what
        What `server` is, for messages.

    Raises
    ------
    ConfigurationError
        `server` is no such URL.
    """

    kind: QueueKind = KIND

    def __init__(
        self,
        server: str,
        queue: str,
        prefetch: int,
        *,
        makes: bool = False,
        in_order: bool = True,
        what: str = "--server",
    ) -> None:
        self._parameters = parameters_of(server, what)
        self._queue = queue
        self._makes = makes
        self._in_order = in_order
        #: messages that were polled and are not acknowledged, if those come in any order
        self._held: dict[int, None] = {}
        self._prefetch = min(prefetch, _PREFETCH_MAX)
        self._connection: Any = None
        self._channel: Any = None
        #: messages that the server has sent and nobody has polled
        self._arrived: deque[Message] = deque()
        self._canceled = False
        #: the name of this consumer at the server; None: it gets nothing now
        self._consumer: str | None = None

    @property
    def place(self) -> str:
        """The queue and its server."""
        parameters = self._parameters
        return f"rabbitmq queue {self._queue} at {parameters.host}:{parameters.port}"

    def open(self) -> None:
        """Connect, and begin to consume."""
        try:
            self._connection = pika.BlockingConnection(self._parameters)
            if self._makes:
                self._make()
            self._channel = self._connection.channel()
            self._channel.basic_qos(prefetch_count=self._prefetch)
            self._channel.add_on_cancel_callback(self._on_cancel)
            self._consume()
        except FAILURES as error:
            raise _away(error) from None

    def _make(self) -> None:
        try:
            self._connection.channel().queue_declare(self._queue, durable=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != EXISTS:
                raise

    def _consume(self) -> None:
        self._consumer = self._channel.basic_consume(self._queue, self._on_message)

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        """Return messages that have arrived, or wait for some."""
        arrived = self._arrived
        if not arrived or limit == 0:
            try:
                if limit and self._consumer is None:
                    self._consume()
                self._connection.process_data_events(0 if arrived else timeout_s)
            except FAILURES as error:
                raise _away(error) from None
            if self._canceled:
                raise SourceAwayError("the queue was deleted, or its server fails over")
        polled = [arrived.popleft() for _ in range(min(limit, len(arrived)))]
        if not self._in_order:
            self._held.update((message.token, None) for message in polled)
        return polled

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages of this channel."""
        channel = self._channel
        tags = [message.token for message in messages if message.partition is channel]
        try:
            if not self._in_order:
                self._acknowledge_each(tags)
            elif tags:
                channel.basic_ack(tags[-1], multiple=True)
        except FAILURES as error:
            raise _away(error) from None

    def _acknowledge_each(self, tags: Sequence[int]) -> None:
        """Acknowledge the oldest ones together, and each of the others by itself."""
        left = set(tags)
        last = 0
        while self._held and (tag := next(iter(self._held))) in left:
            last = tag
            left.remove(tag)
            del self._held[tag]
        if last:
            self._channel.basic_ack(last, multiple=True)
        for tag in left:
            if self._held.pop(tag, 0) is None:
                self._channel.basic_ack(tag)

    def give_back(self) -> None:
        """Give back what has arrived and was not polled; nothing comes until the next poll."""
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                # What arrives meanwhile is put back by the library.
                self._channel.basic_cancel(consumer)
            while self._arrived:
                self._channel.basic_nack(self._arrived.pop().token, requeue=True)
        except FAILURES as error:
            raise _away(error) from None

    def lag(self) -> int | None:
        """Return how many messages are ready and were not sent to anybody."""
        try:
            declared = self._channel.queue_declare(self._queue, passive=True)
        except FAILURES as error:
            raise _away(error) from None
        return int(declared.method.message_count) + len(self._arrived)

    def close(self) -> None:
        """Disconnect; the server puts back what is not acknowledged."""
        connection, self._connection, self._channel = self._connection, None, None
        self._arrived.clear()
        self._canceled = False
        self._consumer = None
        self._held.clear()
        if connection is not None:
            with suppress(*FAILURES):
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
    return SourceAwayError(describe(error))


def parameters_of(server: str, what: str) -> Any:
    """Return the parameters of a connection.

    Parameters
    ----------
    server
        The server, as an ``amqp://`` or ``amqps://`` URL.
    what
        What the URL is, for messages.

    Raises
    ------
    ConfigurationError
    """
    wrong = ConfigurationError(
        f"{what} is no AMQP URL: write amqp://user:password@host:port/vhost, with %2F and %40 for "
        "/ and @ in user, password and vhost"
    )
    try:
        parameters = pika.URLParameters(server)
        address = urlsplit(server)
    except (ValueError, TypeError):
        raise wrong from None  # Its text may have a part of the password.
    if address.scheme not in ("amqp", "amqps") or has_stray_at(server):
        raise wrong
    if "socket_timeout=" not in address.query:
        parameters.socket_timeout = TIMEOUT_S
    if "stack_timeout=" not in address.query:
        parameters.stack_timeout = TIMEOUT_S
    if "heartbeat=" not in address.query:
        parameters.heartbeat = _HEARTBEAT_S
    return parameters


def describe(error: BaseException) -> str:
    """Return what a failure says."""
    causes = list(error.args) if error.args else []
    text = "; ".join(str(cause) for cause in causes if str(cause)) or repr(error)
    return f"{type(error).__name__}: {text}"
