"""The rules for restarts: a pure class, so the tests pass the time in."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy_actors.errors import describe_exit
from understudy_actors.processes.restart import (
    GiveUp,
    Restart,
    RestartHistory,
    RestartPolicy,
)


def _delays(policy: RestartPolicy, deaths: int, lifetime_s: float) -> list[float | None]:
    """Return the delays of a process that lives `lifetime_s` each time; None: it was given up."""
    history = RestartHistory(policy)
    now_s = 1000.0
    delays: list[float | None] = []
    for _ in range(deaths):
        history.started(now_s)
        now_s += lifetime_s
        decision = history.exited(now_s, 1)
        if isinstance(decision, GiveUp):
            return [*delays, None]
        delays.append(decision.delay_s)
        now_s += decision.delay_s
    return delays


def test_delays_double_up_to_the_greatest() -> None:
    policy = RestartPolicy(initial_s=0.05, factor=2, max_s=0.5, max_restarts=100)
    assert _delays(policy, 6, lifetime_s=0) == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_process_that_has_served_is_never_given_up() -> None:
    policy = RestartPolicy(initial_s=0.01, max_s=5, max_restarts=3, window_s=60)
    history = RestartHistory(policy)
    history.started(0)
    history.served()
    delays = []
    for code in (2, 0, 1, -9, 255) * 4:
        decision = history.exited(0, code)
        assert isinstance(decision, Restart)
        delays.append(decision.delay_s)
    assert delays[:3] == [0.01, 0.02, 0.04]
    assert delays[-1] == 5


def test_a_stable_run_starts_again_at_the_smallest_delay() -> None:
    history = RestartHistory(RestartPolicy(initial_s=1, stable_s=10))
    history.started(0)
    assert history.exited(1, 1) == Restart(1)
    history.started(2)
    assert history.exited(3, 1) == Restart(2)
    history.started(5)
    assert history.exited(15, 1) == Restart(1)


def test_a_failure_to_start_is_no_stable_run() -> None:
    history = RestartHistory(RestartPolicy(initial_s=1, stable_s=10))
    history.started(0)
    assert history.exited(20, 1) == Restart(1)
    assert history.exited(40, None) == Restart(2)


def test_the_death_past_the_limit_is_final() -> None:
    policy = RestartPolicy(initial_s=0, max_restarts=3)
    assert _delays(policy, 10, lifetime_s=0.1) == [0, 0, 0, None]


def test_no_restart_allowed() -> None:
    decision = RestartHistory(RestartPolicy(max_restarts=0)).exited(0, 1)
    assert decision == GiveUp("0 restarts in 60 s are the limit")


def test_restarts_older_than_the_window_do_not_count() -> None:
    # With one death every 25 s there are never more than three restarts in 60 s.
    slow = RestartPolicy(max_restarts=3, window_s=60)
    assert None not in _delays(slow, 50, lifetime_s=25)
    # One every 15 s exceeds the limit, although each run was stable.
    assert _delays(slow, 50, lifetime_s=15)[-1] is None


def test_a_usage_error_is_final_at_once() -> None:
    assert isinstance(RestartHistory(RestartPolicy()).exited(0, 2), GiveUp)
    lenient = RestartPolicy(final_codes=frozenset())
    assert isinstance(RestartHistory(lenient).exited(0, 2), Restart)


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial_s": -1},
        {"initial_s": 2, "max_s": 1},
        {"factor": 0.5},
        {"stable_s": -1},
        {"window_s": 0},
        {"max_restarts": -1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|factor"):
        RestartPolicy(**wrong)


@given(
    lifetimes_s=st.lists(st.floats(0, 100), max_size=60),
    limit=st.integers(0, 5),
    window_s=st.floats(0.1, 100),
)
def test_restarts_in_any_window_never_exceed_the_limit(
    lifetimes_s: list[float], limit: int, window_s: float
) -> None:
    policy = RestartPolicy(max_restarts=limit, window_s=window_s)
    history = RestartHistory(policy)
    now_s = 0.0
    deaths_s: list[float] = []
    for lifetime_s in lifetimes_s:
        history.started(now_s)
        now_s += lifetime_s
        recent = [at_s for at_s in deaths_s if now_s - at_s < window_s]
        decision = history.exited(now_s, -9)
        if isinstance(decision, GiveUp):
            assert len(recent) == limit
            return
        assert len(recent) < limit
        assert policy.initial_s <= decision.delay_s <= policy.max_s
        deaths_s.append(now_s)
        now_s += decision.delay_s


def test_many_deaths_in_a_row_do_not_overflow() -> None:
    policy = RestartPolicy(initial_s=0.05, factor=1e300, max_restarts=1000)
    assert _delays(policy, 500, lifetime_s=0)[-1] == policy.max_s


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-250, "was killed by signal 250"),
        (None, "could not be started"),
    ],
)
def test_exits_are_described(code: int | None, text: str) -> None:
    assert describe_exit(code) == text
