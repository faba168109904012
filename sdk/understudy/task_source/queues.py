"""The queue of a task source, by its address."""

from __future__ import annotations

import platform
import secrets
from importlib import import_module
from typing import Any, Final

from understudy import extras
from understudy.errors import ConfigurationError
from understudy.queues.addresses import EXTRAS, LIBRARIES, TaskSourceAddress
from understudy.task_source.feed import TaskQueue

#: the consumer group of all processes that take tasks from a stream
GROUP: Final = "understudy-tasks"
#: the most messages that are sent ahead of their acknowledgment
_PREFETCH_MAX: Final = 1_024
#: Messages that a process had which died are delivered again after this time. They are held for
#: moments only, and kept one's own meanwhile, so it may be short.
_DEAD_S: Final = 5.0
_WHAT: Final = "the task source"


def open_queue(address: TaskSourceAddress, concurrency: int) -> TaskQueue:
    """Return the queue of an address, which is not connected yet.

    Parameters
    ----------
    concurrency
        How many functions may run at a time in this process.

    Raises
    ------
    ConfigurationError
        Its library is not installed, or the server's URL cannot be used.
    """
    extra = EXTRAS[address.scheme]
    if missing := extras.missing(LIBRARIES[extra]):
        user = f"a task source of {address.scheme}://"
        raise ConfigurationError(extras.advice(user, missing, extra))
    module: Any = import_module(f"understudy.queues.{extra}")
    server, name = address.server_url, address.queue.name
    queue: TaskQueue
    if extra == "rabbitmq":
        prefetch = min(_PREFETCH_MAX, 2 * concurrency)
        queue = module.RabbitQueue(server, name, prefetch, makes=True, what=_WHAT)
    elif extra == "nats":
        from understudy.queues.nats import plain_name

        group = f"{GROUP}-{plain_name(name)}"
        queue = module.NatsStream(server, None, group, subject=name, ack_wait_s=_DEAD_S, what=_WHAT)
    else:
        consumer = f"{platform.node()}-{secrets.token_hex(4)}"
        queue = module.RedisStream(
            server, name, GROUP, consumer, claim_s=_DEAD_S, deletes=True, what=_WHAT
        )
    return queue
