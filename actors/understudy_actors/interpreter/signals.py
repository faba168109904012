"""Signals between a run and its node in the middle of a step: progress, and cancellation. Pure.

A step takes what has settled at its beginning and its end, so a plain function that works for an
hour would neither be heard nor told anything meanwhile. The node marks a run that is `canceled`; if
the function wants to be told, or to tell how far it is, it makes `Signals` for itself. Most
functions never do.

The threads of a function and the loop of its node use them at the same time, without a lock:

- `canceled` only ever becomes True, before the node looks for signals and callbacks. Who adds a
  callback looks at `canceled` afterwards. So one of the two sees the other.
- A callback is removed before it is called, and that happens once: `dict.pop` is atomic.
- `progress` is replaced as a whole.
- Only the function's side makes signals (`understudy.cancellation`), and the node before it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Progress(msgspec.Struct, frozen=True, gc=False):
    """The word of a function on how far it is.

    Attributes
    ----------
    fraction
        The part of the work that is done, from 0 to 1; None: the function does not say.
    text
        A line for people.
    """

    fraction: float | None = None
    text: str = ""


class Signals:
    """The signals of one run.

    Attributes
    ----------
    progress
        The latest that the function has said; None: nothing yet.
    callbacks
        To be called once the run is canceled, on the loop of the node: so they must be quick, and
        must not raise.
    """

    __slots__ = ("callbacks", "progress")

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.callbacks: dict[Callable[[], object], None] = {}

    def call(self) -> None:
        """Call the callbacks, each once."""
        for callback in list(self.callbacks):
            if self.remove(callback):
                callback()

    def remove(self, callback: Callable[[], object]) -> bool:
        """Remove a callback; return False if it has been called, or will be now."""
        return self.callbacks.pop(callback, self) is None


class Signaled(Protocol):
    """A run, as far as its signals go."""

    #: The result is of no use any more: the call was canceled, has settled or passed its deadline,
    #: or the task has gone to another node.
    canceled: bool
    #: None: the function has not needed them so far
    signals: Signals | None


def cancel(run: Signaled) -> None:
    """Note that a run is canceled, and tell its function if it wants to know; the node's side."""
    run.canceled = True
    if run.signals is not None:
        run.signals.call()


def call_when_canceled(run: Signaled, signals: Signals, callback: Callable[[], object]) -> None:
    """Have `callback` called once the run is canceled, at once if it is; the function's side."""
    signals.callbacks[callback] = None
    if run.canceled and signals.remove(callback):
        callback()
