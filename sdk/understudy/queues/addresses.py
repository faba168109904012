"""Addresses of queues: targets without a secret, and URLs of servers with one. Pure.

A target is ``amqp://mq.internal/orders``. RabbitMQ has virtual hosts and Redis has databases, which
are the *spaces* of names: ``amqp://mq.internal/shop/orders`` is the queue ``orders`` in the virtual
host ``shop``. Without a space it is the usual one, ``/`` and ``0``. A slash in a name is ``%2F``.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from understudy.errors import ConfigurationError, UnderstudyError
from understudy_store.addresses import InvalidAddressError, canonical

#: scheme of a queue: the extra of the distribution that installs its library
EXTRAS: Final = {
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "nats": "nats",
    "redis": "redis",
    "rediss": "redis",
}
#: the module that the library is imported as, by extra
LIBRARIES: Final = {"rabbitmq": "pika", "nats": "nats", "redis": "redis"}
_PORTS: Final = {"amqp": 5672, "amqps": 5671, "nats": 4222, "redis": 6379, "rediss": 6379}
#: the spaces of targets that name none; schemes without an entry have no spaces
_USUAL_SPACES: Final = {"amqp": "/", "amqps": "/", "redis": "0", "rediss": "0"}


#: what to do about an @ or a slash in a password
HOW_TO_QUOTE: Final = "in user and password, write %2F, %40 and %2C for a slash, an @ and a comma"


def has_stray_at(url: str) -> bool:
    """Return whether the URL of a server has an @ after its host, or is no URL.

    Then its password has an unquoted slash, probably: a part of it is taken for a port or a path,
    which are shown.

    Examples
    --------
    >>> has_stray_at("amqp://me:hunt/er2@mq.internal"), has_stray_at("amqp://me:hunter2@mq.internal")
    (True, False)
    """
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        return True
    return "@" in url.partition("://")[2].removeprefix(netloc)


class QueueNameError(UnderstudyError):
    """The path of an address names no queue."""


class QueueName(msgspec.Struct, frozen=True):
    """A queue at its server.

    Attributes
    ----------
    space
        The virtual host or database; empty where there are none.
    name
        The queue, stream or subject.
    """

    space: str
    name: str


def queue_of(address: str) -> QueueName:
    """Return the queue that a target, or the URL of a task source, names.

    Raises
    ------
    QueueNameError

    Examples
    --------
    >>> queue_of("amqp://mq.internal/orders")
    QueueName(space='/', name='orders')
    >>> queue_of("redis://mq.internal:6379/2/orders")
    QueueName(space='2', name='orders')
    """
    parts = urlsplit(address)
    usual = _USUAL_SPACES.get(parts.scheme)
    names = [unquote(each) for each in parts.path.removeprefix("/").split("/")]
    form = "HOST/QUEUE" if usual is None else "HOST/QUEUE or HOST/SPACE/QUEUE"
    if not all(names) or len(names) > (1 if usual is None else 2):
        raise QueueNameError(f"it names no queue: write {parts.scheme}://{form}, with %2F for /")
    return QueueName(names[0] if len(names) > 1 else usual or "", names[-1])


class Server(msgspec.Struct, frozen=True):
    """The server of a connector.

    Attributes
    ----------
    url
        Its URL, with user and password. Several servers of NATS have commas between them.
    scheme
        The scheme of targets.
    space
        The virtual host or database.
    places
        What targets begin with that are for this server.
    label
        The server for people, without a secret.
    """

    url: str
    scheme: str
    space: str
    places: tuple[str, ...]
    label: str

    def __repr__(self) -> str:
        return f"Server({self.label})"


def parse_server(url: str, names: Iterable[str] = (), what: str = "the server") -> Server:
    """Return the server of a URL such as ``amqp://user:password@mq.internal/vhost``.

    Parameters
    ----------
    names
        Other ``HOST[:PORT]`` under which targets name this server.
    what
        What the URL is, for messages. They do not contain it, because it may have a password.

    Raises
    ------
    ConfigurationError

    Examples
    --------
    >>> parse_server("amqp://me:secret@mq.internal").places
    ('amqp://mq.internal', 'amqp://mq.internal/%2F', 'amqp://mq.internal:5672', 'amqp://mq.internal:5672/%2F')
    """
    servers = [each.strip() for each in url.split(",")]
    if any(has_stray_at(each) for each in servers):
        raise ConfigurationError(f"{what} is no URL of a server: {HOW_TO_QUOTE}")
    parts = [urlsplit(each) for each in servers]
    scheme = parts[0].scheme
    if scheme not in EXTRAS or any(each.scheme != scheme for each in parts):
        raise ConfigurationError(
            f"{what} is no URL of a queue's server: write one that begins with "
            f"{', '.join(f'{each}://' for each in EXTRAS)}"
        )
    if len(parts) > 1 and scheme != "nats":
        raise ConfigurationError(f"{what} names several servers, which only nats:// can")
    hosts = [each.netloc.rpartition("@")[2].lower() for each in parts]
    usual = _USUAL_SPACES.get(scheme, "")
    path = parts[0].path.removeprefix("/")
    space = unquote(path) or usual
    if (path and not usual) or "/" in path:
        raise ConfigurationError(
            f"{what} has a path after the host, which names no "
            + ("virtual host or database" if usual else "server: leave it out")
        )
    port = f":{_PORTS[scheme]}"
    places: dict[str, None] = {}
    for host in [*hosts, *(each.lower() for each in names)]:
        bare = host.removesuffix(port)
        has_port = bare != host or not _lacks_port(host)
        for spelled in (host,) if has_port and bare == host else (bare, f"{bare}{port}"):
            place = f"{scheme}://{spelled}"
            _check(f"{place}/queue", what)
            if space == usual:
                places[place] = None
            if usual:
                places[f"{place}/{quote(space, safe='')}"] = None
    shown = f"/{quote(space, safe='')}" if space != usual else ""
    label = f"{scheme}://{','.join(hosts)}{shown}"
    return Server(url, scheme, space, tuple(places), label)


def _lacks_port(host: str) -> bool:
    """Return whether ``HOST[:PORT]`` has no port."""
    return ":" not in host.rpartition("]")[2]


def _check(address: str, what: str) -> None:
    try:
        canonical(address)
    except InvalidAddressError:
        raise ConfigurationError(f"{what} has a host or a port that is none") from None


class TaskSourceAddress(msgspec.Struct, frozen=True):
    """The queue that a runtime takes its tasks from.

    Attributes
    ----------
    server_url
        The server, with user and password.
    scheme
        The scheme of the target.
    queue
        The queue there.
    target
        The address of tasks that are put there, without a secret.
    """

    server_url: str
    scheme: str
    queue: QueueName
    target: str

    def __repr__(self) -> str:
        return f"TaskSourceAddress({self.target})"


def parse_task_source(url: str) -> TaskSourceAddress:
    """Return the queue of a URL such as ``amqp://user:password@mq.internal/orders``.

    Raises
    ------
    ConfigurationError
        It is none. The text has no secret.

    Examples
    --------
    >>> parse_task_source("amqp://me:secret@mq.internal/orders")
    TaskSourceAddress(amqp://mq.internal/orders)
    """
    what = "the task source"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(f"{what} is no URL") from None
    if parts.scheme not in EXTRAS:
        raise ConfigurationError(
            f"{what} is no URL of a queue: write one that begins with "
            f"{', '.join(f'{each}://' for each in EXTRAS)}, such as amqp://mq.internal/orders"
        )
    try:
        queue = queue_of(url)
        host = parts.netloc.rpartition("@")[2]
        target = canonical(f"{parts.scheme}://{host}{parts.path}")
    except QueueNameError as error:
        raise ConfigurationError(f"{what}: {error}") from None
    except (InvalidAddressError, ValueError):
        # The error may have a part of the password in it.
        raise ConfigurationError(
            f"{what} has a host or a port that is none; in user and password, write %2F for / and "
            "%40 for @"
        ) from None
    space = f"/{quote(queue.space, safe='')}" if queue.space else ""
    server_url = parts._replace(path=space, fragment="").geturl()
    return TaskSourceAddress(server_url, parts.scheme, queue, target)


def allows(patterns: Iterable[str], queue: str) -> bool:
    """Return whether a queue is one that may be put into.

    Parameters
    ----------
    patterns
        Names, with ``*`` and ``?`` as in file names.

    Examples
    --------
    >>> allows(["service-*"], "service-baz"), allows(["service-*"], "Service-baz")
    (True, False)
    """
    return any(fnmatchcase(queue, pattern) for pattern in patterns)
