"""Many calls with few frames: sent a window at a time, as the broker answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from understudy_store.commands import PromiseCreate
from understudy_store.records import PromiseRecord

#: Calls of one bulk that may be unanswered. A commit for so many costs little more than one for a
#: few, and other requests of the process wait for no more than these.
WINDOW: Final = 1024


class BulkCall(NamedTuple):
    """A call of a bulk: one future is done when it is stored, the other when it has settled."""

    create: PromiseCreate
    stored: Future[None]
    result: Future[PromiseRecord]


class Bulk:
    """Calls that are sent in order, at most `WINDOW` of them unanswered.

    All methods run on the loop (see `connection`), where the futures are settled too.

    Parameters
    ----------
    calls
        The calls. Those whose futures are done already, because the connection failed meanwhile,
        are skipped.
    invoke
        Sends one call.
    submit
        Has a function called on the loop soon, with all that it sends in one frame.
    """

    def __init__(
        self,
        calls: Iterable[BulkCall],
        invoke: Callable[[PromiseCreate, Future[None], Future[PromiseRecord]], None],
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        self._left = deque(calls)
        self._invoke = invoke
        self._submit = submit
        self._unanswered = 0

    def send(self) -> None:
        """Send calls until the window is full."""
        while self._left and self._unanswered < WINDOW:
            call = self._left.popleft()
            if call.stored.done():
                continue
            self._unanswered += 1
            self._invoke(*call)
            call.stored.add_done_callback(self._answered)

    def _answered(self, _: Future[Any]) -> None:
        self._unanswered -= 1
        # Half a window at a time, so that its calls share a frame and a commit.
        if self._left and self._unanswered == WINDOW // 2:
            self._submit(self.send)
