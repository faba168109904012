"""Which connections the guard has cut, and that honest ones are none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from understudy_broker.transport.guard import (
    LOOKS_MAX,
    PING_BYTES_PER_S,
    STRANGER_BYTES_MAX,
    STRANGERS_BYTES_MAX,
    ConnectionGuard,
)
from understudy_store.limits import MIB

PEER_BYTES_MAX = 64 * MIB


def nobody(_: int) -> bool:
    return False


def everybody(_: int) -> bool:
    return True


class TestSilence:
    def test_who_says_no_hello_is_cut_in_the_end(self) -> None:
        guard = ConnectionGuard(PEER_BYTES_MAX)
        found = [guard.silent([5], nobody) for _ in range(LOOKS_MAX)]
        assert found == [[]] * (LOOKS_MAX - 1) + [[5]]

    def test_a_hello_ends_the_count(self) -> None:
        guard = ConnectionGuard(PEER_BYTES_MAX)
        for is_known in [nobody, nobody, everybody, nobody, nobody]:
            assert guard.silent([5], is_known) == []

    def test_a_descriptor_that_is_used_again_begins_anew(self) -> None:
        guard = ConnectionGuard(PEER_BYTES_MAX)
        for _ in range(LOOKS_MAX - 1):
            guard.silent([5], nobody)
        guard.forget(5)
        assert guard.silent([5], nobody) == []

    def test_one_that_has_closed_is_not_remembered(self) -> None:
        guard = ConnectionGuard(PEER_BYTES_MAX)
        for _ in range(LOOKS_MAX - 1):
            guard.silent([5], nobody)
        guard.silent([], nobody)
        assert guard.silent([5], nobody) == []


def judged(
    received: Mapping[int, tuple[int, float]],
    delivered: Mapping[int, int],
    is_known: Callable[[int], bool],
) -> list[int]:
    guard = ConnectionGuard(PEER_BYTES_MAX)
    guard.received(received)
    return guard.endless(lambda descriptor: delivered.get(descriptor, 0), is_known)


class TestMessagesWithoutAnEnd:
    def test_a_peer_is_cut_beyond_its_bound(self) -> None:
        received = {5: (PEER_BYTES_MAX, 0.0), 6: (PEER_BYTES_MAX + 1, 0.0)}
        assert judged(received, {}, everybody) == [6]

    def test_a_stranger_is_cut_sooner(self) -> None:
        received = {5: (STRANGER_BYTES_MAX, 0.0), 6: (STRANGER_BYTES_MAX + 1, 0.0)}
        assert judged(received, {}, nobody) == [6]

    def test_many_strangers_have_one_bound_together(self) -> None:
        each = STRANGER_BYTES_MAX // 2
        count = STRANGERS_BYTES_MAX // each + 3
        received = dict.fromkeys(range(count), (each, 0.0))
        assert judged(received, {}, nobody) == [count - 1, count - 2, count - 3]
        assert judged(received, {}, everybody) == []

    def test_pings_are_nobodys_fault(self) -> None:
        month_s = 30 * 86_400.0
        received = {5: (int(month_s * PING_BYTES_PER_S) + STRANGER_BYTES_MAX, month_s)}
        assert judged(received, {}, nobody) == []

    @given(
        st.dictionaries(
            st.integers(0, 9), st.tuples(st.integers(0, 1 << 40), st.integers(0, PEER_BYTES_MAX))
        )
    )
    def test_whoever_is_read_is_not_cut(self, connections: dict[int, tuple[int, int]]) -> None:
        """Up to the bound, however much it was altogether."""
        received = {each: (count, 0.0) for each, (count, _) in connections.items()}
        delivered = {each: max(0, count - kept) for each, (count, kept) in connections.items()}
        assert judged(received, delivered, everybody) == []

    def test_a_judgement_is_made_once(self) -> None:
        guard = ConnectionGuard(PEER_BYTES_MAX)
        guard.received({5: (1 << 40, 0.0)})
        assert guard.is_comparing
        guard.forget(5)
        assert guard.endless(lambda _: 0, everybody) == []
        assert not guard.is_comparing
