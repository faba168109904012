"""Timers against a dict that does the same slowly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy_store.machine.timers import NEVER, Timers

keys = st.integers(0, 9).map(str)


@given(st.lists(st.tuples(keys, st.integers(0, 20)), max_size=60))
def test_timers_do_what_a_dict_does(steps: list[tuple[str, int]]) -> None:
    timers, model = Timers(), dict[str, int]()
    for key, at in steps:
        if key in model:
            timers.disarm(model.pop(key), key)
        else:
            model[key] = at
            timers.arm(at, key)
        assert len(timers) == len(model)
        first = min(model.values(), default=NEVER)
        assert timers.next_at == first
        due = [each for each, when in model.items() if when == first and when <= at]
        assert timers.first(at, 100) == due
        assert timers.first(at, 1) == due[:1]


def test_garbage_is_bounded() -> None:
    timers = Timers()
    timers.arm(0, "stays")
    for at in range(1, 10_000):
        timers.arm(at, "k")
        timers.disarm(at, "k")
    assert len(timers._heap) < 1100
    assert timers.next_at == 0
