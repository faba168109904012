"""The two event loops that run ``async def`` functions, behind one protocol: trio and asyncio.

A loop tells a `TaskWatch` of the tasks that functions start, so that each gets a strand of its own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context as Variables
from math import inf
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import trio

from understudy_actors.executor.forked import end_process, went_on
from understudy_actors.interpreter.ports import LoopName
from understudy_actors.interpreter.requests import Request
from understudy_broker.transport.loop_lock import LoopThread

#: Wrappers of coroutines that are looked through for the name of a task.
_WRAPPERS_MAX: Final = 4


class TaskWatch(Protocol):
    """Somebody who is told of tasks; called on the loop's thread."""

    def task_started(self, creator: object, task: object, name: Callable[[], str]) -> None:
        """Note that the task `creator` has started `task`; `name` returns the name of its code."""

    def task_ended(self, task: object) -> None: ...


class Event(Protocol):
    """A condition of either library; it is set once."""

    def set(self) -> None: ...
    async def wait(self) -> Any: ...


class EventLoop(Protocol):
    """An event loop on a thread of its own."""

    #: how long functions pause without blocking it, for messages: ``trio.to_thread.run_sync``
    in_thread: str
    #: it runs tasks that are ready at the same time in a random order
    shuffles: bool

    def run(self, on_started: Callable[[], None]) -> None:
        """Run until `stop`, on the calling thread; call `on_started` at the beginning."""

    def run_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function` on the loop's thread; nothing is called if the loop has ended."""

    # On the loop's thread ------------------------------------------------------------------------

    def stop(self) -> None:
        """Cancel all tasks, and end."""

    def call_later(self, delay_s: float, function: Callable[[], object]) -> None:
        """Call `function` after so many seconds, unless the loop has ended by then."""

    def start(
        self, variables: Variables, main: Callable[[], Coroutine[Any, Any, None]]
    ) -> Callable[[], None]:
        """Start a task with `variables`; return what cancels it."""

    def event(self) -> Event: ...
    def current_task(self) -> object | None:
        """Return the task that runs now; None in a callback, and on any other thread."""

    def has_deadline(self) -> bool:
        """Return whether a time limit may interrupt what the current task is going to await."""

    def cancel(self, tasks: Iterable[object]) -> None:
        """Cancel tasks that functions have left behind."""

    def end_after_step(self) -> None:
        """End this process, which was just forked, once the current task gives up control."""


class TrioLoop:
    """A trio loop (an `EventLoop`)."""

    in_thread = "trio.to_thread.run_sync"
    shuffles = True

    def __init__(self, watch: TaskWatch) -> None:
        self._watch = _TrioWatch(watch)
        self._nursery: trio.Nursery
        self._thread: LoopThread

    def run(self, on_started: Callable[[], None]) -> None:
        """Run until `stop`, on the calling thread; call `on_started` at the beginning."""
        trio.run(self._main, on_started, instruments=[self._watch])

    async def _main(self, on_started: Callable[[], None]) -> None:
        async with trio.open_nursery() as self._nursery:
            self._thread = LoopThread()
            on_started()
            await trio.sleep_forever()

    def run_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function` on the loop's thread; nothing is called if the loop has ended."""
        self._thread.run_soon(function, *args)

    def stop(self) -> None:
        """Cancel all tasks, and end."""
        self._nursery.cancel_scope.cancel()

    def call_later(self, delay_s: float, function: Callable[[], object]) -> None:
        """Call `function` after so many seconds, unless the loop has ended by then."""
        # Not from the current task, because the new one would be taken for a task of its function.
        self.run_soon(self._nursery.start_soon, self._sleep_and_call, delay_s, function)

    async def _sleep_and_call(self, delay_s: float, function: Callable[[], object]) -> None:
        await trio.sleep(delay_s)
        function()

    def start(
        self, variables: Variables, main: Callable[[], Coroutine[Any, Any, None]]
    ) -> Callable[[], None]:
        """Start a task with `variables`; return what cancels it."""
        scope = trio.CancelScope()

        async def scoped() -> None:
            with scope:
                await main()

        # A task of trio begins with a copy of the variables in which it is started.
        variables.run(self._nursery.start_soon, scoped)
        return scope.cancel

    def event(self) -> Event:
        return trio.Event()

    def current_task(self) -> object | None:
        """Return the task that runs now; None in a callback, and on any other thread."""
        return _trio_task()

    def has_deadline(self) -> bool:
        """Return whether a time limit may interrupt what the current task is going to await."""
        return trio.current_effective_deadline() < inf

    def cancel(self, tasks: Iterable[object]) -> None:
        """Leave the tasks alone: each belongs to a nursery, which sees to it."""

    def end_after_step(self) -> None:
        """End this process, which was just forked, once the current task gives up control."""
        trio.lowlevel.add_instrument(_EndAfterStep())


class _TrioWatch(trio.abc.Instrument):
    def __init__(self, watch: TaskWatch) -> None:
        self._watch = watch

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        creator = _trio_task()
        if creator is not None:
            self._watch.task_started(creator, task, lambda: _name_of(task.coro))

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._watch.task_ended(task)


class _EndAfterStep(trio.abc.Instrument):
    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if inspect.getcoroutinestate(task.coro) != inspect.CORO_CLOSED:
            end_process(went_on())
        nursery = task.parent_nursery
        if nursery is not None and nursery.cancel_scope.cancel_called:
            # A task that fails cancels its nursery.
            end_process(SystemExit(f"a process was forked in {task.name}, which has failed"))
        end_process(None)


def _trio_task() -> trio.lowlevel.Task | None:
    try:
        return trio.lowlevel.current_task()
    except RuntimeError:
        return None


class AsyncioLoop:
    """An asyncio loop (an `EventLoop`), of whatever kind the policy of the process makes."""

    in_thread = "asyncio.to_thread"
    shuffles = False

    def __init__(self, watch: TaskWatch) -> None:
        self._watch = watch
        self._loop: asyncio.AbstractEventLoop
        self._stopping = False
        #: Timers by the task that has set them. Time limits are timers, and asyncio knows of no
        #: difference.
        self._timers: WeakKeyDictionary[object, list[asyncio.TimerHandle]] = WeakKeyDictionary()

    def run(self, on_started: Callable[[], None]) -> None:
        """Run until `stop`, on the calling thread; call `on_started` at the beginning."""
        self._loop = loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_task_factory(self._new_task)
        self._call_at, loop.call_at = loop.call_at, self._noted_call_at  # type: ignore[assignment,method-assign]
        loop.call_soon(on_started)
        try:
            self._run_until(lambda: self._stopping)
            self._end_tasks()
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _run_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            # A task that raises one of these, as a function may, ends the loop as well.
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()

    def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
            task.add_done_callback(lambda _: self._loop.stop())
        self._run_until(lambda: all(task.done() for task in tasks))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def _new_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,
        **options: Any,
    ) -> asyncio.Task[Any]:
        if isinstance(coroutine, Request):
            # `create_task(ctx.rpc(...))` gets here, although only a coroutine makes a task.
            coroutine = _awaiting(coroutine)
        creator = self.current_task()
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        if creator is not None:
            self._watch.task_started(creator, task, lambda: _name_of(coroutine))
            task.add_done_callback(self._watch.task_ended)
        return task

    def _noted_call_at(self, when: float, callback: Any, *args: Any, **options: Any) -> Any:
        timer = self._call_at(when, callback, *args, **options)
        task = self.current_task()
        if task is not None:
            timers = self._timers.setdefault(task, [])
            timers.append(timer)
            if len(timers) & (len(timers) - 1) == 0:
                # At each power of two the list loses what is over, so that it stays short.
                self._timers[task] = self._running_timers(task)
        return timer

    def _running_timers(self, task: object) -> list[asyncio.TimerHandle]:
        now = self._loop.time()
        return [
            timer
            for timer in self._timers.get(task, ())
            if not timer.cancelled() and timer.when() > now
        ]

    def run_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function` on the loop's thread; nothing is called if the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def stop(self) -> None:
        """Cancel all tasks, and end."""
        self._stopping = True
        self._loop.stop()

    def call_later(self, delay_s: float, function: Callable[[], object]) -> None:
        """Call `function` after so many seconds, unless the loop has ended by then."""
        # Not with `loop.call_later`, whose timers count as time limits of the current task.
        self._call_at(self._loop.time() + delay_s, function)

    def start(
        self, variables: Variables, main: Callable[[], Coroutine[Any, Any, None]]
    ) -> Callable[[], None]:
        """Start a task with `variables`; return what cancels it."""
        task = self._loop.create_task(main(), context=variables)
        return lambda: self.cancel((task,))

    def event(self) -> Event:
        return asyncio.Event()

    def current_task(self) -> object | None:
        """Return the task that runs now; None in a callback, and on any other thread."""
        try:
            return asyncio.current_task()
        except RuntimeError:
            return None

    def has_deadline(self) -> bool:
        """Return whether a time limit may interrupt what the current task is going to await."""
        return bool(self._running_timers(asyncio.current_task()))

    def cancel(self, tasks: Iterable[object]) -> None:
        """Cancel tasks that functions have left behind."""
        for task in tasks:
            assert isinstance(task, asyncio.Task)
            task.cancel()

    def end_after_step(self) -> None:
        """End this process, which was just forked, once the current task gives up control."""
        # asyncio has made the child forget which loop runs.
        self._loop.call_soon(_end_copy, asyncio.current_task(self._loop))


def _end_copy(task: asyncio.Task[Any] | None) -> None:
    if task is None or task.cancelled():
        end_process(None)
    end_process(task.exception() if task.done() else went_on())


async def _awaiting(request: Request[Any]) -> Any:
    return await request


def _name_of(coroutine: Any) -> str:
    """Return the qualified name of what a task runs.

    It may be wrapped in other coroutines, which have it among their arguments. The wrapper of anyio
    is a method of an object that has it in an attribute.
    """
    for _ in range(_WRAPPERS_MAX):
        frame = getattr(coroutine, "cr_frame", None)
        arguments = () if frame is None else frame.f_locals.values()
        inner = next((value for each in arguments if (value := _coroutine_in(each))), None)
        if inner is None:
            break
        coroutine = inner
    return getattr(coroutine, "__qualname__", "")


def _coroutine_in(argument: Any) -> Any:
    if type(argument).__module__.partition(".")[0] == "anyio":
        # Of other objects nothing is read, because that could run users' code.
        argument = getattr(argument, "_coro", None)
    return argument if inspect.iscoroutine(argument) else None


def make_loop(name: LoopName, watch: TaskWatch) -> EventLoop:
    """Return a loop of that name, which does not run yet."""
    return AsyncioLoop(watch) if name == "asyncio" else TrioLoop(watch)
