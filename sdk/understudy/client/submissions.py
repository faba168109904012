"""Work that users' threads submit to the loop. See `connection` for why nothing is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

from understudy.client.requests import PendingRequests
from understudy_broker.errors import LinkError
from understudy_broker.link.router import Router
from understudy_broker.transport.loop_lock import LoopThread

#: a function, its arguments, and the futures that it will settle
_Submission: TypeAlias = tuple[Callable[..., None], tuple[Any, ...], tuple[Future[Any], ...]]


class SubmissionQueue:
    """Brings work from any thread to the loop, with one wake-up for all work that gathers.

    Requests of submissions that gather until the loop runs travel in one frame.
    """

    def __init__(self, requests: PendingRequests) -> None:
        self._requests = requests
        self._queue: deque[_Submission] = deque()
        self._signaled = False
        self._router: Router
        self._loop: LoopThread

    def open(self, router: Router, loop: LoopThread) -> None:
        """Begin to take submissions; nothing may be submitted before."""
        self._router = router
        self._loop = loop

    def submit(
        self, function: Callable[..., None], args: tuple[Any, ...], futures: tuple[Future[Any], ...]
    ) -> None:
        """Call ``function(*args)`` on the loop.

        Parameters
        ----------
        futures
            The futures that it will settle. They fail with the error if `function` raises a
            `LinkError`, and if no broker answers in time.
        """
        self._queue.append((function, args, futures))
        if not self._signaled:
            self._signaled = True
            self._loop.run_soon(self._run_all)

    def fail_all(self, error: BaseException) -> None:
        """Fail the futures of all submissions, because the loop has ended."""
        while self._queue:
            _, _, futures = self._queue.popleft()
            self._requests.fail(futures, error)

    def _run_all(self) -> None:
        """Run what was submitted; on the loop."""
        self._signaled = False
        queue, requests, router = self._queue, self._requests, self._router
        router.cork()
        try:
            while queue:
                function, args, futures = queue.popleft()
                requests.unanswered.update(dict.fromkeys(futures))
                try:
                    function(*args)
                except LinkError as error:
                    requests.fail(futures, error)
        finally:
            router.uncork()
