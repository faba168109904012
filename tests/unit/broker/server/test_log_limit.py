"""Lines of the log that are alike: how many are written, and that none is lost without a word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy_broker.server.log_limit import BURST, EACH_S, SUMMARY_S, LogLimit


def test_so_many_at_once_are_written_and_no_more() -> None:
    limit = LogLimit()
    assert [limit.takes("joined", 5.0) for _ in range(BURST + 3)] == [True] * BURST + [False] * 3
    assert limit.takes("left", 5.0), "other lines are not concerned"
    assert [limit.takes("joined", 5.0 + EACH_S * 1.5) for _ in range(2)] == [True, False]


def test_what_was_left_out_is_told_once_a_minute() -> None:
    limit = LogLimit()
    for _ in range(BURST + 3):
        limit.takes("joined", 5.0)
    assert limit.has_left_out
    assert limit.summaries(5.0 + SUMMARY_S - 1) == []
    assert limit.summaries(5.0 + SUMMARY_S) == [("joined", 3)]
    assert limit.summaries(5.0 + SUMMARY_S) == []
    assert not limit.has_left_out


@given(st.lists(st.floats(0, 0.05), max_size=3_000))
def test_every_line_is_written_or_counted(pauses: list[float]) -> None:
    limit, now, written, told = LogLimit(), 0.0, 0, 0
    for pause in pauses:
        now += pause
        written += limit.takes("x", now)
        told += sum(count for _, count in limit.summaries(now))
    told += sum(count for _, count in limit.summaries(now + SUMMARY_S))
    assert written + told == len(pauses)
    assert written <= BURST + now / EACH_S + 1
