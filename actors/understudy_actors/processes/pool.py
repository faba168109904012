"""The pool itself: a trio service that supervises child processes."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from understudy_actors.errors import ActorError
from understudy_actors.processes.child import (
    Process,
    ProcessSpec,
    ProcessState,
    ProcessStatistics,
    feed_stdin,
    kill_all,
    kill_group,
    read_output,
    spawn,
)
from understudy_actors.processes.fork_client import Templates
from understudy_actors.processes.lifeline import Lifeline
from understudy_actors.processes.printer import LinePrinter
from understudy_actors.processes.reaper import Guard
from understudy_actors.processes.restart import GiveUp, RestartHistory, describe_exit

#: Lines of output that the report of a failure quotes.
LINES_QUOTED_MAX = 20

#: Seconds for the rest of the output after a process has ended.
_OUTPUT_GRACE_S = 1.0

#: Under this name the pool itself speaks in the output.
POOL_NAME = "pool"


class ProcessStartError(ActorError):
    """A process could not even be started: no such program or folder, or no right to run it."""


class RestartLimitError(ActorError):
    """A process died so often, or so hopelessly, that the pool has stopped all the others too."""

    def __init__(
        self, name: str, exit_code: int | None, reason: str, lines: tuple[str, ...]
    ) -> None:
        super().__init__(name, exit_code, reason, lines)
        self.name = name
        #: of its last run: a code, or minus the signal's number
        self.exit_code = exit_code
        self.reason = reason
        #: the last of its output
        self.lines = lines

    def __str__(self) -> str:
        head = (
            f"{self.name} {describe_exit(self.exit_code)} and was not started again: {self.reason}"
        )
        if not self.lines:
            return f"{head}. It wrote nothing"
        return "\n".join((f"{head}. Its last lines:", *(f"  {line}" for line in self.lines)))


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """The pool, at this moment; processes in the order in which they were started."""

    processes: tuple[ProcessStatistics, ...]
    stopping: bool
    #: process ids of the templates, which fork and are no processes of the pool's own
    templates: tuple[int, ...] = ()

    @property
    def running(self) -> int:
        """How many processes run."""
        return sum(process.state == "running" for process in self.processes)

    @property
    def restarts(self) -> int:
        """How many restarts there were, of all processes."""
        return sum(process.restarts for process in self.processes)


class ProcessHandle:
    """One supervised process, through all its restarts."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        #: of the current run; None while it is not running
        self.pid: int | None = None
        self.restarts = 0
        self.state: ProcessState = "starting"
        #: of the last run that ended: a code, or minus the signal's number
        self.exit_code: int | None = None
        self._history = RestartHistory(spec.restart)
        self._tail: deque[str] = deque(maxlen=LINES_QUOTED_MAX)
        self._process: Process | None = None
        self._asked: signal.Signals | None = None
        self._gone = trio.Event()

    @property
    def name(self) -> str:
        return self.spec.name

    def statistics(self) -> ProcessStatistics:
        """A frozen picture."""
        return ProcessStatistics(self.name, self.pid, self.state, self.restarts, self.exit_code)

    def send_signal(self, number: signal.Signals) -> int | None:
        """Send a signal to the process as it is now; its pid, or None if none runs.

        The pool sees what comes of it as it sees any other death.
        """
        if self._process is not None:
            self._process.send_signal(number)
        return self.pid

    def _ask(self, number: signal.Signals) -> None:
        """Ask it to go; also if it is only just being started."""
        self._asked = number
        if not self._gone.is_set():
            self.state = "stopping"
        self._deliver()

    def _deliver(self) -> None:
        if self._process is None or self._asked is None or self._process.returncode is not None:
            return
        if self._asked is signal.SIGKILL:
            kill_all(self._process)
        else:
            # Only the process itself: what it has started, it knows how to end.
            self._process.send_signal(self._asked)

    def _runs(self, process: Process, now_s: float) -> None:
        self._process, self.pid = process, process.pid
        self._history.started(now_s)
        if self._asked is None:
            self.state = "running"
        self._deliver()

    def _ended(self, code: int | None) -> None:
        self._process, self.pid, self.exit_code = None, None, code

    def _left(self, state: ProcessState) -> None:
        self.state = state
        self._gone.set()


class Pool:
    """Supervises processes; made by `open_pool`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        on_line: Callable[[str, str], None],
        drain_timeout_s: float,
        lifeline: Lifeline,
        guard: Guard,
    ) -> None:
        self._nursery = nursery
        self._on_line = on_line
        self._drain_timeout_s = drain_timeout_s
        self._lifeline = lifeline
        self._guard = guard
        self._templates = Templates(
            nursery, on_line, lambda text: on_line(POOL_NAME, text), lifeline.read_fd
        )
        self._handles: dict[str, ProcessHandle] = {}
        self._stop_asked = trio.Event()
        self._stopped = trio.Event()
        self._failure: RestartLimitError | None = None
        #: whether somebody in `wait` has been told of it
        self._told = False
        self._waiting = 0
        #: cancelled when the pool has failed and nobody is in `wait` to be told
        self._body = trio.CancelScope()

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
        if self._stop_asked.is_set():
            raise RuntimeError("the pool is stopping and starts nothing more")
        if spec.name in self._handles or spec.name == POOL_NAME:
            raise ValueError(f"the name {spec.name!r} is taken in this pool")
        handle = self._handles[spec.name] = ProcessHandle(spec)
        try:
            process = await self._spawn(handle)
        except OSError as exc:
            del self._handles[spec.name]
            handle._left("failed")
            where = f" in {spec.cwd}" if spec.cwd else ""
            raise ProcessStartError(
                f"{spec.name}: {' '.join(spec.argv)!r}{where} cannot be started: {exc}"
            ) from exc
        except BaseException:
            del self._handles[spec.name]
            handle._left("failed")
            raise
        self._nursery.start_soon(self._supervise, handle, process, name=f"supervise {spec.name}")
        return handle

    async def prepare(self, specs: Iterable[ProcessSpec]) -> None:
        """Start the templates of all that can be forked at once; `start` would one by one."""
        await self._templates.prepare(spec for spec in specs if spec.forks)

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
        self._raise_failure()

    def request_stop(self) -> None:
        """Ask all processes to end, and return at once. Asked again: kill them.

        They get SIGTERM in the reverse order of their start, the highest stage first; those that
        are still there after `drain_timeout_s` get SIGKILL. Call it on the pool's own thread.
        """
        if not self._stop_asked.is_set():
            self._stop_asked.set()
            self._templates.give_up()
            self._nursery.start_soon(self._drain, name="drain the pool")
            return
        for handle in self._newest_first():
            if not handle._gone.is_set():
                handle._ask(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop all processes and wait until they are gone; a second call, meanwhile, kills them."""
        if not self._stopped.is_set():
            self.request_stop()
        await self._stopped.wait()

    def statistics(self) -> PoolStatistics:
        """A frozen picture of the pool."""
        processes = tuple(handle.statistics() for handle in self._handles.values())
        return PoolStatistics(processes, self._stop_asked.is_set(), self._templates.pids)

    def _newest_first(self) -> list[ProcessHandle]:
        return list(reversed(self._handles.values()))

    def _raise_failure(self, *, once: bool = False) -> None:
        if self._failure is not None and not (once and self._told):
            self._told = True
            raise self._failure

    # -- one process ------------------------------------------------------------------------------

    async def _spawn(self, handle: ProcessHandle) -> Process:
        if not handle.spec.watches_lifeline:
            await self._guard.open()
        process: Process | None = None
        if handle.spec.forks:
            process = await self._templates.fork(handle.spec)
        if process is None:
            process = await spawn(handle.spec, self._lifeline.read_fd)
        if not handle.spec.watches_lifeline:
            self._guard.add(process.pid)
        handle._runs(process, trio.current_time())
        return process

    # An interrupt is for the block inside `open_pool`, not for the tasks that drain because of it.
    @trio.lowlevel.enable_ki_protection
    async def _supervise(self, handle: ProcessHandle, process: Process | None) -> None:
        # Shielded: whoever cancels the pool means it to drain, which takes this task too.
        with trio.CancelScope(shield=True):
            state: ProcessState = "failed"
            try:
                while process is not None:
                    handle._ended(await self._run(handle, process))
                    process = await self._start_again(handle)
                state = "failed" if self._is_blamed(handle) else "stopped"
            finally:
                handle._left(state)

    async def _run(self, handle: ProcessHandle, process: Process) -> int:
        """One run, from its start to its end; the exit code."""
        output_done = trio.Event()

        def keep(line: str) -> None:
            handle._tail.append(line)
            self._on_line(handle.name, line)

        @trio.lowlevel.enable_ki_protection
        async def read() -> None:
            await read_output(process, keep)
            output_done.set()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                if process.stdin is not None and handle.spec.stdin_data is not None:
                    nursery.start_soon(feed_stdin, process, handle.spec.stdin_data)
                code = await process.wait()
                # What it has started and left behind would keep its ports, its files, its output.
                kill_group(process.pid)
                with trio.move_on_after(_OUTPUT_GRACE_S):
                    await output_done.wait()
                nursery.cancel_scope.cancel()
        finally:
            if process.returncode is None:
                kill_all(process)
                await process.wait()
            self._guard.remove(process.pid)
        return code

    async def _start_again(self, handle: ProcessHandle) -> Process | None:
        """The next run of a process that has ended; None if there is none."""
        while not self._stop_asked.is_set():
            what = f"{handle.name} {describe_exit(handle.exit_code)}"
            decision = handle._history.exited(trio.current_time(), handle.exit_code)
            if isinstance(decision, GiveUp):
                self._escalate(handle, decision)
                return None
            handle.state = "waiting"
            self._on_line(POOL_NAME, f"{what}; starting it again in {decision.delay_s:g} s")
            with trio.move_on_after(decision.delay_s):
                await self._stop_asked.wait()
            if self._stop_asked.is_set():
                return None
            handle.restarts += 1
            handle.state = "starting"
            try:
                return await self._spawn(handle)
            except OSError as exc:
                handle._tail.append(str(exc))
                handle._ended(None)
        return None

    # -- the end ----------------------------------------------------------------------------------

    def _escalate(self, handle: ProcessHandle, decision: GiveUp) -> None:
        """What restarting does not mend is not hidden: everything stops, and `wait` raises."""
        self._failure = RestartLimitError(
            handle.name, handle.exit_code, decision.reason, tuple(handle._tail)
        )
        what = f"{handle.name} {describe_exit(handle.exit_code)}"
        self._on_line(POOL_NAME, f"{what}; stopping everything: {decision.reason}")
        self.request_stop()

    def _is_blamed(self, handle: ProcessHandle) -> bool:
        return self._failure is not None and self._failure.name == handle.name

    @trio.lowlevel.enable_ki_protection
    async def _drain(self) -> None:
        with trio.CancelScope(shield=True):
            for stage in sorted({h.spec.stage for h in self._handles.values()}, reverse=True):
                handles = [h for h in self._newest_first() if h.spec.stage == stage]
                await self._drain_stage([h for h in handles if not h._gone.is_set()])
            self._stopped.set()
            if self._failure is not None and not self._waiting:
                self._body.cancel()

    async def _drain_stage(self, handles: list[ProcessHandle]) -> None:
        for handle in handles:
            # One that has been asked already was asked by a second stop request: with SIGKILL.
            if handle._asked is None:
                handle._ask(signal.SIGTERM)
        with trio.move_on_after(self._drain_timeout_s):
            for handle in handles:
                await handle._gone.wait()
        late = [handle for handle in handles if not handle._gone.is_set()]
        for handle in late:
            self._on_line(
                POOL_NAME, f"{handle.name} has not ended in {self._drain_timeout_s:g} s; killing it"
            )
            handle._ask(signal.SIGKILL)
        for handle in late:
            await handle._gone.wait()

    async def _shut_down(self) -> KeyboardInterrupt | None:
        """Stop, if that has not been asked yet; an interrupt meanwhile is a second request."""
        interrupt = None
        if not self._stop_asked.is_set():
            self.request_stop()
        with trio.CancelScope(shield=True):
            while not self._stopped.is_set():
                try:
                    await self._stopped.wait()
                except KeyboardInterrupt as exc:
                    self.request_stop()
                    interrupt = exc
        return interrupt


@asynccontextmanager
async def open_pool(
    *, on_line: Callable[[str, str], None] | None = None, drain_timeout_s: float = 10.0
) -> AsyncIterator[Pool]:
    """A pool, which is stopped, and all its processes gone, when the block is left.

    Should this process itself be killed, its children notice by their lifeline or are ended by a
    helper (`ProcessSpec.watches_lifeline`).

    Parameters
    ----------
    on_line
        Called with a process's name and a line of its output (or with "pool" and what the pool has
        to say), on the pool's thread: it must not block. Prints to standard output unless given.
    drain_timeout_s
        Seconds between SIGTERM and SIGKILL, for the processes of one stage together.

    Raises
    ------
    RestartLimitError
        In place of the block's own end, if a process died too often and nobody was in `Pool.wait`.
    """
    printer = None
    if on_line is None:
        on_line = printer = LinePrinter()
    lifeline = Lifeline()
    guard = Guard(drain_timeout_s)
    error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            pool = Pool(nursery, on_line, drain_timeout_s, lifeline, guard)
            # The block's own exception is raised outside the nursery, which would make it a group.
            try:
                with pool._body:
                    yield pool
            except BaseException as exc:
                error = exc
            error = await pool._shut_down() or error
            await pool._templates.aclose()
    finally:
        await guard.aclose()
        lifeline.close()
        if printer is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(printer.close)
    if error is not None:
        raise error
    pool._raise_failure(once=True)
