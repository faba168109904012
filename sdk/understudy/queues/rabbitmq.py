"""RabbitMQ: how to connect to it, and what its failures say."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import urlsplit

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelError

from understudy.errors import ConfigurationError

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
    if address.scheme not in ("amqp", "amqps"):
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
