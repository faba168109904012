"""The node's shell: feeds the core with messages, finished steps and time, in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import trio

from understudy_actors.executor import AsyncLoop, Executor, Results, WorkerPool
from understudy_actors.executor.blockages import Blockages
from understudy_actors.executor.stall_watch import StallWatch
from understudy_actors.executor.worker_pool import LENT_MAX
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.ports import LOOPS
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_actors.node.ports import BrokerPort, Log, LogFailure, SessionPort
from understudy_broker.protocol.messages import ProgressEntry, ToPeer
from understudy_broker.transport.loop_lock import LoopLock, LoopThread
from understudy_store.records import PromiseRecord

#: time between two looks at a backlog; a blocked thread holds up the other runs for that long
_NUDGE_S: Final = 0.002
#: time after which queued work that no thread has begun is offered to other nodes
_STUCK_MS: Final = 100
#: time for which an `async def` function may block its loop before the log names it
_BLOCKED_S: Final = 1.0
#: time between two looks at whether Python stood still, and how late one must be for a warning
_LOOK_S: Final = 1.0
_STALLED_S: Final = 2.0
#: messages that are acted on before the shell looks for step results
_MESSAGES_MAX: Final = 256
#: time between two looks at the timers, while there are any
_TICK_S: Final = 0.02
#: time between two reports of how far functions are
_PROGRESS_S: Final = 0.25
#: time for which a worker that has nothing to do polls in the loop's place
_POLL_S: Final = 0.02


class LinkPort(BrokerPort, Protocol):
    """A link that another thread may poll while the loop that owns it sleeps."""

    def poll(self, loop_lock: LoopLock, timeout_s: float, on_polled: Callable[[], None]) -> bool:
        """Wait for messages and act on them; False: the loop does it."""

    def interrupt(self) -> None:
        """Make `poll` return at once."""


class NodeService:
    """One node, on the trio loop that owns its link. All methods are called on that loop.

    Parameters
    ----------
    now_ms
        The clock, epoch milliseconds; called from several threads.
    loop_lock
        The lock of this loop, if workers may act in the loop's place: a worker that has nothing
        else to do acquires it, passes its own results to the core, and then polls the link. This
        saves a wake-up of the loop's thread for each task.
    """

    def __init__(
        self,
        env: Environment,
        broker: LinkPort,
        now_ms: Callable[[], int],
        config: NodeConfig | None = None,
        *,
        log: Log | None = None,
        log_failure: LogFailure | None = None,
        loop_lock: LoopLock | None = None,
    ) -> None:
        self.config = config or NodeConfig()
        self._log = log
        self._broker = broker
        self._now_ms = now_ms
        self._loop = LoopThread()
        self._loop_lock = loop_lock
        self._results = Results(self._wake)
        listening = None if loop_lock is None else self
        self._executor = Executor(
            WorkerPool(self.config.concurrency, self._results, now_ms, listening, self._on_lent),
            {
                name: AsyncLoop(self._results, now_ms, self._on_coroutine, name=name)
                for name in LOOPS
            },
        )
        self.core = NodeCore(
            env,
            broker,
            self._executor,
            self.config,
            log=self._on_loop(log),
            log_failure=self._on_loop(log_failure),
        )
        #: takes the progress that is to be told to the brokers; None: nobody does
        self.on_progress: Callable[[list[ProgressEntry]], None] | None = None
        #: takes what keeps this node from its work, in words, when that changes
        self.on_blocked: Callable[[str], None] | None = None
        self._told_blocked = ""
        self._progress_noted = trio.Event()
        self.core.progress.on_news = self._on_progress_news
        #: there are timers or a backlog, so `run` must tick
        self._ticks_needed = trio.Event()
        self._coroutines_run = trio.Event()
        #: for those who watch over the node, on any thread
        self.blockages = Blockages(self._executor)
        self._stall_watch = StallWatch(self._threads_of_functions, _STALLED_S)
        self._is_watching = False
        self._work_runs = trio.Event()
        self._draining = False
        #: nothing is held any more, while draining
        self._idle = trio.Event()

    def _threads_of_functions(self) -> list[threading.Thread]:
        threads = self._executor.workers.threads
        for loop in self._executor.loops.values():
            threads += loop.threads
        return threads

    def _wake(self, last: bool) -> None:
        loop_lock = self._loop_lock
        if not last or loop_lock is None or not loop_lock.acquire():
            self._loop.run_soon(self._collect)
            return
        try:
            self._collect()
        except BaseException as error:
            # It is raised on the loop, because nobody sees the errors of a worker's thread.
            self._loop.run_soon(_raise, error)
        finally:
            loop_lock.release()

    def poll(self, on_polled: Callable[[], None]) -> bool:
        """Act on the broker's messages on a worker's thread, while the loop sleeps."""
        assert self._loop_lock is not None
        try:
            return self._broker.poll(self._loop_lock, _POLL_S, on_polled)
        except BaseException as error:
            self._loop.run_soon(_raise, error)
            return False

    def interrupt(self) -> None:
        """Make the worker that polls return to its queue."""
        self._broker.interrupt()

    def _on_loop(self, said: Callable[..., None] | None) -> Callable[..., None] | None:
        """Return a function that calls `said` on the loop.

        Users' log handlers run in it. They may wait for the loop, and so must not run on another
        thread that holds the `LoopLock`.
        """
        return None if said is None else partial(self._loop.run, said)

    def _collect(self) -> None:
        results = self._results.take()
        steps, busy_ms = self._results.take_busy_time()
        self._broker.cork()
        try:
            self.core.credit.policy.observe(steps, busy_ms)
            self.core.stepped(results, self._now_ms())
            self.core.credit.grant()
        finally:
            self._broker.uncork()
        self._set_events()

    def receive(self, messages: Sequence[ToPeer], session: SessionPort) -> None:
        """Act on messages that came in a session with a broker.

        Of many messages, the first are worked on while the last are still being read, and their
        results are passed on in between.
        """
        for start in range(0, len(messages), _MESSAGES_MAX):
            some = messages[start : start + _MESSAGES_MAX]
            self.core.receive(some, self._now_ms(), session)
            self.core.credit.grant()
            if self._results:
                self._collect()
        self._set_events()

    def perform(self, promise: PromiseRecord, version: int, failures: int) -> None:
        """Perform a task that this node created and acquired for itself."""
        self.core.perform(promise, version, failures, self._now_ms())
        self._set_events()

    def _set_events(self) -> None:
        """Set the events of this loop that what has just happened calls for.

        Any thread may read the events, but only the loop's own may set them. If `run` replaces an
        event before it is set, nothing is lost, because `run` looks for itself after that.
        """
        if not self._ticks_needed.is_set() and self._needs_ticks():
            self._loop.run(self._ticks_needed.set)
        if not self._is_watching and self.core.running:
            # It begins here, because the first function may keep the loop from running.
            self._is_watching = True
            self._stall_watch.begin()
            self._loop.run(self._work_runs.set)
        if self._draining and not self.core.holding:
            self._loop.run(self._idle.set)

    def _on_lent(self) -> None:
        """Have the credit follow the slots that are lent; called on a worker's thread."""
        self._loop.run_soon(self._count_lent)

    def _count_lent(self) -> None:
        lent = self._executor.workers.lent
        credit = self.core.credit
        if lent == LENT_MAX != credit.lent and self._log is not None:
            self._log(
                f"{LENT_MAX} functions of this node wait for other calls with result(), and no "
                "more threads are started in their place. In a durable function wait with "
                "`yield ctx.rpc(...)` (or await), which holds no thread"
            )
        credit.lent = lent
        credit.grant()

    @property
    def backlog(self) -> int:
        """The number of runs that no thread has begun."""
        return self._executor.workers.backlog

    def _needs_ticks(self) -> bool:
        """Return whether there are timers, or more runs than threads are on their way to."""
        return self.core.timers.next_due is not None or self._executor.workers.crowded

    def _on_coroutine(self) -> None:
        """Note that a coroutine goes on, so that its loop may be blocked from now on."""
        if not self._coroutines_run.is_set():
            self._loop.run(self._coroutines_run.set)

    async def run(self) -> None:
        """Run timers, see to the backlog, and report blocked loops, as long as the node lives."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report_blocking)
                nursery.start_soon(self._report_stalls)
                nursery.start_soon(self._report_progress)
                while True:
                    self._ticks_needed = trio.Event()
                    if not self._needs_ticks():
                        await self._ticks_needed.wait()
                    await self._tick_while_needed()
        finally:
            self._executor.stop()
            self.core.state.set_all_aside()

    async def _report_blocking(self) -> None:
        """Log the place of a function that blocks a loop of `async def` functions."""
        while True:
            if not self.core.running:
                self._coroutines_run = trio.Event()
                await self._coroutines_run.wait()
            await trio.sleep(_BLOCKED_S)
            for loop in self._executor.loops.values():
                place = loop.blocked()
                if place is not None and self._log is not None:
                    self._log(
                        f"async functions of this node are held up by {place}, which has blocked "
                        f"for over {_BLOCKED_S:g} s: use a plain def (it gets a thread), or "
                        f"{loop.remedy}"
                    )

    async def _report_stalls(self) -> None:
        """Log the place of a function that held the interpreter, so that no thread could run."""
        while True:
            if not self.core.running:
                self._tell_blocked("")
                self._is_watching = False
                self._work_runs = trio.Event()
                await self._work_runs.wait()
            await trio.sleep(_LOOK_S)
            self.blockages.look()
            self._tell_blocked(self.blockages.brief())
            warning = self._stall_watch.look(_LOOK_S)
            if warning is not None and self._log is not None:
                self._log(warning)

    def _tell_blocked(self, text: str) -> None:
        if text != self._told_blocked and self.on_blocked is not None:
            self._told_blocked = text
            self.on_blocked(text)

    def _on_progress_news(self) -> None:
        """Have progress reported; called on any thread."""
        self._loop.run_soon(self._note_progress)

    def _note_progress(self) -> None:
        self._progress_noted.set()

    async def _report_progress(self) -> None:
        """Report how far functions are: the first word at once, and then the latest ones."""
        while True:
            await self._progress_noted.wait()
            self._progress_noted = trio.Event()
            entries = self.core.progress.take()
            if entries and self.on_progress is not None:
                self.on_progress(entries)
            await trio.sleep(_PROGRESS_S)

    async def _tick_while_needed(self) -> None:
        stuck_since_ms = self._now_ms()
        begun = self._executor.workers.begun
        while self._needs_ticks():
            backlog = self._executor.workers.backlog
            await trio.sleep(_NUDGE_S if backlog else _TICK_S)
            now = self._now_ms()
            self.core.tick(now)
            if not backlog or self._executor.workers.begun != begun:
                begun, stuck_since_ms = self._executor.workers.begun, now
            elif now - stuck_since_ms >= _STUCK_MS:
                self.core.credit.policy.observe_stuck(now - stuck_since_ms)
                self.core.give_back()
                stuck_since_ms = now
            self._executor.workers.nudge()

    async def drain(self) -> None:
        """Take no more work; finish or give back the tasks held, within ``config.drain_ms``."""
        self._draining = True
        self.core.stop_serving()
        self.core.give_back()
        with trio.move_on_after(self.config.drain_ms / 1000):
            while self.core.holding:
                self._idle = trio.Event()
                with trio.move_on_after(0.05):
                    await self._idle.wait()
                self.core.stop_serving()


def _raise(error: BaseException) -> None:
    raise error
