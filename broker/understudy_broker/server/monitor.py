"""The monitor of a broker: what its listener for metrics and health answers.

The answers are made on the listener's thread. What only the loop may read is asked of the loop
(`LoopProbe`), which takes well under a millisecond with hundreds of groups. The text, which takes
longer, is made beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from understudy_broker.core.core import BrokerCore
from understudy_broker.core.survey import Survey, survey
from understudy_broker.monitoring.exposition import CONTENT_TYPE
from understudy_broker.monitoring.listener import Answer, text_answer
from understudy_broker.monitoring.loop_probe import LoopBlockedError, LoopProbe
from understudy_broker.monitoring.process_numbers import process_text
from understudy_broker.server.group_commit import GroupCommit
from understudy_broker.server.metrics_page import broker_text
from understudy_broker.transport.loop_lock import LoopThread
from understudy_store.engines.base import Measures
from understudy_store.store import Store

#: how long the loop may take to turn
BLOCKED_S: Final = 2.0
#: how long the journal may be ahead of the tables, and one commit may take
LATE_S: Final = 10.0
#: bytes that must be free on the store's disk
FREE_BYTES_MIN: Final = 64 * 1024 * 1024


class Monitor:
    """Answers of a broker about itself.

    Parameters
    ----------
    now
        The time by the broker's clock, epoch milliseconds; called on the loop.
    is_leaving
        Returns whether the broker is about to stop.
    """

    def __init__(
        self,
        core: BrokerCore,
        commits: GroupCommit,
        store: Store,
        loop: LoopThread,
        now: Callable[[], int],
        is_leaving: Callable[[], bool],
    ) -> None:
        self._core = core
        self._commits = commits
        self._store = store
        self._is_leaving = is_leaving
        self._survey: LoopProbe[Survey] = LoopProbe(lambda: survey(core, now()), BLOCKED_S, loop)
        self._turned = LoopProbe(
            lambda: core.own.map is None or bool(core.own.mine), BLOCKED_S, loop
        )

    @property
    def pages(self) -> dict[str, Callable[[], Answer]]:
        """Answers by path."""
        return {
            "/metrics": self.metrics,
            "/health": self.health,
            "/live": self.health,
            "/ready": self.ready,
        }

    def metrics(self) -> Answer:
        """Return the page of metrics; 503 while the loop is blocked."""
        began = time.perf_counter()
        try:
            found = self._survey()
        except LoopBlockedError as error:
            return text_answer(503, f"blocked: {error}")
        lag_s = time.perf_counter() - began
        text = broker_text(found, self._store.measures(), self._commits.histograms, lag_s)
        return Answer(200, CONTENT_TYPE, f"{text}{process_text()}".encode())

    def health(self) -> Answer:
        """Say whether the loop turns: if not, a restart helps."""
        try:
            self._turned()
        except LoopBlockedError as error:
            return text_answer(503, f"blocked: {error}")
        return text_answer(200, "healthy")

    def ready(self) -> Answer:
        """Say whether requests are performed now: if not, waiting helps, or a person."""
        try:
            owns_slots = self._turned()
        except LoopBlockedError as error:
            return text_answer(503, f"blocked: {error}")
        reasons = []
        if self._is_leaving():
            reasons.append("it is about to stop")
        if self._core.held:
            reasons.append("its store may be another broker's by now")
        if not owns_slots:
            reasons.append("it has no slots yet")
        took_s = self._commits.under_way_s()
        if took_s > LATE_S:
            reasons.append(f"a commit has been under way for {took_s:.0f} s")
        reasons += shortages(self._store.measures())
        return text_answer(503, f"not ready: {'; '.join(reasons)}") if reasons else _READY


_READY: Final = text_answer(200, "ready")


def shortages(measures: Measures) -> list[str]:
    """Return what is wrong with a store, in words."""
    found = []
    if measures.lag_s is not None and measures.lag_s > LATE_S:
        found.append(f"the store's tables are {measures.lag_s:.0f} s behind its journal")
    if measures.free_bytes is not None and measures.free_bytes < FREE_BYTES_MIN:
        mib = measures.free_bytes / 1024 / 1024
        found.append(f"the disk of the store has {mib:.1f} MiB left")
    return found
