"""NATS JetStream: how to connect to it, and which stream has a subject."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import nats
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from understudy.errors import ConfigurationError

FAILURES: Final = (nats.errors.Error, OSError, TimeoutError)
TIMEOUT_S: Final = 10.0
_PING_S: Final = 5

# Others say in one line what the library logs with tracebacks.
logging.getLogger("nats").setLevel(logging.CRITICAL)


def check_servers(servers: Sequence[str], what: str) -> None:
    """Raise `ConfigurationError` if these are no URLs of servers."""
    for server in servers:
        address = urlsplit(server)
        if address.scheme not in ("nats", "tls", "ws", "wss") or not address.hostname:
            raise ConfigurationError(f"{what} is no URL of NATS: write nats://host:4222")


async def connect(
    servers: Sequence[str], on_closed: Callable[[], Awaitable[None]] | None = None
) -> Any:
    """Connect; a connection that is lost stays lost."""
    return await nats.connect(
        servers=list(servers),
        allow_reconnect=False,
        connect_timeout=int(TIMEOUT_S),
        ping_interval=_PING_S,
        error_cb=_ignore,
        closed_cb=on_closed,
    )


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


async def _ignore(_error: Exception) -> None:
    """Leave errors to the call that meets them."""
