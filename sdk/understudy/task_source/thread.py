"""The thread of a task source."""

from __future__ import annotations

import logging
import threading
from typing import Final

from understudy.queues.addresses import TaskSourceAddress
from understudy.task_source.feed import Taker, TaskFeed
from understudy.task_source.queues import open_queue

#: how long after an error that nobody has foreseen the feed begins anew
_AGAIN_S: Final = 1.0

_LOG: Final = logging.getLogger("understudy")


class TaskSourceThread:
    """Takes tasks from a queue until it is stopped.

    Parameters
    ----------
    address
        The queue.
    taker
        Acquires and performs the tasks.
    concurrency
        How many functions may run at a time.

    Raises
    ------
    ConfigurationError
        The queue cannot be used at all.
    """

    def __init__(self, address: TaskSourceAddress, taker: Taker, concurrency: int) -> None:
        self._address = address
        self._taker = taker
        self._concurrency = concurrency
        self._queue = open_queue(address, concurrency)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="understudy-task-source", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take no more tasks, and acknowledge the messages of those that were acquired."""
        self._stopped.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                TaskFeed(self._queue, self._taker).run(self._stopped.is_set)
            except Exception:
                _LOG.exception("%s: trouble; it is opened again", self._queue.place)
                self._stopped.wait(_AGAIN_S)
