"""The driver of a simulation: makes moves, and lets time pass, in the threads that call or wait.

A stage has no thread of its own. A thread that calls or waits takes the simulator's lock and makes
moves until it has what it wants, so several threads may drive one simulation, one after the other.
A thread that runs an event loop may not run functions, since these may start loops of their own; it
hands the work to a fresh thread and waits for it. The loop of ``async def`` functions is the
exception: it must not wait, so it only writes down what its function awaits, and the thread that
drives makes the moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from understudy.errors import UnderstudyError
from understudy.testing.clock import Clock
from understudy.testing.components import Peer
from understudy.testing.simulator import Moment, Simulator
from understudy.testing.threads import run_off_loop

#: Seconds of real time that a function in another thread may take before the test fails.
FUNCTION_TIMEOUT_S: Final = 60.0
#: Pending promises that an error lists.
_SHOWN_MAX: Final = 20


class StuckError(UnderstudyError):
    """A caller on a stage waits for something that cannot happen.

    The message says what is pending and why it cannot go on.

    Examples
    --------
    >>> from understudy import Runtime
    >>> from understudy.testing import Stage, StuckError
    >>> runtime = Runtime("shop")
    >>> with Stage(runtime):
    ...     try:
    ...         runtime.options(target="bank").rpc("charge-1", "charge", 7).result()
    ...     except StuckError as error:
    ...         print(str(error).partition(",")[0])
    1 call waits for a node of group 'bank'
    """


class Driver:
    """Makes a simulator move for the threads that call or wait.

    Parameters
    ----------
    start_ms
        The time at the start, in epoch milliseconds.
    kills, log
        See `Simulator`.
    """

    def __init__(
        self,
        start_ms: int,
        kills: Mapping[int, Moment] | None,
        log: Callable[[str], None] | None,
    ) -> None:
        self.simulator = Simulator(kills=kills, start_ms=start_ms, log=log)
        self.clock = Clock(self.simulator.now_ms, self._advance_to)
        self._threads = self.simulator.threads
        self._closed = False

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @contextmanager
    def driving(self) -> Iterator[Simulator]:
        """Give this thread the simulator; others wait, and functions that run here are suspended.

        Raises
        ------
        StuckError
            The stage is closed.
        """
        with self._threads.driving():
            if self._closed:
                raise StuckError("this stage is closed")
            yield self.simulator

    def close(self) -> None:
        """End the simulation, and close the functions that still wait."""
        if not self._closed:
            self._closed = True
            self.simulator.close()

    # Calls ---------------------------------------------------------------------------------------

    def submit(self, client: Peer, function: Callable[..., None], *args: Any) -> None:
        """Let a client send something, then make all moves that need no time to pass."""

        def send() -> None:
            with self.driving() as simulator:
                function(*args)
                simulator.exchange(client)
                # A call that a function makes has to wait until that function waits or ends,
                # because only one function runs at a time.
                while not self._threads.is_inside_function() and simulator.move():
                    pass

        self._off_loop(send)

    def wait_for(self, done: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Make moves until `done`; let time pass when there is no move to make.

        Parameters
        ----------
        timeout_s
            Seconds of the stage's clock; None waits without limit.

        Raises
        ------
        TimeoutError
            The time is over.
        StuckError
            Nothing can happen any more, a call waits for a group without nodes, or it is parked.
        """
        until = None if timeout_s is None else self.simulator.now + round(timeout_s * 1000)
        self._off_loop(lambda: self._wait_for(done, until))

    def wait_on_loop(self, done: Callable[[], bool]) -> None:
        """Make moves until `done`, for a caller that itself waits on an event loop.

        Returns early if something else must happen first: the caller goes on waiting, and other
        tasks of its loop may bring it about.
        """
        with self._threads.lock:
            if self._threads.is_loop():
                # A function awaits this. Its thread is a loop, so another thread drives.
                self.simulator.awaited.append(done)
                self._threads.lock.notify_all()
                return

        def move() -> None:
            with self.driving() as simulator:
                while not done():
                    if simulator.move():
                        continue
                    if self._threads.is_occupied() or not self.clock.skips:
                        return
                    _check_progress(simulator)
                    if not _skip(simulator, None):
                        return

        self._off_loop(move)

    # Time ----------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Make all moves that need no time to pass."""

        def move() -> None:
            with self.driving() as simulator:
                _move_all(simulator)

        self._off_loop(move)

    def skip(self) -> bool:
        """Jump to the next moment at which something is due, and rest; False if there is none."""
        with self.driving() as simulator:
            _check_progress(simulator)
            if not _skip(simulator, None):
                return False
        self.rest()
        return True

    def _advance_to(self, at: int) -> None:
        def advance() -> None:
            with self.driving() as simulator:
                while simulator.move() or _skip(simulator, at):
                    pass
                simulator.now = max(simulator.now, at)
                _move_all(simulator)

        self._off_loop(advance)

    def _wait_for(self, done: Callable[[], bool], until: int | None) -> None:
        with self.driving() as simulator:
            while not done():
                if simulator.move():
                    continue
                if self._threads.is_occupied():
                    if not self._threads.lock.wait(FUNCTION_TIMEOUT_S):
                        raise StuckError(
                            f"a function has been running for {FUNCTION_TIMEOUT_S:g} s"
                        )
                    continue
                if not self.clock.skips and (until is None or until > simulator.now):
                    raise StuckError(
                        "everything waits for time, and clock.skips is off: call clock.advance "
                        f"first\n{_pending(simulator)}"
                    )
                _check_progress(simulator)
                if _skip(simulator, until):
                    continue
                if until is None:
                    raise StuckError(f"nothing can happen any more\n{_pending(simulator)}")
                simulator.now = max(simulator.now, until)
                _move_all(simulator)
                if not done():
                    raise TimeoutError

    def _off_loop(self, function: Callable[[], None]) -> None:
        if self._threads.is_loop():
            function()
        else:
            run_off_loop(function)


def _move_all(simulator: Simulator) -> None:
    while simulator.move():
        pass


def _skip(simulator: Simulator, until: int | None) -> bool:
    """Jump to the next moment at which something is due, unless it is after `until`."""
    due = simulator.next_due()
    if due is None or (until is not None and due > until):
        return False
    simulator.now = max(simulator.now, due)
    return True


def _check_progress(simulator: Simulator) -> None:
    """Raise if a call waits for something that will not happen by itself."""
    _check_parked(simulator)
    _check_served(simulator)


def _check_served(simulator: Simulator) -> None:
    """Raise if a call waits for a group without nodes, because it would wait until its deadline."""
    for group in simulator.broker.core.dispatcher.statistics().groups:
        for (name, version), count in group.unserved if group.nodes else ():
            asked = repr(name) if version is None else f"{name!r} version {version}"
            wait = "1 call waits" if count == 1 else f"{count} calls wait"
            raise StuckError(
                f"{wait} for the function {asked}, which no runtime of group {group.name!r} here "
                f"has registered\n{_pending(simulator)}"
            )
        if group.queued and not group.nodes:
            served = ", ".join(sorted({node.group for node in simulator.nodes})) or "none"
            wait = "1 call waits" if group.queued == 1 else f"{group.queued} calls wait"
            raise StuckError(
                f"{wait} for a node of group {group.name!r}, which nobody serves here (served: "
                f"{served}). Give the stage, or crash_everywhere.on, the runtime of that group, or "
                f"one with stand-ins: Runtime(group={group.name!r})\n{_pending(simulator)}"
            )


def _check_parked(simulator: Simulator) -> None:
    """Raise if a call is parked, because nobody here will continue it."""
    view = simulator.broker.core.machine.view
    if not view.statistics().tasks_halted:
        return
    for record in view.records():
        task = view.task(record.id)
        if task is not None and task.state == "halted" and task.cause:
            raise StuckError(f"{record.id} is parked: {task.cause}\n{_pending(simulator)}")


def _pending(simulator: Simulator) -> str:
    """List the promises that are not settled, one per line."""
    records = simulator.broker.core.machine.view.records()
    pending = sorted(record.id for record in records if not record.settled)
    lines = [f"  {id_}" for id_ in pending[:_SHOWN_MAX]]
    if len(pending) > _SHOWN_MAX:
        lines.append(f"  and {len(pending) - _SHOWN_MAX} more")
    return "pending:\n" + "\n".join(lines) if lines else "nothing is pending"
