"""Questions in SQL that people put to the store: few at a time, in threads, and not for long."""

from __future__ import annotations

from typing import Final

import trio

from understudy.ui.ports import Port
from understudy.ui.reading import check
from understudy_store.commands import CallSearch, PromiseSearch, ScheduleSearch, TaskSearch
from understudy_store.inquiry.base import TIME_MAX_S, Answer, Inquirer, InquiryError
from understudy_store.records import PENDING

#: questions that are answered at a time
_AT_A_TIME: Final = 2
#: how long somebody waits for an answer, with the time until it is their turn
_PATIENCE_S: Final = 3 * TIME_MAX_S


class Inquiries:
    """The questions to one store.

    Attributes
    ----------
    inquirer
        Answers them; None: no store is known.
    """

    def __init__(self, inquirer: Inquirer | None) -> None:
        self.inquirer = inquirer
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)

    async def ask(self, question: str) -> Answer:
        """Answer a question.

        Raises
        ------
        InquiryError, StoreError
        """
        if self.inquirer is None:
            raise InquiryError("this dashboard knows no store that it could ask")
        with trio.move_on_after(_PATIENCE_S):
            return await trio.to_thread.run_sync(
                self.inquirer.ask, question, limiter=self._limiter, abandon_on_cancel=True
            )
        raise InquiryError("others are asking at the moment: try again in some seconds")


async def check_sees_all(port: Port) -> None:
    """Check that whoever asks may list everything, as SQL does.

    Raises
    ------
    AwayError, RefusedError
        No broker answers, or the role of whoever asks does not allow it.
    """
    check(
        await port.ask(
            [
                PromiseSearch(limit=1),
                CallSearch(limit=1),
                TaskSearch(PENDING, None, 1),
                ScheduleSearch(limit=1),
            ]
        )
    )
