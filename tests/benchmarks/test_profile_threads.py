"""The profile's threads, on real processes."""

from __future__ import annotations

import pytest

from benchmarks import threads

CALLS = 2_000


@pytest.mark.skipif(not threads.available(), reason="the system does not count for each thread")
def test_the_threads_of_a_fan_out_are_found_and_take_time() -> None:
    found = threads.measure(CALLS, rounds=1)
    (run,) = found["runs"]
    assert found["median"] is run
    assert {thread["process"] for thread in run["threads"]} == {
        *("broker", "node-1", "node-2", "client")
    }
    by_role: dict[str, float] = {}
    for thread in run["threads"]:
        by_role[thread["role"]] = by_role.get(thread["role"], 0.0) + thread["us"]
    assert set(by_role) <= set(threads.ROLES)
    # who works takes microseconds of each call, and who only waits next to nothing
    for role in ("broker: loop", "broker: store writer", "nodes: loops", "nodes: workers"):
        assert by_role[role] > 1.0, by_role
    assert by_role["nodes: other"] < by_role["nodes: workers"], by_role
    assert sum(1 for thread in run["threads"] if thread["role"] == "nodes: loops") == 2
    # no start of a process is in it, which takes half a second of each
    assert run["processor_us"] == pytest.approx(sum(by_role.values()))
    assert run["processor_us"] * CALLS < 1_500_000, by_role
    assert 0 < run["cores_used"] * run["wall_us"] == pytest.approx(run["processor_us"])
