"""A stream looks no more often than its page needs."""

from __future__ import annotations

from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from understudy.ui.row_changes import Region
from understudy.ui.streams import LOOK_S, PAUSE_FACTOR, PAUSE_MAX_S, stream


@pytest.mark.parametrize(
    ("is_known", "took_s", "pause_s"), [(True, 0.1, 0.1 * PAUSE_FACTOR), (False, 3.0, PAUSE_MAX_S)]
)
def test_a_stream_rests_after_the_page_and_after_each_look(
    is_known: bool, took_s: float, pause_s: float
) -> None:
    looked_at: list[float] = []

    def rows(number: int) -> list[Region]:
        return [Region("calls", {"row": f'<tr id="row">{number}</tr>'})]

    async def draw() -> list[Region]:
        looked_at.append(trio.current_time())
        await trio.sleep(took_s)
        return rows(len(looked_at))

    async def follow() -> None:
        ui: Any = SimpleNamespace(draining=trio.Event(), streams=0)
        began = trio.current_time()
        parts: Any = stream(ui, rows(0) if is_known else (), draw).body_iterator
        async with aclosing(parts):
            for _ in range(3):
                await anext(parts)
        first, second = (at - began for at in looked_at)
        assert first == pytest.approx(LOOK_S if is_known else 0)
        assert second - first == pytest.approx(took_s + pause_s)

    trio.run(follow, clock=MockClock(autojump_threshold=0))
