"""The waits of the tasks that a coroutine has started, beside the wait of its own."""

from __future__ import annotations

from collections.abc import Callable

from understudy_actors.interpreter.wait import Wait


class TaskWaits:
    """What the tasks of one run wait for.

    A promise that has settled is looked up among the waits for a single one, and shown to the
    others (for an ``all`` or a ``race``), of which there are few.
    """

    def __init__(self) -> None:
        #: the id of the only promise that a wait needs, if it is of that kind, and whom to wake
        self._wakes: dict[Wait, tuple[str | None, Callable[[], None]]] = {}
        self._by_id: dict[str, list[Wait]] = {}
        self._others: dict[Wait, None] = {}

    def add(self, wait: Wait, wake: Callable[[], None]) -> None:
        """Have `wake` called as soon as `wait` is over, or has something to do."""
        id = next(iter(wait.remaining)) if len(wait.remaining) == 1 else None
        self._wakes[wait] = id, wake
        if id is None:
            self._others[wait] = None
        else:
            self._by_id.setdefault(id, []).append(wait)

    def discard(self, wait: Wait) -> None:
        """Forget a wait: it is over, or its task goes on without it."""
        id, _ = self._wakes.pop(wait)
        self._others.pop(wait, None)
        if id is not None and id in self._by_id:
            self._by_id[id].remove(wait)

    def hit(self, id: str) -> None:
        """Count a promise that has settled."""
        for wait in (*self._by_id.pop(id, ()), *self._others):
            wait.hit(id)
            if wait.ready:
                self._wakes[wait][1]()
