"""Questions to a loop on another thread, with a time limit: does it turn, and what does it say?"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from understudy_broker.transport.loop_lock import LoopThread

T = TypeVar("T")

#: how long a loop may take to turn
_TURN_S: Final = 2.0


class LoopBlockedError(Exception):
    """A loop has not answered in time; the message says where it is."""


class LoopProbe(Generic[T]):
    """A question to a trio loop, asked on another thread.

    Parameters
    ----------
    ask
        Called on the loop, between two of its tasks.
    timeout_s
        How long the loop may take to come to it.
    """

    def __init__(self, ask: Callable[[], T], timeout_s: float, loop: LoopThread) -> None:
        self._ask = ask
        self._timeout_s = timeout_s
        self._loop = loop

    def __call__(self) -> T:
        """Return the loop's answer.

        Raises
        ------
        LoopBlockedError
        Exception
            Whatever `ask` raises.
        """
        answers: list[T] = []
        errors: list[Exception] = []
        answered = threading.Event()

        def answer() -> None:
            # An error that reached the loop itself would end it.
            try:
                answers.append(self._ask())
            except Exception as error:
                errors.append(error)
            answered.set()

        self._loop.run_soon(answer)
        answered.wait(self._timeout_s)
        if errors:
            raise errors[0]
        if not answers:
            raise LoopBlockedError(self._text())
        return answers[0]

    def _text(self) -> str:
        frame = sys._current_frames().get(self._loop.ident)
        if frame is None:
            return "its loop has ended"
        code = frame.f_code
        place = f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
        return f"its loop has not turned for {self._timeout_s:g} s; it is at {place}"


def turns(loop: LoopThread) -> bool:
    """Return whether a loop turns; on another thread, which may wait two seconds for it."""
    try:
        LoopProbe(lambda: True, _TURN_S, loop)()
    except LoopBlockedError:
        return False
    return True
