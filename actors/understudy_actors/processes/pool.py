"""The pool: supervises child processes on a trio loop."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from understudy_actors.errors import ProcessStartError, RestartLimitError, describe_exit
from understudy_actors.processes.child import (
    Process,
    ProcessSpec,
    ProcessState,
    ProcessStatistics,
    feed_stdin,
    kill_all,
    kill_group,
    read_output,
)
from understudy_actors.processes.forker import Forker
from understudy_actors.processes.handle import ProcessHandle
from understudy_actors.processes.lifeline import ASKED, READY, Lifeline
from understudy_actors.processes.printer import LinePrinter
from understudy_actors.processes.reaper import Reaper
from understudy_actors.processes.restart import GiveUp
from understudy_actors.processes.spawner import Spawner

#: Seconds for the rest of the output after a process has ended.
_OUTPUT_GRACE_S: Final = 1.0

#: Seconds in which this process gets the signal that one of its processes has got already.
_ASKED_S: Final = 0.5

#: The name of the pool's own lines in the output.
POOL_NAME: Final = "pool"


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment; the processes stand in the order in which they were started."""

    processes: tuple[ProcessStatistics, ...]
    stopping: bool
    #: process ids of the fork servers, which are not among `processes`
    fork_servers: tuple[int, ...] = ()
    #: process id of the reaper; None as long as no process needs one
    reaper: int | None = None

    @property
    def running(self) -> int:
        """Number of processes that run."""
        return sum(process.state == "running" for process in self.processes)

    @property
    def restarts(self) -> int:
        """Number of restarts, of all processes together."""
        return sum(process.restarts for process in self.processes)


class Pool:
    """Supervises processes. Made by `open_pool`; all methods are called on its trio loop."""

    def __init__(
        self,
        nursery: trio.Nursery,
        spawner: Spawner,
        on_line: Callable[[str, str], None],
        drain_timeout_s: float,
    ) -> None:
        self._nursery = nursery
        self._spawner = spawner
        self._on_line = on_line
        self._drain_timeout_s = drain_timeout_s
        self._handles: dict[str, ProcessHandle] = {}
        self._stop_requested = trio.Event()
        self._stopped = trio.Event()
        self._failure: RestartLimitError | None = None
        self._failure_reported = False
        #: number of callers in `wait`, all of which get `_failure`
        self._waiting = 0
        #: around the block of `open_pool`: canceled if the pool fails while no caller is in `wait`
        self.block_scope = trio.CancelScope()

    async def start(self, spec: ProcessSpec) -> ProcessHandle:
        """Start a process and supervise it from now on.

        Returns when it has been started, which is before it is ready for work.

        Raises
        ------
        ProcessStartError
            If it cannot be started; a *later* failure to start counts as a death.
        ValueError
            If the name is taken.
        RuntimeError
            If the pool is stopping.
        """
        if self._stop_requested.is_set():
            raise RuntimeError("the pool is stopping and starts no more processes")
        if spec.name in self._handles or spec.name == POOL_NAME:
            raise ValueError(f"the name {spec.name!r} is taken in this pool")
        handle = self._handles[spec.name] = ProcessHandle(spec)
        try:
            process = await self._spawn(handle)
        except BaseException as error:
            del self._handles[spec.name]
            handle.record_gone("failed")
            if not isinstance(error, OSError):
                raise
            where = f" in {spec.cwd}" if spec.cwd else ""
            raise ProcessStartError(
                f"{spec.name}: {' '.join(spec.argv)!r}{where} cannot be started: {error}"
            ) from error
        self._nursery.start_soon(self._supervise, handle, process, name=f"supervise {spec.name}")
        return handle

    async def prepare(self, specs: Iterable[ProcessSpec]) -> None:
        """Start the fork servers of all `specs` at once; `start` would do so one by one."""
        await self._spawner.prepare(specs)

    async def wait(self) -> None:
        """Return when the pool has been stopped.

        Raises
        ------
        RestartLimitError
            If it has stopped because a process died too often.
        """
        self._waiting += 1
        try:
            await self._stopped.wait()
        finally:
            self._waiting -= 1
        if self._failure is not None:
            self._failure_reported = True
            raise self._failure

    def request_stop(self) -> None:
        """Ask all processes to end, and return at once; a second request kills them.

        They get SIGTERM in the reverse order of their start, the highest stage first. A process
        that still runs after `drain_timeout_s` gets SIGKILL.
        """
        if not self._stop_requested.is_set():
            self._stop_requested.set()
            self._spawner.stop_forking()
            self._nursery.start_soon(self._drain, name="drain the pool")
            return
        for handle in self._newest_first():
            if not handle.is_gone:
                handle.request_stop(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop all processes and wait for their end; a second call meanwhile kills them."""
        if not self._stopped.is_set():
            self.request_stop()
        await self._stopped.wait()

    async def shut_down(self) -> KeyboardInterrupt | None:
        """Stop unless that was requested before, and wait for the end. Called by `open_pool`.

        Returns
        -------
        KeyboardInterrupt | None
            An interrupt that arrived meanwhile. It counts as a second request, which kills.
        """
        interrupt = None
        if not self._stop_requested.is_set():
            self.request_stop()
        with trio.CancelScope(shield=True):
            while not self._stopped.is_set():
                try:
                    await self._stopped.wait()
                except KeyboardInterrupt as error:
                    self.request_stop()
                    interrupt = error
        return interrupt

    def raise_unreported_failure(self) -> None:
        """Raise the failure of the pool if no caller of `wait` has got it. For `open_pool`."""
        if self._failure is not None and not self._failure_reported:
            raise self._failure

    def statistics(self) -> PoolStatistics:
        """Return a frozen picture of this moment."""
        return PoolStatistics(
            tuple(handle.statistics() for handle in self._handles.values()),
            self._stop_requested.is_set(),
            self._spawner.fork_server_pids,
            self._spawner.reaper.pid,
        )

    def _newest_first(self) -> list[ProcessHandle]:
        return list(reversed(self._handles.values()))

    def _say(self, text: str) -> None:
        self._on_line(POOL_NAME, text)

    # One process ---------------------------------------------------------------------------------

    async def _spawn(self, handle: ProcessHandle) -> Process:
        process, lifeline = await self._spawner.spawn(handle.spec)
        handle.record_start(process, lifeline, trio.current_time())
        return process

    # An interrupt is for the block inside `open_pool`, not for the tasks that drain because of it.
    @trio.lowlevel.enable_ki_protection
    async def _supervise(self, handle: ProcessHandle, process: Process | None) -> None:
        # Shielded because a canceled pool drains first, and this task is a part of draining.
        with trio.CancelScope(shield=True):
            state: ProcessState = "failed"
            try:
                while process is not None:
                    handle.record_exit(await self._run(handle, process))
                    process = await self._restart(handle)
                state = "failed" if self._is_blamed(handle) else "stopped"
            finally:
                handle.record_gone(state)

    async def _run(self, handle: ProcessHandle, process: Process) -> int:
        """Attend to one run, from its start to its end; return the exit code."""
        output_done = trio.Event()
        lifeline = handle.lifeline
        assert lifeline is not None

        def on_line(line: str) -> None:
            handle.record_line(line)
            self._on_line(handle.name, line)

        @trio.lowlevel.enable_ki_protection
        async def read() -> None:
            await read_output(process, on_line)
            output_done.set()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(self._listen, handle, lifeline)
                if process.stdin is not None and handle.spec.stdin_data is not None:
                    nursery.start_soon(feed_stdin, process, handle.spec.stdin_data)
                code = await process.wait()
                # It may have said so in its last moment, before `_listen` had its turn.
                if READY in lifeline.receive():
                    handle.record_ready()
                # Processes it has left behind would keep its ports, its files and its output.
                kill_group(process.pid)
                with trio.move_on_after(_OUTPUT_GRACE_S):
                    await output_done.wait()
                nursery.cancel_scope.cancel()
        finally:
            if process.returncode is None:
                kill_all(process)
                await process.wait()
            self._spawner.release(process, lifeline)
        return code

    @trio.lowlevel.enable_ki_protection
    async def _listen(self, handle: ProcessHandle, lifeline: Lifeline) -> None:
        """Act on what the process says over its lifeline, until it closes its end."""
        while True:
            await trio.lowlevel.wait_readable(lifeline.fileno())
            said = lifeline.receive()
            if not said:
                return
            if READY in said:
                handle.record_ready()
            if ASKED in said:
                # A service manager signals all processes of a service at once, and this one may get
                # its signal a moment later. It then stops the process in the order of the stages.
                with trio.move_on_after(_ASKED_S):
                    await self._stop_requested.wait()
                if not self._stop_requested.is_set():
                    lifeline.request_stop()

    async def _restart(self, handle: ProcessHandle) -> Process | None:
        """Start the next run of a process that has ended; None if there is to be none."""
        while not self._stop_requested.is_set():
            what = f"{handle.name} {describe_exit(handle.exit_code)}"
            decision = handle.decide_restart(trio.current_time())
            if isinstance(decision, GiveUp):
                self._fail(handle, what, decision.reason)
                return None
            handle.state = "waiting"
            self._say(f"{what}; starting it again in {decision.delay_s:g} s")
            with trio.move_on_after(decision.delay_s):
                await self._stop_requested.wait()
            if self._stop_requested.is_set():
                return None
            handle.restarts += 1
            handle.state = "starting"
            try:
                return await self._spawn(handle)
            except OSError as error:
                handle.record_line(str(error))
                handle.record_exit(None)
        return None

    # Stopping ------------------------------------------------------------------------------------

    def _fail(self, handle: ProcessHandle, what: str, reason: str) -> None:
        """Stop everything because one process is hopeless: that failure must not go unnoticed."""
        self._failure = RestartLimitError(handle.name, handle.exit_code, reason, handle.last_lines)
        self._say(f"{what}; stopping everything: {reason}")
        self.request_stop()

    def _is_blamed(self, handle: ProcessHandle) -> bool:
        return self._failure is not None and self._failure.name == handle.name

    @trio.lowlevel.enable_ki_protection
    async def _drain(self) -> None:
        with trio.CancelScope(shield=True):
            for stage in sorted({h.spec.stage for h in self._handles.values()}, reverse=True):
                handles = [h for h in self._newest_first() if h.spec.stage == stage]
                await self._drain_stage([h for h in handles if not h.is_gone])
            self._stopped.set()
            if self._failure is not None and not self._waiting:
                self.block_scope.cancel()

    async def _drain_stage(self, handles: list[ProcessHandle]) -> None:
        for handle in handles:
            # A second request may have come before this stage's turn. It has sent SIGKILL.
            if not handle.stop_requested:
                handle.request_stop(signal.SIGTERM)
        with trio.move_on_after(self._drain_timeout_s):
            for handle in handles:
                await handle.wait_gone()
        late = [handle for handle in handles if not handle.is_gone]
        for handle in late:
            self._say(f"{handle.name} has not ended in {self._drain_timeout_s:g} s; killing it")
            handle.request_stop(signal.SIGKILL)
        for handle in late:
            await handle.wait_gone()


@asynccontextmanager
async def open_pool(
    *, on_line: Callable[[str, str], None] | None = None, drain_timeout_s: float = 10.0
) -> AsyncIterator[Pool]:
    """Open a pool. When the block is left, the pool is stopped and all its processes are gone.

    If this process itself is killed, its children notice by their lifeline or are ended by the
    reaper (`ProcessSpec.watches_lifeline`).

    Parameters
    ----------
    on_line
        Called with the name of a process and a line of its output, or with "pool" and a message of
        the pool, on the pool's thread: it must not block. By default the lines are printed.
    drain_timeout_s
        Seconds between SIGTERM and SIGKILL, for the processes of one stage together.

    Raises
    ------
    RestartLimitError
        In place of the block's own end, if a process died too often and no caller was in
        `Pool.wait`.
    """
    printer = None
    if on_line is None:
        on_line = printer = LinePrinter()
    reaper = Reaper(drain_timeout_s)
    error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            forker = Forker(nursery, on_line, POOL_NAME)
            spawner = Spawner(reaper, forker)
            pool = Pool(nursery, spawner, on_line, drain_timeout_s)
            # The block's exception is raised outside the nursery, which would make it a group.
            try:
                with pool.block_scope:
                    yield pool
            except BaseException as raised:
                error = raised
            error = await pool.shut_down() or error
            await spawner.aclose()
    finally:
        await reaper.aclose()
        if printer is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(printer.close)
    if error is not None:
        raise error
    pool.raise_unreported_failure()
