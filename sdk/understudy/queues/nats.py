"""Streams of NATS JetStream, read by a durable pull consumer that all sources of a group share.

The library is one of asyncio, so it has a loop and a thread of its own, where it answers the
server's pings while the feed waits for its broker. Messages that are held for long are kept this
consumer's own (``in progress``); those of a source that died are delivered again after `ack_wait`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from understudy.errors import ConfigurationError
from understudy.queues.addresses import HOW_TO_QUOTE, has_stray_at
from understudy.queues.port import Message, QueueKind, SourceAwayError

KIND: Final = QueueKind(
    "nats",
    {
        "sequence": "the number of the message in its stream",
        "subject": "the subject to which it was published",
        "message_id": "the header Nats-Msg-Id, if the sender has set it",
    },
    [frozenset({"sequence"}), frozenset({"message_id"})],
    "{topic}-{sequence}",
    "nats",
)

#: messages that a group may hold, over all its sources
_ACK_PENDING_MAX: Final = 65_536
_MESSAGE_ID: Final = "Nats-Msg-Id"
FAILURES: Final = (nats.errors.Error, OSError, TimeoutError)
TIMEOUT_S: Final = 10.0
#: How long all attempts to connect may take together, and each of them. Who tries again pauses in
#: between, and looks whether it is to stop.
_CONNECTING_S: Final = 5.0
_CONNECT_S: Final = 3
_PING_S: Final = 5

# Others say in one line what the library logs with tracebacks.
logging.getLogger("nats").setLevel(logging.CRITICAL)

T = TypeVar("T")


class NatsStream:
    """A stream of NATS JetStream; see `port.Source`.

    Parameters
    ----------
    servers
        The servers, as ``nats://`` or ``tls://`` URLs with commas between them.
    stream
        The stream, which must exist. None: the one that has the subject, which is made if there is
        none.
    group
        The durable consumer. It is made if it does not exist, and begins with the oldest message.
    subject
        Only messages of these subjects, if the consumer is made now; None: all of the stream.
    ack_wait_s
        Seconds after which the messages of a dead source are delivered again, if the consumer is
        made now.
    what
        What `servers` are, for messages.
    now
        The clock, in seconds.

    Raises
    ------
    ConfigurationError
        `servers` are no such URLs.
    """

    kind: QueueKind = KIND

    def __init__(
        self,
        servers: str,
        stream: str | None,
        group: str,
        *,
        subject: str | None = None,
        ack_wait_s: float = 30.0,
        what: str = "--server",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers.split(",")
        check_servers(self._servers, what)
        if any(character in group for character in ". *>\t\n"):
            raise ConfigurationError(f"--group {group!r}: NATS allows no dot, space, * or > in it")
        self._stream = stream
        self._group = group
        self._subject = subject
        self._ack_wait_s = ack_wait_s
        self._now = now
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._subscription: Any = None
        #: messages that were polled and are not acknowledged
        self._held: dict[int, Any] = {}
        #: messages that the library has given beyond the limit
        self._spare: deque[Any] = deque()
        self._renew_at = 0.0

    @property
    def place(self) -> str:
        """The stream and its servers."""
        places = [urlsplit(server) for server in self._servers]
        where = ", ".join(f"{each.hostname}:{each.port or 4222}" for each in places)
        what = f"stream {self._stream}" if self._stream else f"subject {self._subject}"
        return f"nats {what} at {where}"

    def open(self) -> None:
        """Connect, and make the consumer if need be."""
        self._held.clear()
        self._spare.clear()
        self._renew_at = self._now()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="understudy-nats", daemon=True
        )
        self._thread.start()
        with _reaching():
            self._run(self._open())

    async def _open(self) -> None:
        self._client = await connect(self._servers)
        jetstream = self._client.jetstream(timeout=TIMEOUT_S)
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_s,
            max_ack_pending=_ACK_PENDING_MAX,
        )
        stream = self._stream or await stream_of(jetstream, self._subject or "")
        self._subscription = await jetstream.pull_subscribe(
            self._subject or "", durable=self._group, stream=stream, config=config
        )
        made = await self._subscription.consumer_info()
        self._ack_wait_s = made.config.ack_wait or self._ack_wait_s

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        """Fetch messages, or only keep those that are held."""
        with _reaching():
            if self._client.is_closed:
                raise nats.errors.ConnectionClosedError
            if self._now() >= self._renew_at:
                self._renew_at = self._now() + self._ack_wait_s / 3
                if self._held:
                    self._run(_each(each.in_progress for each in list(self._held.values())))
            if limit == 0:
                return []
            spare = self._spare
            if not spare:
                spare.extend(self._run(self._fetch(limit, max(timeout_s, 0.01))))
        found = [spare.popleft() for _ in range(min(limit, len(spare)))]
        return [self._message(each) for each in found]

    async def _fetch(self, limit: int, timeout_s: float) -> list[Any]:
        try:
            fetched: list[Any] = await self._subscription.fetch(limit, timeout_s)
        except TimeoutError:
            return []
        return fetched

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, each by itself."""
        with _reaching():
            self._run(_each(message.token.ack for message in messages))
        for message in messages:
            self._held.pop(id(message.token), None)

    def give_back(self) -> None:
        """Give back what was fetched and not polled."""
        spare = list(self._spare)
        self._spare.clear()
        with _reaching():
            self._run(_each(each.nak for each in spare))

    def lag(self) -> int | None:
        """Return how many messages the group was not sent yet."""
        with _reaching():
            info = self._run(self._subscription.consumer_info())
        return None if info.num_pending is None else int(info.num_pending)

    def close(self) -> None:
        """Send the acknowledgments, disconnect, and end the thread."""
        loop, thread, client = self._loop, self._thread, self._client
        if loop is None or thread is None:
            return
        if client is not None:
            with suppress(Exception):
                # It flushes what is to be sent.
                self._run(client.close(), 2.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_cancel_all())
        loop.close()
        self._loop = self._thread = self._client = self._subscription = None

    def _run(self, work: Coroutine[Any, Any, T], timeout_s: float = 2 * TIMEOUT_S) -> T:
        """Have a coroutine run on the loop, and return its result."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def _message(self, raw: Any) -> Message:
        self._held[id(raw)] = raw
        headers = {
            name: value for name, value in (raw.headers or {}).items() if isinstance(value, str)
        }
        return Message(
            self._client,
            raw,
            {
                "topic": self._stream,
                "sequence": str(raw.metadata.sequence.stream),
                "subject": raw.subject,
                "message_id": headers.get(_MESSAGE_ID),
            },
            raw.data,
            headers,
        )


async def _each(methods: Iterator[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    for method in methods:
        await method()


async def _cancel_all() -> None:
    """Cancel the tasks that the library has left behind."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _reaching() -> Iterator[None]:
    """Raise a failure of the block as `SourceAwayError`."""
    try:
        yield
    except NotFoundError as error:
        raise SourceAwayError(f"the stream or its consumer does not exist: {error}") from None
    except FAILURES as error:
        text = str(error) or "no answer in time"
        raise SourceAwayError(f"{type(error).__name__}: {text}") from None


def check_servers(servers: Sequence[str], what: str) -> None:
    """Raise `ConfigurationError` if these are no URLs of servers."""
    for server in servers:
        try:
            address = urlsplit(server)
            _ = address.port  # It raises if that is no number.
            is_one = (
                address.scheme in ("nats", "tls", "ws", "wss")
                and bool(address.hostname)
                and not has_stray_at(server)
            )
        except ValueError:
            is_one = False
        if not is_one:
            # What is wrong may be a part of the password.
            raise ConfigurationError(
                f"{what} is no URL of NATS: write nats://user:password@host:4222; {HOW_TO_QUOTE}"
            ) from None


async def connect(
    servers: Sequence[str], on_closed: Callable[[], Awaitable[None]] | None = None
) -> Any:
    """Connect; a connection that is lost stays lost.

    Raises
    ------
    One of `FAILURES`
        No server was reached in a few seconds: what the last one has said, at once if all refuse.
    """
    flaw: Exception | None = None

    async def note(error: Exception) -> None:
        # Later ones are left to the call that meets them.
        nonlocal flaw
        flaw = error

    client = Client()
    try:
        async with asyncio.timeout(_CONNECTING_S):
            await client.connect(
                servers=list(servers),
                allow_reconnect=False,
                # It would try each server 60 times, with pauses; 0 means for ever.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_S,
                ping_interval=_PING_S,
                error_cb=note,
                closed_cb=on_closed,
            )
    except BaseException as error:
        with suppress(Exception):
            await client.close()
        if isinstance(error, nats.errors.NoServersError) and isinstance(flaw, FAILURES):
            raise flaw from None
        raise
    return client


async def stream_of(jetstream: Any, subject: str) -> str:
    """Return the stream that has a subject; make one, if there is none.

    The new one keeps a message until it is acknowledged, on the disk.
    """
    try:
        found: str = await jetstream.find_stream_name_by_subject(subject)
    except NotFoundError:
        config = StreamConfig(
            name=plain_name(subject),
            subjects=[subject],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
        )
        made = await jetstream.add_stream(config)
        found = made.config.name
    return found


def plain_name(subject: str) -> str:
    """Return a subject as a name that streams and consumers may have.

    Examples
    --------
    >>> plain_name("orders.eu")
    'orders_eu'
    """
    return "".join("_" if each in ". /\\" else each for each in subject)


def flaw_of_subject(subject: str) -> str | None:
    """Return why nothing can be published to a subject; None if it can.

    Examples
    --------
    >>> flaw_of_subject("orders.eu"), flaw_of_subject("orders.>")
    (None, 'a subject has no *, > or white space in it')
    """
    if any(each in "*>" or each.isspace() for each in subject):
        return "a subject has no *, > or white space in it"
    if not all(subject.split(".")):
        return "a subject has something between its dots"
    if subject.startswith("$"):
        return "subjects that begin with $ are the server's own"
    return None
