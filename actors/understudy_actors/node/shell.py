"""The node's shell: feeds the core with messages, finished steps and time, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import trio

from understudy_actors.executor import AsyncLoop, Executor, Results, WorkerPool
from understudy_actors.interpreter.environment import Environment
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_actors.node.ports import BrokerPort, Log, LogFailure
from understudy_broker.protocol.messages import ToPeer
from understudy_broker.transport.loop_lock import LoopLock, LoopThread
from understudy_store.records import PromiseRecord

#: how often a backlog is looked at: a blocked thread costs the others that long
_NUDGE_S: Final = 0.002
#: work that nobody has begun for that long is offered to other nodes
_STUCK_MS: Final = 100
#: how long an `async def` may block its loop before it is named
_WATCH_S: Final = 1.0
#: messages that are taken in before it is looked for results
_TOGETHER: Final = 256
#: how often the timers are looked at while there are any
_TICK_S: Final = 0.02
#: how long a worker that has nothing to do listens in the loop's place
_POLL_S: Final = 0.02


class LinkPort(BrokerPort, Protocol):
    """A link that another thread may listen to, while the loop that owns it sleeps."""

    def poll(self, loop_lock: LoopLock, timeout_s: float, on_polled: Callable[[], None]) -> bool:
        """Wait for messages and take them in; False: the loop does it."""

    def interrupt(self) -> None:
        """Let who waits in `poll` return."""


class NodeService:
    """One node, on the trio loop that owns its link. All methods are called on that loop.

    Parameters
    ----------
    now_ms
        The clock, epoch milliseconds; called from several threads.
    loop_lock
        Of this loop, if its thread may be spared: a worker that has nothing else to do borrows it
        and takes its own results in, and then what the broker sends next.
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
            WorkerPool(self.config.concurrency, self._results, now_ms, listening),
            AsyncLoop(self._results, now_ms, self._watch_coroutines),
        )
        self.core = NodeCore(
            env,
            broker,
            self._executor,
            self.config,
            log=self._on_loop(log),
            log_failure=self._on_loop(log_failure),
        )
        self._pulse = trio.Event()
        self._watch = trio.Event()
        self._draining = False
        self._idle = trio.Event()

    def _wake(self, last: bool) -> None:
        loop_lock = self._loop_lock
        if not last or loop_lock is None or not loop_lock.acquire():
            self._loop.run_soon(self._collect)
            return
        try:
            self._collect()
        except BaseException as error:
            # as if it had happened there: the worker's own thread has nobody to tell
            self._loop.run_soon(_raise, error)
        finally:
            loop_lock.release()

    def poll(self, on_polled: Callable[[], None]) -> bool:
        """On a worker's thread: take in what the broker sends, while the loop sleeps on."""
        assert self._loop_lock is not None
        try:
            return self._broker.poll(self._loop_lock, _POLL_S, on_polled)
        except BaseException as error:
            self._loop.run_soon(_raise, error)
            return False

    def interrupt(self) -> None:
        """Let the worker that listens do something else."""
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
            self.core.observe(steps, busy_ms)
            self.core.stepped(results, self._now_ms())
            self.core.grant()
        finally:
            self._broker.uncork()
        self._after()

    def receive(self, messages: Sequence[ToPeer]) -> None:
        """Messages of the broker.

        Of many, the first are worked on while the last are taken in: their results need not wait.
        """
        for start in range(0, len(messages), _TOGETHER):
            self.core.receive(messages[start : start + _TOGETHER], self._now_ms())
            self.core.grant()
            if self._results:
                self._collect()
        self._after()

    def perform(self, promise: PromiseRecord, version: int, failures: int) -> None:
        """A task that this node made and acquired for itself."""
        self.core.perform(promise, version, failures, self._now_ms())
        self._after()

    def _after(self) -> None:
        if not self._loop.is_current:
            if self._lacks_pulse():
                self._loop.run_soon(self._after)
            return
        if not self._pulse.is_set() and self._has_pulse():
            self._pulse.set()
        if self._draining and not self.core.holding:
            self._idle.set()

    def _lacks_pulse(self) -> bool:
        """Whether `_after` has something to do."""
        return self._draining or (not self._pulse.is_set() and self._has_pulse())

    def _has_pulse(self) -> bool:
        return self._executor.workers.crowded or self.core.next_due() is not None

    def _watch_coroutines(self) -> None:
        """A coroutine goes on, so `_watch_loop` has something to do."""
        if not self._watch.is_set():
            self._loop.run(self._watch.set)

    async def run(self) -> None:
        """Timers, backlog and the watchdog, for as long as the node lives."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_loop)
                while True:
                    self._pulse = trio.Event()
                    if not self._has_pulse():
                        await self._pulse.wait()
                    await self._beat()
        finally:
            self._executor.stop()

    async def _watch_loop(self) -> None:
        """Name what blocks the loop of the `async def` functions: all of them wait for it."""
        while True:
            if not self.core.running:
                self._watch = trio.Event()
                await self._watch.wait()
            await trio.sleep(_WATCH_S)
            place = self._executor.async_loop.blocked()
            if place is not None and self._log is not None:
                self._log(
                    f"async functions of this node are held up by {place}, which has blocked for "
                    f"over {_WATCH_S:g} s: use a plain def (it gets a thread), or "
                    "trio.to_thread.run_sync"
                )

    async def _beat(self) -> None:
        stuck_since = self._now_ms()
        begun = self._executor.workers.begun
        while self._has_pulse():
            backlog = self._executor.workers.backlog
            await trio.sleep(_NUDGE_S if backlog else _TICK_S)
            now = self._now_ms()
            self.core.tick(now)
            if not backlog or self._executor.workers.begun != begun:
                begun, stuck_since = self._executor.workers.begun, now
            elif now - stuck_since >= _STUCK_MS:
                self.core.observe_stuck(now - stuck_since)
                self.core.give_back()
                stuck_since = now
            self._executor.workers.nudge()

    async def drain(self) -> None:
        """Take no more work, finish or hand back what is held, within ``config.drain_ms``."""
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
