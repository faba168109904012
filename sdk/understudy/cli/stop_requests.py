"""Ctrl-C as a request to stop at the next good place, for commands that change many things."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self

from understudy.cli.printing import err


class StopRequest:
    """A request to stop, made by Ctrl-C (SIGINT) or SIGTERM within the ``with`` block.

    The first signal only sets `made`; a second one interrupts at once. It is used in the main
    thread.

    Parameters
    ----------
    notice
        Said to the user at the first signal.
    """

    def __init__(self, notice: str) -> None:
        self.made = False
        self._notice = notice
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.made:
            raise KeyboardInterrupt
        self.made = True
        err(self._notice, flush=True)
