"""Threads that step generators and plain functions.

Short steps want one thread, which takes them one after the other without a switch in between; a
step that blocks must not hold up the others. So one thread works at first, and for as long as the
queue does not move `nudge` (called every few milliseconds while there is a backlog) puts more to
work, up to `size`.

One that has run out of work listens, for a while, in the place of the loop that owns the link: what
comes next is most likely for it, and it needs not be woken then.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.inline import CostEstimate, perform_at_once
from understudy_actors.executor.results import Results
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import StepResult

#: steps after which a thread reports how long they took
_REPORT_STEPS: Final = 64


class PollingPort(Protocol):
    """The messages that a worker without work may wait for."""

    def poll(self, on_polled: Callable[[], None]) -> bool:
        """Wait for a while, and take in what comes; `on_polled` is called in between. False: there
        is nothing to listen to now."""

    def interrupt(self) -> None:
        """Make `listen` return at once."""


class WorkerPool:
    """At most `size` daemon threads, started as they are needed."""

    def __init__(
        self,
        size: int,
        results: Results,
        now_ms: Callable[[], int],
        listening: PollingPort | None = None,
    ) -> None:
        self._size = size
        self._results = results
        self._now_ms = now_ms
        self._listening = listening
        #: a thread listens; it counts as active, for it performs what it has heard itself
        self._someone_listens = False
        #: it waits, and would not see what is submitted
        self._waits = False
        self._ready: deque[Run] = deque()
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._active = 0
        #: those that are on their way to `_ready`
        self._woken = 0
        self._begun = 0
        self._begun_seen = -1
        self._pace = CostEstimate()

    @property
    def backlog(self) -> int:
        """Runs that no thread has begun."""
        return len(self._ready)

    @property
    def crowded(self) -> bool:
        """Whether more runs wait than threads are on their way to."""
        return len(self._ready) > self._woken

    @property
    def begun(self) -> int:
        """Runs begun since the start; unchanged while the queue is stuck."""
        return self._begun

    def submit(self, run: Run) -> None:
        routine = run.routine
        if routine.flush is None and routine.function.kind != "plain":
            routine.flush = partial(self._hand_out, run)
            routine.clock = self._now_ms
        with self._lock:
            self._ready.append(run)
            if self._active == 0:
                self._activate()
            elif self._active == 1:
                self._interrupt()

    def withdraw(self, run: Run) -> bool:
        with self._lock:
            try:
                self._ready.remove(run)
            except ValueError:
                return False
            return True

    def close(self, run: Run) -> None:
        """A run that is under way closes itself when its step ends; an idle one is closed here."""
        if not run.scheduled:
            run.scheduled = True
            self.submit(run)

    def nudge(self) -> None:
        """Put another thread to work if nothing was begun since the last time."""
        with self._lock:
            stuck = self._ready and self._begun == self._begun_seen
            self._begun_seen = self._begun
            if stuck and not self._interrupt():
                # doubles while it stays stuck: blocking functions get their threads within
                # a few rounds
                for _ in range(min(max(1, self._active), len(self._ready))):
                    self._activate()

    def stop(self) -> None:
        """Let idle threads end. One that is inside a function ends with the process."""
        with self._lock:
            self._ready.clear()
            for _ in self._threads:
                self._tokens.put(False)

    def _activate(self) -> None:
        if self._idle:
            self._idle -= 1
        elif len(self._threads) < self._size:
            thread = threading.Thread(
                target=self._work, name=f"understudy-worker-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        else:
            return
        self._active += 1
        self._woken += 1
        self._tokens.put(True)

    def _interrupt(self) -> bool:
        """Whether there was a thread that waits for messages, and now comes for runs."""
        if not self._comes():
            return False
        assert self._listening is not None
        self._listening.interrupt()
        return True

    def _comes(self) -> bool:
        """Who waits is on its way from here on. Whether anybody did."""
        waited, self._waits = self._waits, False
        self._woken += waited
        return waited

    def _work(self) -> None:
        while self._tokens.get():
            with self._lock:
                self._woken -= 1
            self._drain()

    def _drain(self) -> None:
        ready, clock = self._ready, time.perf_counter
        steps, began = 0, clock()
        while True:
            try:
                run = ready.popleft()
            except IndexError:
                if steps:
                    self._results.measured(steps, clock() - began)
                if not self._listens() and self._ends():
                    return
                steps, began = 0, clock()
                continue
            self._begun += 1
            self._step(run)
            steps += 1
            if steps == _REPORT_STEPS:
                ended = clock()
                self._results.measured(steps, ended - began)
                steps, began = 0, ended

    def _ends(self) -> bool:
        """Be idle, if there is still nothing to do."""
        with self._lock:
            if self._ready:
                return False
            self._active -= 1
            self._idle += 1
            return True

    def _listens(self) -> bool:
        """Be the one that listens, if there is none. Whether something was heard."""
        listening = self._listening
        if listening is None:
            return False
        with self._lock:
            if self._ready or self._someone_listens:
                return False
            self._someone_listens = self._waits = True
        heard = listening.poll(self._heard)
        with self._lock:
            self._comes()
            self._someone_listens = False
            self._woken -= 1
        return heard

    def _heard(self) -> None:
        """The waiting is over: this thread sees what is submitted from here on."""
        with self._lock:
            self._comes()

    def _step(self, run: Run) -> None:
        routine = run.routine
        if not routine.dropped:
            output = self._timed(routine)
            inlined = None
            if output.locals:
                inlined = perform_at_once(routine, output, self._pace.is_quick, self._timed)
            self._results.put(StepReport(run, output, True, inlined), last=not self._ready)
        if routine.dropped:
            routine.close()

    def _timed(self, routine: Routine) -> StepResult:
        if routine.function.kind != "plain":
            return routine.step(self._now_ms())
        began = time.perf_counter()
        output = routine.step(self._now_ms())
        self._pace.observe(routine.function, time.perf_counter() - began)
        return output

    def _hand_out(self, run: Run, output: StepResult) -> None:
        self._results.put(StepReport(run, output, False))
