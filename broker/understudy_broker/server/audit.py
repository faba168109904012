"""`AuditWriter`: writes what the core has noted for the audit, beside the broker's loop.

Records are written on a thread of their own, all that have come meanwhile with one fsync, and at
most ten times a second. So a line is on the disk about a tenth of a second after what it tells of;
a crash of the machine in that time loses it, a crash of the broker alone only what was not written.

If the file cannot be written, the records are kept and tried again each second. Meanwhile the core
refuses what has to be audited, unless the audit is not required (`AuditTrail.blocked`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from understudy_broker.audit.audit_file import AuditFile, AuditFileError
from understudy_broker.audit.chain import Record
from understudy_broker.core.audit_trail import RECORDS_MAX, AuditTrail
from understudy_broker.server.logs import Log

#: the least time between two writes, and how soon a write that has failed is tried again
TURN_S: Final = 0.1
RETRY_S: Final = 1.0


class AuditWriter:
    """Writes a trail to a file.

    Parameters
    ----------
    clock
        Returns the broker's time, epoch milliseconds.
    """

    def __init__(
        self, file: AuditFile, trail: AuditTrail, clock: Callable[[], int], log: Log
    ) -> None:
        self._file = file
        self._trail = trail
        self._clock = clock
        self._log = log
        self._news = trio.Event()
        #: taken from the trail, and not written yet
        self._waiting: list[Record] = []

    def notify(self) -> None:
        """Have what the trail has be written soon."""
        if self._trail.has_records:
            self._news.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            due_at = self._trail.due_at()
            wait_s = math.inf if due_at is None else max(0.0, (due_at - self._clock()) / 1000)
            with trio.move_on_after(wait_s):
                await self._news.wait()
            self._news = trio.Event()
            self._trail.tick(self._clock())
            self._take()
            if self._waiting:
                # Whatever happens to the task, the thread is not left alone with the file.
                failure = await trio.to_thread.run_sync(self._write, self._waiting)
                self._note(failure)
                if failure is not None:
                    self._news.set()
                await trio.sleep(TURN_S if failure is None else RETRY_S)

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._trail.tick(self._clock(), all_of_them=True)
        self._take()
        if self._waiting:
            self._note(self._write(self._waiting))
        self._file.close()

    def _take(self) -> None:
        room = RECORDS_MAX - len(self._waiting)
        if room > 0:
            self._waiting += self._trail.take()

    def _write(self, records: list[Record]) -> str | None:
        """Return why the records could not be written; None: they are."""
        try:
            self._file.write(records)
        except AuditFileError as error:
            return str(error)
        return None

    def _note(self, failure: str | None) -> None:
        before, self._trail.failure = self._trail.failure, failure
        if failure is None:
            self._waiting = []
            if before is not None:
                self._log("info", "the audit is written again", {})
        elif before is None:
            self._log("error", "the audit cannot be written", {"reason": failure})
