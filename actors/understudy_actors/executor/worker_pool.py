"""Worker threads that step generators and plain functions: `WorkerPool`.

How it works
------------
Submitted runs wait in a queue. A worker takes a run, steps it, reports the result and takes the
next. Short steps are done fastest by a single thread, because a switch between threads takes longer
than such a step; but a step that blocks must not hold up the others. So the pool uses one thread
for as long as the queue moves. While there is a backlog, the node calls `nudge` every few
milliseconds, and if no run was begun since the last nudge, more threads are put to work: as many
again each time, up to `size`.

A worker is in one of four states:

- *idle*: it waits for a token. Each token wakes one idle worker.
- *coming*: it got a token or an interruption, and will look at the queue next.
- *working*: it takes runs from the queue until the queue is empty.
- *polling*: it has found the queue empty, and waits for messages of the broker in place of the
  node's loop. Only one worker at a time does so, and only for a while; then it becomes idle.

All but the idle ones are *active*.

Work of the loop on a worker's thread
-------------------------------------
To wake a sleeping thread takes 20 to 50 µs, as long as most steps. So a worker does three things
that would otherwise need another thread.

- It handles its own results. If it has nothing else to step, and the loop sleeps, it acquires the
  `LoopLock` and runs the node's core itself (`Results.put`, `NodeService`).
- It receives messages. After a result, the next message is usually the worker's next task. It waits
  for the socket without a lock, and acquires the `LoopLock` to take in what has arrived (see
  `understudy_broker.transport.polling`). The runs that follow from a message are submitted on this
  very thread, which looks at the queue as soon as the message has been handled.
- It performs calls of quick plain functions within the step of their caller (see `inline`).

Lent slots
----------
A function that waits for another call on its own thread (`Handle.result`) lends its slot (see
`understudy_actors.lent_slots`): its worker counts as *lent* instead of active, and one more thread
may work. When the wait is over the function goes on at once. There may then be more active workers
than slots; no further run begins, and workers that end a step become idle, until there are as many
again. At most `LENT_MAX` slots are lent, because each holds a thread.

Which thread may touch what
---------------------------
- `_lock` guards the counters and flags below. It is held for a few instructions only: never while a
  function runs and never while a worker polls. Locks are taken in the order `LoopLock`, `_lock`,
  the lock inside the link's poll hand-off. A worker holds none when it acquires the `LoopLock`.
- `_ready` gets new runs under `_lock`. Workers take runs from it without the lock, because
  `deque.popleft` is atomic: each run goes to one worker.
- A routine is stepped by one thread at a time. The node submits a run only while it is not
  `scheduled`, and the report of the step ends that. The queues in between order memory accesses.
- The core, the link and everything else of the loop are touched under the `LoopLock` only.

Why no wake-up is lost
----------------------
- `submit` appends the run and reads `_active` under `_lock`. A worker becomes idle under `_lock`
  too, and only if the queue is empty. So either that worker sees the run, or `submit` sees that no
  worker is active and wakes one.
- A worker starts to poll under `_lock` as well, only if the queue is empty, and sets
  `_poller_waits`. If it is the only active worker, the next `submit` interrupts it; an interruption
  that comes before the wait begins ends the wait at once. If other workers are active, one of them
  looks at the queue when its step ends. If all their steps block, `nudge` interrupts the poller.
- `_poller_waits` is cleared by `submit`, by `nudge` or by the poller itself when its wait is over.
  The first of them counts the poller as coming. So runs that follow from a message cause no
  interruption, and `crowded` is False while a worker is on its way to them.

What is not perfect
-------------------
Behind a step that blocks, the next run waits until the second nudge. Threads once started stay
until `stop`. A function that waits for another one without a handle (a lock, a queue) lends
nothing. And `_begun` is counted without a lock, so it may miss some runs: `nudge` only needs to see
whether it changes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from understudy_actors import lent_slots
from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.forked import end_of_step, end_process, went_on
from understudy_actors.executor.inline import CostEstimate, inline_call
from understudy_actors.executor.results import Results
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.stack import close_excess
from understudy_actors.interpreter.step_result import StepResult

#: Steps after which a worker reports how long they have taken.
_REPORT_STEPS: Final = 64
#: Most slots that are lent at a time.
LENT_MAX: Final = 256


class PollingPort(Protocol):
    """The source of messages that a worker without work polls."""

    def poll(self, on_polled: Callable[[], None]) -> bool:
        """Wait for messages for a while, and take in those that arrive.

        `on_polled` is called in between, when the wait is over. Returns False if nothing was taken
        in, because nothing has arrived or because the loop does it.
        """

    def interrupt(self) -> None:
        """Make the current `poll` return at once, or else the next one."""


class WorkerPool:
    """At most `size` daemon threads, started when they are needed.

    Parameters
    ----------
    size
        Bound of threads, and so of steps at the same time.
    results
        Gets the report of each step.
    now_ms
        The clock, epoch milliseconds.
    polling
        Messages for a worker without work to poll; None: workers never poll.
    on_lent
        Called on a worker's thread when a slot was lent, taken back or refused.
    """

    def __init__(
        self,
        size: int,
        results: Results,
        now_ms: Callable[[], int],
        polling: PollingPort | None = None,
        on_lent: Callable[[], None] | None = None,
    ) -> None:
        self._size = size
        self._results = results
        self._now_ms = now_ms
        self._polling = polling
        self._on_lent = on_lent
        #: a worker polls, or handles the messages that it has received
        self._has_poller = False
        #: the poller waits, so it does not see new runs
        self._poller_waits = False
        self._ready: deque[Run] = deque()
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._active = 0
        #: active workers that have not looked at the queue since they were called
        self._coming = 0
        #: workers inside functions that wait for other calls
        self._lent = 0
        self._begun = 0
        self._begun_at_nudge = -1
        self._costs = CostEstimate()

    @property
    def backlog(self) -> int:
        """Number of runs that no worker has begun."""
        return len(self._ready)

    @property
    def threads(self) -> list[threading.Thread]:
        """The workers that were started; they live until `stop`."""
        return list(self._threads)

    @property
    def lent(self) -> int:
        """Number of slots that functions have lent."""
        return self._lent

    @property
    def crowded(self) -> bool:
        """True if more runs wait than workers are on their way to the queue."""
        return len(self._ready) > self._coming

    @property
    def is_full(self) -> bool:
        """True if every thread that may work is inside a function."""
        return self._active >= self._size and not self._has_poller

    @property
    def begun(self) -> int:
        """Number of runs begun since the start. It does not change while the queue is stuck."""
        return self._begun

    def submit(self, run: Run) -> None:
        """Step `run` on one of the threads."""
        routine = run.routine
        if routine.flush is None and routine.kind != "plain":
            routine.hand_out_to(partial(self._report_part, run), self._now_ms)
        with self._lock:
            self._ready.append(run)
            if self._active == 0:
                self._activate()
            elif self._active == 1 and self._poller_waits:
                self._call_poller()

    def withdraw(self, run: Run) -> bool:
        """Take back a run; return False if a worker has begun it, or it was never submitted."""
        with self._lock:
            try:
                self._ready.remove(run)
            except ValueError:
                return False
            return True

    def close(self, run: Run) -> None:
        """Close the routine of a dropped run on a worker.

        A run that is being stepped is closed by its worker when the step ends; any other gets a
        worker for it.
        """
        if not run.scheduled:
            run.scheduled = True
            self.submit(run)

    def nudge(self) -> None:
        """Put more workers to work if no run was begun since the last call."""
        with self._lock:
            stuck = bool(self._ready) and self._begun == self._begun_at_nudge
            self._begun_at_nudge = self._begun
            if not stuck:
                return
            if self._poller_waits:
                self._call_poller()
                return
            # As many again each time, so that many blocking functions get their threads within a
            # few nudges.
            for _ in range(min(max(1, self._active), len(self._ready))):
                self._activate()

    def lend(self) -> bool:
        """Let another run begin while the calling worker waits; False: too many slots are lent."""
        with self._lock:
            lent = self._lent < LENT_MAX
            if lent:
                self._lent += 1
                self._active -= 1
                if self._ready and self._poller_waits:
                    self._call_poller()
                elif self._ready and not self._coming:
                    self._activate()
        if self._on_lent is not None:
            self._on_lent()
        return lent

    def take_back(self) -> None:
        """Note that the calling worker goes on, beside the one that works in its place."""
        with self._lock:
            self._lent -= 1
            self._active += 1
        if self._on_lent is not None:
            self._on_lent()

    def stop(self) -> None:
        """End the idle workers. A worker inside a function ends with the process."""
        with self._lock:
            self._ready.clear()
            for _ in self._threads:
                self._tokens.put(False)

    # With the lock held --------------------------------------------------------------------------

    def _activate(self) -> None:
        """Wake an idle worker, or start a new one, unless there are enough."""
        if self._active >= self._size:
            return
        if self._idle:
            self._idle -= 1
        else:
            thread = threading.Thread(
                target=self._work, name=f"understudy-worker-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._active += 1
        self._coming += 1
        self._tokens.put(True)

    def _call_poller(self) -> None:
        """Interrupt the poller, which waits, so that it looks at the queue."""
        assert self._polling is not None
        self._poller_waits = False
        self._coming += 1
        self._polling.interrupt()

    # On a worker's thread ------------------------------------------------------------------------

    def _work(self) -> None:
        lent_slots.join(self)
        while self._tokens.get():
            with self._lock:
                self._coming -= 1
            self._step_all()

    def _step_all(self) -> None:
        """Step runs until the queue is empty and there is nothing to poll; idle then."""
        ready, clock = self._ready, time.perf_counter
        steps, began = 0, clock()
        while True:
            if self._active > self._size and self._retire():
                self._results.add_busy_time(steps, clock() - began)
                return
            try:
                run = ready.popleft()
            except IndexError:
                if steps:
                    self._results.add_busy_time(steps, clock() - began)
                if not self._poll() and self._become_idle():
                    return
                steps, began = 0, clock()
                continue
            self._begun += 1
            self._step(run)
            steps += 1
            if steps == _REPORT_STEPS:
                ended = clock()
                self._results.add_busy_time(steps, ended - began)
                steps, began = 0, ended

    def _become_idle(self) -> bool:
        """Become idle; return False if runs have been submitted meanwhile."""
        with self._lock:
            if self._ready:
                return False
            self._active -= 1
            self._idle += 1
            return True

    def _retire(self) -> bool:
        """Become idle if more workers are active than there are slots."""
        with self._lock:
            if self._active <= self._size:
                return False
            self._active -= 1
            self._idle += 1
            if self._ready and self._poller_waits:
                # It may be the only one left that is not inside a step.
                self._call_poller()
            return True

    def _poll(self) -> bool:
        """Poll for messages, unless another worker does; return True if some were taken in."""
        polling = self._polling
        if polling is None:
            return False
        with self._lock:
            if self._ready or self._has_poller:
                return False
            self._has_poller = self._poller_waits = True
        received = polling.poll(self._on_polled)
        with self._lock:
            self._has_poller = False
            if self._poller_waits:
                # It has not waited at all, because there was nothing to poll.
                self._poller_waits = False
            else:
                self._coming -= 1
        return received

    def _on_polled(self) -> None:
        """Count this worker as coming, because it looks at the queue after handling messages."""
        with self._lock:
            if self._poller_waits:
                self._poller_waits = False
                self._coming += 1

    def _step(self, run: Run) -> None:
        routine = run.routine
        if not routine.dropped:
            result = self._measured_step(routine)
            inlined = None
            if result.locals:
                inlined = inline_call(routine, result, self._costs.is_quick, self._measured_step)
            report = StepReport(run, result, True, inlined)
            self._results.put(report, worker_idle=not self._ready)
        if routine.dropped:
            routine.close()
            close_excess()
            if self._results.is_copy:
                end_process(None)

    def _measured_step(self, routine: Routine) -> StepResult:
        if routine.kind != "plain":
            result = routine.step(self._now_ms())
        else:
            began = time.perf_counter()
            result = routine.step(self._now_ms())
            self._costs.observe(routine.function, time.perf_counter() - began)
        if self._results.is_copy:
            end_of_step(routine, result)
        return result

    def _report_part(self, run: Run, result: StepResult) -> None:
        """Report the commands of a long step while it goes on."""
        if self._results.is_copy:
            end_process(went_on())
        self._results.put(StepReport(run, result, False))
