"""Records that are alike: the first ones of a minute are written, and the rest is counted."""

from __future__ import annotations

from understudy_broker.audit import repeats
from understudy_broker.audit.repeats import WINDOW_MS, Kind, Repeats


def test_a_minute_begins_anew_when_it_was_quiet() -> None:
    some = Repeats()
    kind = Kind("refused", "a")
    assert [some.takes(kind, 2, now) for now in (0, 1, WINDOW_MS, WINDOW_MS + 1)] == [True] * 4
    assert not some.takes(kind, 2, WINDOW_MS + 2)
    assert some.due_at == 2 * WINDOW_MS
    assert some.take(2 * WINDOW_MS - 1) == []
    assert some.take(2 * WINDOW_MS) == [(kind, 1)]
    assert some.takes(kind, 2, 2 * WINDOW_MS)


def test_the_end_does_not_wait_for_the_minute() -> None:
    some = Repeats()
    kind = Kind("refused", "a")
    assert [some.takes(kind, 1, 0) for _ in range(3)] == [True, False, False]
    assert some.take(1, all_of_them=True) == [(kind, 2)]


def test_kinds_are_bounded() -> None:
    some = Repeats()
    for number in range(repeats.KINDS_MAX):
        assert some.takes(Kind("refused", str(number)), 1, 0)
    # Further ones are counted together, until some minutes are over.
    assert [some.takes(Kind("refused", f"x{n}"), 1, 1) for n in range(3)] == [True, False, False]
    assert some.take(1 + WINDOW_MS) == [(Kind("refused", "others"), 2)]
    assert some.takes(Kind("refused", "y"), 1, 1 + WINDOW_MS)
    assert some.takes(Kind("refused", "z"), 1, 1 + WINDOW_MS)
