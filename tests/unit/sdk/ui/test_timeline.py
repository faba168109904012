"""The axis folds idle time, and bars are parted into what a call did."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from understudy.ui.timeline import FOLDS_MAX, WIDTH, Axis, merged, round_end, segments, without

MOMENT = st.integers(0, 10**12)
SPANS = st.lists(st.tuples(MOMENT, MOMENT).map(lambda pair: (min(pair), max(pair))), max_size=20)


@given(start=MOMENT, long_ms=st.integers(0, 10**11), busy=SPANS, at=st.lists(MOMENT, max_size=8))
def test_an_axis_is_whole_and_keeps_the_order_of_moments(
    start: int, long_ms: int, busy: list[tuple[int, int]], at: list[int]
) -> None:
    axis = Axis(start, start + long_ms, busy)
    assert axis.pieces[0].left == 0.0
    assert axis.pieces[-1].right == WIDTH
    for one, other in pairwise(axis.pieces):
        assert one.end == other.start
        assert abs(one.right - other.left) < 1e-6
    assert len(axis.folds) <= FOLDS_MAX
    places = [axis.x(moment) for moment in sorted(at)]
    assert all(0 <= place <= WIDTH for place in places)
    assert all(one <= other + 1e-6 for one, other in pairwise(places))


@given(start=MOMENT, long_ms=st.integers(1, 10**11), busy=SPANS)
def test_marks_are_in_order_and_few(start: int, long_ms: int, busy: list[tuple[int, int]]) -> None:
    ticks = Axis(start, start + long_ms, busy).ticks()
    assert len(ticks) <= 13
    assert [tick.x for tick in ticks] == sorted(tick.x for tick in ticks)


def test_a_day_of_sleep_is_folded_and_work_is_not() -> None:
    day = 86_400_000
    axis = Axis(0, day + 2_000, [(0, 1_000), (day, day + 2_000)])
    assert [(piece.start, piece.end) for piece in axis.folds] == [(1_000, day)]
    assert axis.x(1_000) > 200  # a second of three is seen as a third


def test_short_idle_times_are_shown_as_they_are() -> None:
    assert not Axis(0, 900, [(0, 10), (890, 900)]).folds


@given(span=st.tuples(MOMENT, MOMENT), others=SPANS)
def test_what_is_left_of_a_span_touches_nothing_else(
    span: tuple[int, int], others: list[tuple[int, int]]
) -> None:
    start, end = min(span), max(span)
    apart = merged(others)
    left = without((start, end), apart)
    taken = sum(max(0, min(end, b) - max(start, a)) for a, b in apart)
    assert sum(b - a for a, b in left) + taken == end - start


@given(
    end=st.integers(0, 1000),
    queued=st.none() | st.integers(0, 1000),
    waiting=SPANS,
    steps=SPANS,
    pauses=SPANS,
    queues=SPANS,
)
def test_the_segments_of_a_bar_cover_it_once(
    end: int,
    queued: int | None,
    waiting: list[tuple[int, int]],
    steps: list[tuple[int, int]],
    pauses: list[tuple[int, int]],
    queues: list[tuple[int, int]],
) -> None:
    parts = segments(
        0, end, queued_until=queued, waiting=waiting, steps=steps, pauses=pauses, queues=queues
    )
    at = 0
    for part in parts:
        assert part.start == at < part.end
        at = part.end
    assert at == end


def test_a_call_that_waits_runs_while_its_own_steps_run() -> None:
    parts = segments(0, 30, waiting=[(0, 30)], steps=[(10, 20)])
    assert [part.kind for part in parts] == ["waiting", "running", "waiting"]


def test_the_end_of_a_growing_axis_stays_for_a_while() -> None:
    ends = {round_end(0, now) for now in range(10_000, 11_000)}
    assert len(ends) <= 2
    assert all(end > 10_000 for end in ends)
