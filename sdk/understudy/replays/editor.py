"""An editor as the debugger of a replayed call, through debugpy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from importlib import import_module
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn

from understudy import extras
from understudy.errors import ConfigurationError
from understudy.replays.stops import Stops


def wait_for_editor(host: str, port: int, say: Callable[[str], None]) -> Callable[..., Editor]:
    """Listen for an editor, and wait until it is there; return what makes the debuggers.

    Parameters
    ----------
    say
        Prints a line.

    Raises
    ------
    ConfigurationError
        debugpy is not installed, or the address cannot be listened at.
    """
    if module := extras.missing("debugpy"):
        raise ConfigurationError(extras.advice("--debugpy", module, "debugpy"))
    # It warns of breakpoints in Python's own modules that are frozen, which nobody wants here.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    debugpy = import_module("debugpy")
    try:
        debugpy.listen((host, port))
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"cannot listen at {host}:{port}: {error}") from None
    say(f"Waiting for an editor at {host}:{port}; anybody who reaches it can run code here.")
    debugpy.wait_for_client()

    def make(stops: Stops, entry: tuple[CodeType, ...], on_back: object, on_quit: object) -> Editor:
        del on_back, on_quit
        return Editor(debugpy, stops, bool(entry), say)

    return make


class Editor:
    """An editor that has attached itself (a `Debugger`).

    It stops at breakpoints that were set in it, and in the line after the step that was asked for,
    or after the first one: that is as soon as it can be told to stop in a function.
    """

    def __init__(
        self, debugpy: Any, stops: Stops, is_at_entry: bool, say: Callable[[str], None]
    ) -> None:
        self._debugpy = debugpy
        self._stops = stops
        self._say = say
        if is_at_entry:
            stops.at = "1"

    def follow(self) -> None:
        """Watch the functions that begin on this thread from now on."""
        self._debugpy.debug_this_thread()

    def stop_at(self, frame: FrameType) -> None:
        """Stop in the next line of a frame that is running on this thread."""
        import_module("pydevd").settrace(
            suspend=True,
            trace_only_current_thread=True,
            patch_multiprocessing=False,
            stop_at_frame=frame,
        )

    def leave(self) -> NoReturn:
        """Leave this thread where it is for good."""
        while True:
            threading.Event().wait()

    def show(self, frame: FrameType | None, trace: TracebackType | None = None) -> None:
        """Say where a function waits, or where an error was raised."""
        while trace is not None:
            frame, trace = trace.tb_frame, trace.tb_next
        if frame is not None:
            self._say(f"  at {frame.f_code.co_filename}:{frame.f_lineno}")
