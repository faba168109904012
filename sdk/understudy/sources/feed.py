"""The loop of a source: poll, translate, submit, acknowledge. It is the same for all queues.

Everything runs on one thread, but for the answers of the store, which come on another one and are
taken from there at the next turn. A turn never blocks for long, so that a request to stop is seen.

- While there is room, the queue is polled; a turn with nothing under way waits there for messages.
- Without room, the turn waits for an answer of the store, and then polls for no message at all,
  which keeps the connection to the queue alive.
- If the queue is away, its messages are forgotten: it delivers them again. What was submitted goes
  on, and its room is given back when it is answered.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from understudy.queues.obstacles import trouble
from understudy.queues.port import Source, SourceAwayError
from understudy.queues.window import Entry, Window
from understudy.sources.filing import Answer, Command, Filing, Forms, Later
from understudy.sources.report import Report
from understudy.sources.translator import Translator

#: the most messages of one poll, so that their commands share a frame and a commit
BATCH_MAX: Final = 512
#: how long a turn waits while something is under way, and while nothing is
_BUSY_S: Final = 0.02
_IDLE_S: Final = 0.25
#: pauses between attempts to reach the queue
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 10.0
#: how long a command waits until it is sent again, after trouble at the broker
_AGAIN_S: Final = 1.0
#: how often the log repeats that the queue is away, or that commands are refused
_REPEAT_S: Final = 30.0
#: how long what is under way may take once the source is to end
DRAIN_S: Final = 5.0


class Store(Protocol):
    """The store, as the feed uses it."""

    def submit(self, command: Command, answered: Callable[[Answer], None]) -> None:
        """Send a command; `answered` is called once with the answer, on any thread."""
        ...


class _Late(NamedTuple):
    """A command that is to be sent again."""

    at: float
    entry: Entry
    filing: Filing
    command: Command


class Feed:
    """Feeds the messages of a queue to the store.

    Parameters
    ----------
    source
        The queue.
    translator, forms
        Make the commands.
    store
        Takes the commands.
    window
        Bounds what is under way.
    report
        Takes what there is to say.
    place
        The queue, as tags and ids have it.
    now
        The clock, in seconds.
    """

    def __init__(
        self,
        source: Source,
        translator: Translator,
        forms: Forms,
        store: Store,
        window: Window,
        report: Report,
        *,
        place: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._translator = translator
        self._forms = forms
        self._store = store
        self._window = window
        self._report = report
        self._place = place
        self._now = now
        self._is_open = False
        self._pause_s = _PAUSE_MIN_S
        self._reopen_at = 0.0
        self._away_told_at: float | None = None
        self._trouble_told_at: float | None = None
        #: answers that came on other threads
        self._answers: deque[tuple[Entry, Filing, Answer]] = deque()
        self._answered = threading.Event()
        self._late: deque[_Late] = deque()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Feed until `stopping` returns True; then acknowledge what is stored, and close."""
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
            self._poll()
        else:
            self._wait()
        self._take_answers()
        self._send_late()
        self._acknowledge()
        if self._report.is_due(self._now()):
            self._show()

    # The queue -----------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._source.open()
        except SourceAwayError as error:
            self._lose(error)
            return
        self._is_open = True
        if self._away_told_at is not None:
            self._report.say(f"{self._source.place} is back")
            self._away_told_at = None

    def _poll(self) -> None:
        room = min(self._window.room, BATCH_MAX)
        if room == 0:
            self._wait()
        wait_s = 0.0 if room == 0 else _BUSY_S if self._window.unfiled else _IDLE_S
        try:
            messages = self._source.poll(room, wait_s)
        except SourceAwayError as error:
            self._lose(error)
            return
        if messages:
            self._pause_s = _PAUSE_MIN_S
        for message in messages:
            filing = Filing(message, self._translator, self._forms, self._place)
            self._submit(self._window.add(message), filing, filing.begin())

    def _acknowledge(self) -> None:
        if not self._is_open:
            return
        messages = self._window.take_filed()
        if messages:
            try:
                self._source.acknowledge(messages)
            except SourceAwayError as error:
                self._lose(error)
            else:
                self._report.acknowledged += len(messages)

    def _lose(self, error: SourceAwayError) -> None:
        """Forget the messages of a queue that is away, and plan to open it again."""
        self._close()
        now_s = self._now()
        self._reopen_at = now_s + self._pause_s
        self._pause_s = min(_PAUSE_MAX_S, self._pause_s * 2)
        if self._away_told_at is None or now_s >= self._away_told_at + _REPEAT_S:
            self._report.warn(trouble(self._source.place, str(error)))
            self._away_told_at = now_s

    def _close(self) -> None:
        self._window.forget()
        self._source.close()
        self._is_open = False

    # The store -----------------------------------------------------------------------------------

    def _submit(self, entry: Entry, filing: Filing, command: Command) -> None:
        answers, event = self._answers, self._answered

        def answered(answer: Answer) -> None:
            answers.append((entry, filing, answer))
            if not event.is_set():
                event.set()

        self._store.submit(command, answered)

    def _take_answers(self) -> None:
        self._answered.clear()
        answers = self._answers
        while answers:
            entry, filing, answer = answers.popleft()
            step = filing.answered(answer)
            if isinstance(step, str):
                self._filed(entry, filing, step)
            elif isinstance(step, Later):
                self._postpone(entry, filing, step)
            else:
                self._submit(entry, filing, step)

    def _filed(self, entry: Entry, filing: Filing, how: str) -> None:
        report = self._report
        self._window.file(entry)
        if how == "stored":
            report.stored += 1
        elif how == "known":
            report.known += 1
        else:
            report.poisoned(filing.describe())

    def _postpone(self, entry: Entry, filing: Filing, later: Later) -> None:
        now_s = self._now()
        self._late.append(_Late(now_s + _AGAIN_S, entry, filing, later.command))
        if self._trouble_told_at is None or now_s >= self._trouble_told_at + _REPEAT_S:
            self._report.warn(
                f"calls cannot be stored now: {later.reason}. Their messages wait, and it is "
                "tried again"
            )
            self._trouble_told_at = now_s

    def _send_late(self) -> None:
        now_s = self._now()
        while self._late and self._late[0].at <= now_s:
            late = self._late.popleft()
            self._submit(late.entry, late.filing, late.command)

    def _wait(self) -> None:
        """Wait for an answer, for a moment."""
        self._answered.wait(_BUSY_S)

    def _drain(self) -> None:
        """Wait for the answers that are due, as long as that is allowed; poll no more."""
        ends_at = self._now() + DRAIN_S
        while True:
            self._take_answers()
            self._acknowledge()
            if not (self._is_open and self._window.unfiled) or self._now() >= ends_at:
                return
            self._wait()

    # The log -------------------------------------------------------------------------------------

    def _show(self) -> None:
        lag = None
        if self._is_open:
            try:
                lag = self._source.lag()
            except SourceAwayError as error:
                self._lose(error)
        self._report.show(self._window.count, lag, self._now())
