"""The tasks of this process whose end somebody waits for."""

from __future__ import annotations

from concurrent.futures import Future


class Tenures:
    """Tells those who wait for it that this process has given up a task.

    Its methods belong to the thread of the connection.
    """

    def __init__(self) -> None:
        #: versions, and who waits, by the id of the task
        self._waiting: dict[str, list[tuple[int, Future[None]]]] = {}

    def begin(self, id: str, version: int, ended: Future[None]) -> None:
        """Take note of a task that is this process's; `ended` is done once it is no longer."""
        self._waiting.setdefault(id, []).append((version, ended))

    def end(self, id: str, version: int) -> None:
        """Take note that this process has given up a task, of this version or an earlier one."""
        waiting = self._waiting.get(id)
        if waiting is None:
            return
        left = [each for each in waiting if each[0] > version]
        for each, ended in waiting:
            if each <= version and not ended.done():
                ended.set_result(None)
        if left:
            self._waiting[id] = left
        else:
            del self._waiting[id]

    def fail_all(self, error: BaseException) -> None:
        """Fail all who wait, because the connection has ended."""
        while self._waiting:
            _, waiting = self._waiting.popitem()
            for _, ended in waiting:
                if not ended.done():
                    ended.set_exception(error)
