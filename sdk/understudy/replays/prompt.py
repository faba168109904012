"""A debugger's prompt for one replayed call: pdb, with the steps of the call.

It is Python's own `pdb`, which sees nothing but the user's code: the modules in `OWN_MODULES` are
neither stopped in nor shown. It runs on the thread that runs the function. Where the call is to
stop, or begin anew, this thread is left where it is (`Prompt.leave`), so that no ``except`` or
``finally`` of the function sees anything of it.
"""

from __future__ import annotations

import inspect
import pdb  # noqa: T100 - it is what this is about
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, NoReturn, TextIO

from understudy.replays.stops import Stops

#: Modules whose code is not the user's own, and which run between their code.
OWN_MODULES: Final = (
    "understudy", "understudy.*", "understudy_actors.*", "understudy_broker.*",
    "understudy_store.*", "trio", "trio.*", "asyncio", "asyncio.*", "outcome", "outcome.*",
    "sniffio", "sniffio.*", "contextlib", "contextvars", "concurrent.*", "queue", "selectors",
    "signal", "socket", "threading", "weakref", "msgspec", "msgspec.*", "bdb", "pdb", "cmd",
)  # fmt: skip
_SUSPENDABLE: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

#: the module that calls, or goes on with, the functions of users
_INTERPRETER: Final = "understudy_actors.interpreter.routine"

#: takes the step to begin anew at, None for the first line
StepBack = Callable[[str | None], None]


class Prompt(pdb.Pdb):
    """Python's debugger for one replay of a call.

    Parameters
    ----------
    stops
        The steps that the call has made.
    entry
        The code of the function: it stops at its first line; empty: it does not.
    on_back
        Told of a wish to begin anew.
    on_quit
        Told that the user leaves.
    """

    def __init__(
        self,
        stops: Stops,
        entry: tuple[CodeType, ...],
        on_back: StepBack,
        on_quit: Callable[[], None],
        *,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
    ) -> None:
        super().__init__(stdin=stdin, stdout=stdout, skip=OWN_MODULES, nosigint=True)
        self._stops = stops
        self._entry = entry
        self._on_back = on_back
        self._on_quit = on_quit
        self._threads: set[int] = set()

    # The replay's side ---------------------------------------------------------------------------

    def follow(self) -> None:
        """Watch the functions that begin on this thread from now on, if anything is to be seen."""
        thread = threading.get_ident()
        if thread in self._threads or not (self._entry or self.breaks):
            return
        if not self._threads:
            self.reset()
            if not self._entry:
                # The frame at which `continue` would stop is one that is never looked at.
                self.botframe = sys._getframe()
                self.set_continue()
        self._threads.add(thread)
        sys.settrace(self.trace_dispatch)

    def stop_at(self, frame: FrameType) -> None:
        """Stop in a frame that is running on this thread."""
        sys.settrace(None)
        self.reset()
        bottom: FrameType | None = frame
        while bottom is not None:
            bottom.f_trace = self.trace_dispatch
            self.botframe = bottom
            bottom = bottom.f_back
        self.set_step()
        self.interaction(frame, None)
        # After `continue` without breakpoints there is nothing to be seen.
        if self.stoplineno != -1 or self.breaks:
            self._threads.add(threading.get_ident())
            sys.settrace(self.trace_dispatch)

    def show(self, frame: FrameType | None, trace: TracebackType | None = None) -> None:
        """Stop in a frame that waits, or where an error was raised. There is no going on."""
        sys.settrace(None)
        self.reset()
        self.message("It goes no further: sb goes back a step, run begins again, q leaves.")
        self.interaction(frame, trace)

    def leave(self) -> NoReturn:
        """Leave this thread where it is for good."""
        sys.settrace(None)
        while True:
            threading.Event().wait()

    # What pdb shows ------------------------------------------------------------------------------

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """Return the frames of the user's code."""
        stack, index = super().get_stack(f, t)
        own = [entry for entry in stack if not self._is_own(entry[0])]
        return (own, len(own) - 1) if own else (stack, index)

    def stop_here(self, frame: FrameType) -> bool:
        """Return whether stepping stops in a frame: one of the user's code, or called from it."""
        return super().stop_here(frame) and self._is_users(frame)

    def _is_users(self, frame: FrameType) -> bool:
        """Return whether a frame is below a function of the user, not of a library of ours."""
        caller = frame.f_back
        while caller is not None and not self._is_own(caller):
            frame, caller = caller, caller.f_back
        if caller is None:
            return False
        name = caller.f_globals.get("__name__", "")
        is_task = name.startswith(("trio.", "asyncio.")) and bool(
            frame.f_code.co_flags & inspect.CO_COROUTINE
        )
        return name == _INTERPRETER or is_task

    def _is_own(self, frame: FrameType) -> bool:
        return bool(self.is_skipped_module(frame.f_globals.get("__name__", "")))

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Do not stop before the first line of a function."""

    def user_line(self, frame: FrameType) -> None:
        """Stop at a line."""
        if self._entry:
            if frame.f_code not in self._entry:
                return
            self._entry = ()
        self._stops.went_on()
        super().user_line(frame)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """Stop where a function returns; not where it yields."""
        if not self._entry and not frame.f_code.co_flags & _SUSPENDABLE:
            super().user_return(frame, return_value)

    def user_exception(self, frame: FrameType, exc_info: Any) -> None:
        """Stop where an exception passes."""
        if not self._entry:
            super().user_exception(frame, exc_info)

    # Commands ------------------------------------------------------------------------------------

    def do_stepback(self, arg: str) -> bool | None:
        """sb | stepback [count]

        Go back to the step before (or `count` steps before): the call is run again from its first
        line, with the same recorded results, and stops before that step. What stands between the
        steps runs once more. Before the first step it stops at the first line of the function.
        """
        count = arg.strip() or "1"
        if not count.isdecimal() or int(count) < 1:
            self.error("stepback takes the number of steps, 1 or more")
            return None
        self._on_back(self._stops.back(int(count)))
        self.leave()

    do_sb = do_stepback

    def do_run(self, arg: str) -> bool | None:
        """run | restart

        Run the call again from its first line.
        """
        del arg
        self._on_back(None)
        self.leave()

    do_restart = do_run

    def do_quit(self, arg: str) -> bool | None:
        """q | quit | exit

        Leave. Nothing was sent, so nothing is lost. The end of the input does the same.
        """
        del arg
        self._on_quit()
        self.leave()

    do_q = do_exit = do_EOF = do_quit  # noqa: N815 - cmd's own name
