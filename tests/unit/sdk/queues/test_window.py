"""The messages under way, and their bounds."""

from __future__ import annotations

from tests.unit.sdk.sources.fakes import message
from understudy.queues.window import Window


def test_the_room_ends_with_the_count() -> None:
    window = Window(3, 1 << 20)
    entries = [window.add(message(number)) for number in range(3)]
    assert window.room == 0
    window.file(entries[0])
    assert window.room == 0
    assert [each.token for each in window.take_filed()] == [0]
    assert window.room == 1


def test_large_messages_leave_less_room() -> None:
    """So a batch of them exceeds the bound by little."""
    window = Window(1000, 1_000_000)
    assert window.room == 1000
    for number in range(30):
        window.add(message(number, b"x" * 20_000))
    assert 10 <= window.room <= 25
    while window.room:
        window.add(message(1, b"x" * 20_000))
    assert window.bytes < 1_050_000


def test_an_entry_that_was_forgotten_gives_its_room_back_when_it_is_filed() -> None:
    window = Window(2, 1 << 20)
    first, second = window.add(message(1)), window.add(message(2))
    window.file(second)
    window.forget()
    assert (window.count, window.unfiled) == (1, 1)
    window.file(first)
    assert (window.count, window.unfiled, window.bytes) == (0, 0, 0)
    assert window.take_filed() == []


def test_partitions_do_not_wait_for_each_other() -> None:
    window = Window(9, 1 << 20)
    window.add(message(1, partition=0))
    window.file(window.add(message(7, partition=1)))
    assert [each.partition for each in window.take_filed()] == [1]
