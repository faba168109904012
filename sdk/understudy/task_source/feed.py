"""The loop of a task source: poll, acquire, acknowledge. It is the same for all queues.

How it works
------------
Messages are taken while there is room for functions. Each names a task and its version, and the
runtime acquires it, over its link. A message is acknowledged once that is answered: the task is
this process's own then, with a lease in the store, or it does not wait any more: the message is a
repetition. So no message is lost if this process dies, and a task is performed once however often
it is in the queue.

Without room nothing is polled. What the server has sent ahead is given back after a moment, so that
it does not wait here while other processes are idle.

What is no offer of a task is dropped, counted, and said in the log now and then. Nothing that a
queue holds can end the loop.

Of several brokers one may be away. Messages about its tasks are kept for a while, and acknowledged
then, so that they do not take the places of others: the broker offers the tasks again, when it is
started, or later. If none answers, there is no room, and nothing is taken.

What is not perfect
-------------------
- A broker that is alive, but cannot be reached for longer than that, offers such tasks again only
  at the time that the connector has named.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Final, NamedTuple, Protocol

from understudy.errors import CommandError, UnderstudyError
from understudy.printable import printable_line
from understudy.queues.obstacles import trouble
from understudy.queues.port import Message, Source, SourceAwayError
from understudy.queues.window import Entry, Window
from understudy.task_source.messages import NoTaskError, Offer, parse_offer

#: the most messages of one poll
BATCH_MAX: Final = 512
#: messages, and bytes of them, that are not acknowledged
_COUNT_MAX: Final = 16_384
_BYTES_MAX: Final = 64 * 1024 * 1024
#: how long a turn waits while something is under way, and while nothing is
_BUSY_S: Final = 0.005
_IDLE_S: Final = 0.25
#: how long there is no room before what was sent ahead is given back
_HOARD_S: Final = 0.5
#: pauses between attempts to reach the queue
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 10.0
#: how long an acquire waits until it is tried again, and how often that is done
_AGAIN_S: Final = 1.0
_TRIES_MAX: Final = 3
#: how often the log repeats that messages were dropped
_REPEAT_S: Final = 30.0
#: how long answers that are due may take once the process is to end
DRAIN_S: Final = 3.0

_LOG: Final = logging.getLogger("understudy")


class TaskQueue(Source, Protocol):
    """A queue as this loop uses it: a `Source` that can also give back."""

    def give_back(self) -> None:
        """Give back what was sent ahead and not polled; more comes only after the next poll."""
        ...


class Taker(Protocol):
    """The connection of a runtime, as this loop uses it."""

    @property
    def room(self) -> int:
        """The number of further tasks that this process wants."""
        ...

    def acquire(self, id: str, version: int) -> tuple[Future[bool], Future[None]]:
        """Acquire a task and perform it; see `Connection.acquire`."""
        ...


class _Late(NamedTuple):
    """An acquire that is to be tried again."""

    at: float
    entry: Entry
    offer: Offer
    tries: int


class TaskFeed:
    """Takes tasks from a queue for one process.

    Parameters
    ----------
    queue
        The queue.
    taker
        Acquires and performs the tasks.
    now
        The clock, in seconds.

    Attributes
    ----------
    acquired, refused, dropped, given_up
        Messages whose tasks were acquired, that were repetitions, that offered no task, and whose
        broker did not answer.
    """

    def __init__(
        self, queue: TaskQueue, taker: Taker, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._taker = taker
        self._now = now
        self._window = Window(_COUNT_MAX, _BYTES_MAX)
        self._is_open = False
        self._pause_s = _PAUSE_MIN_S
        self._reopen_at = 0.0
        self._is_away = False
        #: since when there has been no room; None: there is some, or all was given back
        self._full_since: float | None = None
        self._gave_back = False
        #: answers, which come on another thread
        self._answers: deque[tuple[Entry, Offer, int, Future[bool]]] = deque()
        self._answered = threading.Event()
        self._late: deque[_Late] = deque()
        self._drops_told_at: float | None = None
        self._untold_drops = 0
        self._drop_reason = ""
        self._numbers = count()
        self.acquired = 0
        self.refused = 0
        self.dropped = 0
        self.given_up = 0

    def run(self, stopping: Callable[[], bool]) -> None:
        """Take tasks until `stopping` returns True; then acknowledge what was acquired."""
        try:
            while not stopping():
                self.turn()
            self._drain()
        finally:
            self._close()

    def turn(self) -> None:
        """Do what there is to do, or wait for it for a fraction of a second."""
        now_s = self._now()
        if not self._is_open and now_s >= self._reopen_at:
            self._open()
        if self._is_open:
            self._poll(now_s)
        else:
            self._answered.wait(_BUSY_S)
        self._take_answers()
        self._try_late()
        self._acknowledge()
        self._tell_drops()

    # The queue -----------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._queue.open()
        except SourceAwayError as error:
            self._lose(error)
            return
        self._is_open = True
        self._gave_back = False
        if self._is_away:
            _LOG.info("%s is back", self._queue.place)
            self._is_away = False

    def _poll(self, now_s: float) -> None:
        window = self._window
        room = min(self._taker.room - window.unfiled, window.room, BATCH_MAX)
        try:
            if room <= 0:
                self._wait_for_room(now_s)
                return
            self._full_since, self._gave_back = None, False
            messages = self._queue.poll(room, _BUSY_S if window.count else _IDLE_S)
        except SourceAwayError as error:
            self._lose(error)
            return
        if messages:
            self._pause_s = _PAUSE_MIN_S
        for message in messages:
            self._take(message)

    def _wait_for_room(self, now_s: float) -> None:
        if self._full_since is None:
            self._full_since = now_s
        elif not self._gave_back and now_s >= self._full_since + _HOARD_S:
            self._gave_back = True
            self._queue.give_back()
        self._queue.poll(0, 0.0)
        self._answered.wait(_BUSY_S)

    def _take(self, message: Message) -> None:
        # In a partition of its own, because the order of the acknowledgments does not matter.
        entry = self._window.add(message._replace(partition=next(self._numbers), token=message))
        try:
            offer = parse_offer(message.body)
        except NoTaskError as error:
            self._drop(entry, str(error))
        else:
            self._acquire(entry, offer, 1)

    def _acknowledge(self) -> None:
        if not self._is_open:
            return
        messages = self._window.take_filed()
        if messages:
            try:
                self._queue.acknowledge([message.token for message in messages])
            except SourceAwayError as error:
                self._lose(error)

    def _lose(self, error: SourceAwayError) -> None:
        """Forget the messages of a queue that is away, and plan to open it again."""
        self._close()
        self._reopen_at = self._now() + self._pause_s
        self._pause_s = min(_PAUSE_MAX_S, self._pause_s * 2)
        if not self._is_away:
            _LOG.warning("%s", trouble(self._queue.place, str(error)))
            self._is_away = True

    def _close(self) -> None:
        self._window.forget()
        self._queue.close()
        self._is_open = False

    # The tasks -----------------------------------------------------------------------------------

    def _acquire(self, entry: Entry, offer: Offer, tries: int) -> None:
        try:
            answer, _ = self._taker.acquire(offer.id, offer.version)
        except UnderstudyError as error:
            answer = Future()
            answer.set_exception(error)
        answer.add_done_callback(partial(self._note_answer, entry, offer, tries))

    def _note_answer(self, entry: Entry, offer: Offer, tries: int, answer: Future[bool]) -> None:
        self._answers.append((entry, offer, tries, answer))
        if not self._answered.is_set():
            self._answered.set()

    def _take_answers(self) -> None:
        self._answered.clear()
        answers = self._answers
        while answers:
            entry, offer, tries, answer = answers.popleft()
            error = answer.exception()
            if error is None:
                self.acquired += answer.result()
                self.refused += not answer.result()
                self._window.file(entry)
            elif isinstance(error, CommandError):
                self._drop(entry, f"its task is refused: {error}")
            elif tries < _TRIES_MAX:
                # Its broker does not answer, for instance. The message stays ours.
                self._late.append(_Late(self._now() + _AGAIN_S, entry, offer, tries + 1))
            else:
                self.given_up += 1
                self._window.file(entry)

    def _try_late(self) -> None:
        now_s = self._now()
        while self._late and self._late[0].at <= now_s:
            late = self._late.popleft()
            if late.entry.forgotten:
                self._window.file(late.entry)  # The queue delivers it again.
            else:
                self._acquire(late.entry, late.offer, late.tries)

    def _drop(self, entry: Entry, reason: str) -> None:
        self._window.file(entry)
        self.dropped += 1
        self._untold_drops += 1
        self._drop_reason = reason

    def _tell_drops(self) -> None:
        now_s = self._now()
        told_at = self._drops_told_at
        if not self._untold_drops or (told_at is not None and now_s < told_at + _REPEAT_S):
            return
        _LOG.warning(
            "%s has messages that offer no task, which are dropped: %s, the last because %s",
            self._queue.place,
            f"{self._untold_drops:,}",
            printable_line(self._drop_reason),
        )
        self._drops_told_at = now_s
        self._untold_drops = 0

    def _drain(self) -> None:
        """Wait for the answers that are due, as long as that is allowed; poll no more."""
        ends_at = self._now() + DRAIN_S
        try:
            if self._is_open:
                self._queue.give_back()
        except SourceAwayError as error:
            self._lose(error)
        while True:
            self._take_answers()
            self._acknowledge()
            late = len(self._late)
            if not self._is_open or self._window.unfiled <= late or self._now() >= ends_at:
                return
            self._answered.wait(_BUSY_S)
