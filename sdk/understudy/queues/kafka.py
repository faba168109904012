"""Topics of Kafka, read by a consumer group.

Offsets are committed by hand: in each partition up to the first message that is not stored. Commits
are gathered for a moment; before a partition goes to another member of the group, and at the end,
they are sent and waited for.

A partition that comes back after it was gone is another one for the feed, because the *assignment*
is a part of its name. So an acknowledgment from before is recognized, and ignored: the messages
have been delivered to somebody else by then.

The library keeps the membership alive by itself, as long as it is polled. At the bound the
partitions are paused, and polling brings no messages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from understudy.errors import ConfigurationError
from understudy.queues.port import Message, QueueKind, SourceAwayError

KIND: Final = QueueKind(
    "kafka",
    {
        "partition": "the number of the partition",
        "offset": "the offset in the partition",
        "key": "the key of the message, if it is text",
    },
    [frozenset({"partition", "offset"}), frozenset({"key"})],
    "{topic}-{partition}-{offset}",
    "kafka",
)

_LOG: Final = logging.getLogger("understudy.sources")

_CONNECT_S: Final = 3.0
#: how long leaving the group may take
_LEAVE_S: Final = 5.0
#: how long commits are gathered
_COMMIT_S: Final = 0.2
#: How long the bound lasts until the partitions are paused. The library drops what it has fetched
#: ahead then, so it is not done for each short wait.
_PAUSE_AFTER_S: Final = 1.0
#: settings that would break the promise of the source
_RESERVED: Final = frozenset({"enable.auto.commit", "enable.auto.offset.store", "group.id"})


class KafkaTopic:
    """A topic of Kafka; see `port.Source`.

    Parameters
    ----------
    servers
        Addresses of some of its brokers, with commas between them.
    topic
        The topic, which must exist.
    group
        The consumer group. A new one begins with the oldest message.
    settings
        More settings of the library (librdkafka), by their names.
    now
        The clock, in seconds.

    Raises
    ------
    ConfigurationError
        A setting that the library does not know, or that is not the user's to make.
    """

    kind: QueueKind = KIND

    def __init__(
        self,
        servers: str,
        topic: str,
        group: str,
        settings: Mapping[str, str] | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or {}
        if taken := _RESERVED & settings.keys():
            raise ConfigurationError(f"--setting {min(taken)}: the source itself sets it")
        if "@" in servers:
            raise ConfigurationError(
                "--server has an @, but no user and no password belong into it: give them with "
                "--setting sasl.username=... and --setting sasl.password=..."
            )
        self._servers = servers
        self._topic = topic
        self._now = now
        self._settings: dict[str, Any] = {
            "bootstrap.servers": servers,
            "client.id": "understudy-source",
            "auto.offset.reset": "earliest",
            # A member that joins or leaves does not stop the others.
            "partition.assignment.strategy": "cooperative-sticky",
            # fetched ahead, in KiB: its own default is 64 MiB
            "queued.max.messages.kbytes": "16384",
            # What matters is told by the feed.
            "log_level": "0",
            **settings,
            "group.id": group,
            "enable.auto.commit": False,
        }
        try:
            Consumer(self._settings).close()
        except KafkaException as error:
            raise ConfigurationError(f"--setting: {error.args[0].str()}") from None
        self._consumer: Any = None
        self._down: str | None = None
        self._assignments = count(1)
        #: the partitions that are this member's, each with the number of its assignment
        self._assigned: dict[int, int] = {}
        #: by partition: the offset behind the last message that is acknowledged
        self._offsets: dict[int, int] = {}
        #: the partitions whose offset is to be committed
        self._dirty: set[int] = set()
        self._commit_at = 0.0
        #: messages that came when none was wanted
        self._spare: deque[Message] = deque()
        self._full_since: float | None = None
        #: partitions are paused, perhaps not all
        self._paused = False
        #: partitions have come since
        self._has_new = False

    @property
    def place(self) -> str:
        """The topic and its servers."""
        return f"kafka topic {self._topic} at {self._servers}"

    def open(self) -> None:
        """Join the group, once a server answers that knows the topic."""
        self._down, self._full_since, self._paused = None, None, False
        self._assigned.clear()
        self._offsets.clear()
        self._dirty.clear()
        self._spare.clear()
        with _reaching():
            self._consumer = self._new_consumer()
            found = self._consumer.list_topics(self._topic, timeout=_CONNECT_S)
            if (error := found.topics[self._topic].error) is not None:
                raise SourceAwayError(error.str())
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )

    def _new_consumer(self) -> Any:
        """Make a member, whose reports count as long as it is the one of this source."""
        made: list[Any] = []

        def is_mine() -> bool:
            return bool(made) and made[0] is self._consumer

        def on_commit(error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
            if is_mine():
                self._on_commit(error, partitions)

        def on_error(error: KafkaError) -> None:
            if is_mine():
                self._on_error(error)

        made.append(Consumer({**self._settings, "on_commit": on_commit, "error_cb": on_error}))
        return made[0]

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        """Return messages; without a limit, only stay a member."""
        with _reaching():
            if limit == 0:
                self._attend()
                found: list[Message] = []
            else:
                found = self._take(limit, timeout_s)
            self._commit_if_due()
        if self._down is not None:
            raise SourceAwayError(self._down)
        return found

    def _take(self, limit: int, timeout_s: float) -> list[Message]:
        self._full_since = None
        consumer = self._consumer
        if self._paused:
            self._paused = False
            consumer.resume(consumer.assignment())
        spare = self._spare
        if not spare:
            # `consume` alone would wait for the whole batch.
            first = consumer.poll(timeout_s)
            if first is not None:
                spare.append(self._message(first))
                if limit > 1:
                    spare.extend(map(self._message, consumer.consume(limit - 1, 0)))
        found = [spare.popleft() for _ in range(min(limit, len(spare)))]
        return [each for each in found if self._is_current(each)]

    def _attend(self) -> None:
        """Take part in rebalances, and take no messages, or hardly any."""
        now_s = self._now()
        if self._full_since is None:
            self._full_since = now_s
        if now_s < self._full_since + _PAUSE_AFTER_S:
            return
        consumer = self._consumer
        if not self._paused or self._has_new:
            self._paused, self._has_new = True, False
            consumer.pause(consumer.assignment())
        raw = consumer.poll(0)
        if raw is not None:
            self._spare.append(self._message(raw))

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Note the offsets, and commit them now and then."""
        for message in messages:
            if self._is_current(message):
                partition, offset = message.token
                self._offsets[partition] = offset + 1
                self._dirty.add(partition)
        with _reaching():
            self._commit_if_due()

    def lag(self) -> int | None:
        """Return how many messages of this member's partitions are not polled, if that is known."""
        lag = 0
        with _reaching():
            for at in self._consumer.position(self._consumer.assignment()):
                _, end = self._consumer.get_watermark_offsets(at, cached=True)
                if at.offset < 0 or end < 0:
                    return None
                lag += max(0, end - at.offset)
        return lag

    def close(self) -> None:
        """Commit what is stored, and leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        offsets = [] if self._down is not None else self._take_dirty()
        self._assigned.clear()
        # The library waits for servers here, however long they are away.
        leaving = threading.Thread(target=_leave, args=(consumer, offsets), daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S if self._down is None else 0.0)

    # Commits -------------------------------------------------------------------------------------

    def _commit_if_due(self) -> None:
        if self._dirty and self._now() >= self._commit_at:
            self._commit_at = self._now() + _COMMIT_S
            self._consumer.commit(offsets=self._take_dirty(), asynchronous=True)

    def _commit_and_wait(self) -> None:
        """Commit before partitions go. If that fails, their messages come again somewhere."""
        if self._dirty and self._down is None:
            with suppress(KafkaException, RuntimeError):
                self._consumer.commit(offsets=self._take_dirty(), asynchronous=False)

    def _take_dirty(self) -> list[TopicPartition]:
        dirty, self._dirty = self._dirty, set()
        return [TopicPartition(self._topic, number, self._offsets[number]) for number in dirty]

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """Plan to commit again where it has failed: what is the latest by then, never less."""
        failed = {each.partition for each in partitions or () if error or each.error}
        self._dirty |= failed & self._offsets.keys()

    # Rebalances ----------------------------------------------------------------------------------

    def _on_assign(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        for each in partitions:
            self._assigned[each.partition] = next(self._assignments)
        # They are not paused yet, and those that stay are as they were.
        self._has_new = True
        self._tell()

    def _on_revoke(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._commit_and_wait()
            self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        for each in partitions:
            self._assigned.pop(each.partition, None)
            self._offsets.pop(each.partition, None)
            self._dirty.discard(each.partition)
        self._tell()

    def _tell(self) -> None:
        numbers = ", ".join(map(str, sorted(self._assigned))) or "none"
        _LOG.info("%s: this source has the partitions %s", self.place, numbers)

    def _is_current(self, message: Message) -> bool:
        partition, _ = message.token
        return (partition, self._assigned.get(partition)) == message.partition

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN or error.fatal():
            self._down = error.str()

    def _message(self, raw: Any) -> Message:
        error = raw.error()
        if error is not None:
            raise SourceAwayError(error.str())
        partition, offset = raw.partition(), raw.offset()
        return Message(
            (partition, self._assigned.get(partition)),
            (partition, offset),
            {
                "topic": self._topic,
                "partition": str(partition),
                "offset": str(offset),
                "key": _text(raw.key()),
            },
            raw.value() or b"",
            _headers(raw.headers()),
        )


def _leave(consumer: Any, offsets: Sequence[TopicPartition]) -> None:
    """Commit offsets and leave the group; on a thread of its own."""
    with suppress(KafkaException, RuntimeError):
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=False)
    with suppress(KafkaException, RuntimeError):
        consumer.close()


def _text(data: bytes | str | None) -> str | None:
    if not isinstance(data, bytes):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _headers(raw: Sequence[tuple[str, bytes | str | None]] | None) -> dict[str, str]:
    texts = ((name, _text(value)) for name, value in raw or ())
    return {name: text for name, text in texts if text is not None}


@contextmanager
def _reaching() -> Iterator[None]:
    """Raise a failure of the block as `SourceAwayError`."""
    try:
        yield
    except KafkaException as error:
        cause = error.args[0]
        text = cause.str() if isinstance(cause, KafkaError) else str(cause)
        raise SourceAwayError(text) from None
    except RuntimeError as error:
        # The library raises it for a consumer that it has closed.
        raise SourceAwayError(str(error)) from None
