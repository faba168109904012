"""Queues of Amazon SQS, and of servers that speak its protocol.

A message that was received is invisible to others for the visibility timeout; one that is held for
longer, because no broker answers, has that extended. A message whose source died becomes visible by
itself, and a source that ends in order makes those visible at once that it has not filed.

A request brings ten messages at most, so several are under way at a time while messages come; one,
which waits at the server, while none do. Each message is acknowledged by itself, in any order: the
server keeps the order within the groups of a FIFO queue.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from understudy.errors import ConfigurationError
from understudy.queues.port import Message, QueueKind, SourceAwayError

_FIELDS: Final = {"message_id": "the id that SQS has given the message"}
STANDARD: Final = QueueKind(
    "sqs", _FIELDS, [frozenset({"message_id"})], "{topic}-{message_id}", "sqs"
)
FIFO: Final = QueueKind(
    "sqs",
    {
        **_FIELDS,
        "dedup_id": "the deduplication id that the sender has set",
        "group_id": "the message group",
    },
    [frozenset({"message_id"}), frozenset({"dedup_id"})],
    "{topic}-{dedup_id}",
    "sqs",
)
_FIFO_SUFFIX: Final = ".fifo"

#: messages, or receipts, of one request
_BATCH: Final = 10
#: requests under way at a time
_REQUESTS_MAX: Final = 8
#: How long a request waits at the server for messages. A stop waits for it.
_WAIT_S: Final = 2
_TIMEOUT_S: Final = 10

# At this level it tells each time where it has found its keys.
logging.getLogger("botocore").setLevel(logging.WARNING)


class SqsQueue:
    """A queue of SQS; see `port.Source`. Keys come from where the library finds them (boto3).

    Parameters
    ----------
    server
        The URL of the server; None: that of the region.
    queue
        The name of the queue, which must exist.
    region
        The region; None: that of the environment.
    visibility_s
        Seconds after which the messages of a dead source are delivered again; None: as the queue
        has it.
    now
        The clock, in seconds.

    Raises
    ------
    ConfigurationError
        There is no region, or `server` is no URL.
    """

    def __init__(
        self,
        server: str | None,
        queue: str,
        *,
        region: str | None = None,
        visibility_s: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind: QueueKind = FIFO if queue.endswith(_FIFO_SUFFIX) else STANDARD
        config = Config(
            connect_timeout=_TIMEOUT_S,
            read_timeout=_TIMEOUT_S + _WAIT_S,
            retries={"total_max_attempts": 1},
            max_pool_connections=_REQUESTS_MAX,
        )
        if server is not None and "@" in server:
            raise ConfigurationError(
                "--server has a user or a password, which SQS has not: AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY say who you are"
            )
        try:
            self._client: Any = boto3.client(
                "sqs", endpoint_url=server, region_name=region, config=config
            )
        except NoRegionError:
            raise ConfigurationError(
                "SQS needs a region: give --region, or set AWS_DEFAULT_REGION"
            ) from None
        except (ValueError, BotoCoreError):
            # The error may have a password in it.
            raise ConfigurationError(
                "--server is no URL of SQS: write https://host:port, or leave it out for AWS"
            ) from None
        self._server = urlsplit(self._client.meta.endpoint_url).netloc.rpartition("@")[2]
        self._queue = queue
        self._visibility_asked_s = visibility_s
        self._visibility_s = visibility_s or 30
        self._now = now
        self._url = ""
        self._pool: ThreadPoolExecutor | None = None
        self._receiving: set[Future[Any]] = set()
        self._is_busy = False
        self._arrived: deque[Any] = deque()
        #: receipts of messages that are not acknowledged, each with the time until which it is ours
        self._held: dict[str, float] = {}

    @property
    def place(self) -> str:
        """The queue and its server."""
        return f"sqs queue {self._queue} at {self._server}"

    def open(self) -> None:
        """Find the queue."""
        self._held.clear()
        self._arrived.clear()
        self._receiving.clear()
        self._is_busy = False
        with _reaching():
            self._url = self._client.get_queue_url(QueueName=self._queue)["QueueUrl"]
            if self._visibility_asked_s is None:
                self._visibility_s = int(self._attribute("VisibilityTimeout") or 30)
        self._pool = ThreadPoolExecutor(_REQUESTS_MAX, thread_name_prefix="understudy-sqs")

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        """Return messages that requests have brought, and have more requests sent."""
        with _reaching():
            self._extend()
            if limit > 0:
                self._request(limit)
            if self._receiving and not self._arrived:
                wait(self._receiving, timeout_s, FIRST_COMPLETED)
            self._collect()
            if limit > 0:
                self._request(limit)
        arrived = self._arrived
        return [self._message(arrived.popleft()) for _ in range(min(limit, len(arrived)))]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Delete messages. One that cannot be deleted comes again."""
        receipts = [message.token for message in messages]
        for receipt in receipts:
            self._held.pop(receipt, None)
        self._in_batches(self._client.delete_message_batch, [(each, {}) for each in receipts])

    def lag(self) -> int | None:
        """Return about how many messages are visible."""
        with _reaching():
            count = self._attribute("ApproximateNumberOfMessages")
        return None if count is None else int(count)

    def close(self) -> None:
        """Make the messages visible that are not filed."""
        pool = self._pool
        if pool is None:
            return
        if self._receiving:
            wait(self._receiving, _WAIT_S + 1)
        with suppress(SourceAwayError):
            with _reaching():
                self._collect()
            receipts = [*self._held, *(raw["ReceiptHandle"] for raw in self._arrived)]
            self._change_visibility(receipts, 0)
        pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None

    # Requests ------------------------------------------------------------------------------------

    def _request(self, limit: int) -> None:
        """Send requests for at most so many messages, with those that are under way."""
        assert self._pool is not None
        requests_max = _REQUESTS_MAX if self._is_busy else 1
        while len(self._receiving) < requests_max:
            room = limit - len(self._arrived) - len(self._receiving) * _BATCH
            if room < min(limit, _BATCH):
                return
            self._receiving.add(self._pool.submit(self._receive, min(room, _BATCH)))

    def _receive(self, count: int) -> list[Any]:
        found: list[Any] = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=count,
            WaitTimeSeconds=_WAIT_S,
            VisibilityTimeout=self._visibility_s,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        return found

    def _collect(self) -> None:
        """Take the messages of requests that are done."""
        done = [each for each in self._receiving if each.done()]
        self._receiving.difference_update(done)
        for each in done:
            messages = each.result()
            # With fewer, the queue is empty, or nearly: one request that waits will do.
            self._is_busy = len(messages) == _BATCH
            until = self._now() + self._visibility_s
            for raw in messages:
                self._held[raw["ReceiptHandle"]] = until
            self._arrived.extend(messages)

    def _extend(self) -> None:
        """Extend the visibility timeout of messages of which half is over."""
        now_s = self._now()
        late = [
            receipt
            for receipt, until in self._held.items()
            if until - now_s < self._visibility_s / 2
        ]
        if late:
            self._change_visibility(late, self._visibility_s)
            for receipt in late:
                self._held[receipt] = now_s + self._visibility_s

    def _change_visibility(self, receipts: Sequence[str], visibility_s: int) -> None:
        more = {"VisibilityTimeout": visibility_s}
        self._in_batches(
            self._client.change_message_visibility_batch, [(each, more) for each in receipts]
        )

    def _in_batches(
        self, request: Callable[..., Any], entries: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Send requests about receipts, several at a time."""
        assert self._pool is not None
        sent = []
        for start in range(0, len(entries), _BATCH):
            batch = [
                {"Id": str(number), "ReceiptHandle": receipt, **more}
                for number, (receipt, more) in enumerate(entries[start : start + _BATCH])
            ]
            sent.append(self._pool.submit(request, QueueUrl=self._url, Entries=batch))
        with _reaching():
            for each in sent:
                each.result()

    def _attribute(self, name: str) -> str | None:
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])
        value: str | None = answer.get("Attributes", {}).get(name)
        return value

    def _message(self, raw: Any) -> Message:
        attributes = raw.get("Attributes", {})
        headers = {
            name: value["StringValue"]
            for name, value in raw.get("MessageAttributes", {}).items()
            if "StringValue" in value
        }
        receipt = raw["ReceiptHandle"]
        return Message(
            receipt,
            receipt,
            {
                "topic": self._queue,
                "message_id": raw.get("MessageId"),
                "dedup_id": attributes.get("MessageDeduplicationId"),
                "group_id": attributes.get("MessageGroupId"),
            },
            raw.get("Body", "").encode("utf-8", "surrogatepass"),
            headers,
        )


@contextmanager
def _reaching() -> Iterator[None]:
    """Raise a failure of the block as `SourceAwayError`."""
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise SourceAwayError(str(error)) from None
