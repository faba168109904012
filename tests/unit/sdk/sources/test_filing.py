"""The way of one message to the store."""

from __future__ import annotations

import pytest

from tests.unit.sdk.sources.fakes import FakeForms, FakeStore, message, translator
from understudy.errors import CommandError, PurgedError
from understudy.queues.port import Message
from understudy.sources.filing import Filing, Later, position
from understudy_store.commands import PromiseCreate
from understudy_store.records import PromiseRecord, Value


def file(store: FakeStore, each: Message, template: str = "{topic}-{partition}-{offset}") -> str:
    """Take a message to its end; return how it ended."""
    filing = Filing(each, translator(template), FakeForms(), "list:t")
    step = filing.begin()
    for _ in range(30):
        following = filing.answered(store.apply(step))
        if isinstance(following, str):
            return following
        assert not isinstance(following, Later)
        step = following
    raise AssertionError("it never ends")


def failure(store: FakeStore, id: str) -> str:
    promise = store.promises[id]
    assert promise.state == "rejected"
    return (promise.value.data or b"").decode()


def test_a_message_is_stored_once() -> None:
    store = FakeStore()
    assert file(store, message(1)) == "stored"
    assert file(store, message(1)) == "known"
    assert store.created == ["t-0-1"]


def test_poison_has_the_id_of_its_position_and_says_what_is_wrong() -> None:
    store = FakeStore()
    assert file(store, message(7, b"nonsense")) == "poison"
    text = failure(store, "t-0-7")
    assert "topic t, partition 0, offset 7 is no JSON" in text
    assert "has 8 bytes and is b'nonsense'" in text
    assert store.promises["t-0-7"].tags["poison"] == "no-json"
    assert store.promises["t-0-7"].tags["source"] == "list:t"
    assert store.created == []


def test_a_position_commands_no_terminal_and_is_one_line() -> None:
    forged = message(7, id="1\n2026-01-01 INFO all is well\x1b[2J")
    assert position(forged) == (
        "the message with topic t, partition 0, offset 7, "
        r"message_id '1\n2026-01-01 INFO all is well\x1b[2J'"
    )


def test_poison_that_comes_again_has_one_promise() -> None:
    store = FakeStore()
    assert file(store, message(7, b"x" * 900)) == "poison"
    assert file(store, message(7, b"x" * 900)) == "poison"
    assert len(store.promises) == 1
    assert "begins with b'xxx" in failure(store, "t-0-7")


def test_a_record_that_was_not_rejected_before_a_crash_is_rejected_then() -> None:
    store = FakeStore()
    filing = Filing(message(7, b"x"), translator(), FakeForms(), "list:t")
    store.apply(filing.begin())
    assert store.promises["t-0-7"].state == "pending"
    assert file(store, message(7, b"x")) == "poison"
    assert "no JSON" in failure(store, "t-0-7")


def test_a_call_of_the_same_id_is_left_alone() -> None:
    """Poison under the id of a call, and other arguments under it: neither touches the call."""
    store = FakeStore()
    assert file(store, message(1, id="a"), "{message_id}") == "stored"
    assert file(store, message(2, b"nonsense", id="a"), "{message_id}") == "poison"
    assert file(store, message(3, b"[2]", id="a"), "{message_id}") == "poison"
    assert store.promises["a"].state == "pending"
    others = [promise for id, promise in store.promises.items() if id != "a"]
    assert [promise.tags["poison"] for promise in others] == ["no-json", "other-call"]
    assert all(promise.id.startswith("poison-") for promise in others)


def test_two_poison_messages_of_one_id_have_two_promises() -> None:
    store = FakeStore()
    for number, body in enumerate((b"one", b"two", b"one")):
        assert file(store, message(number, body, id="a"), "{message_id}") == "poison"
    assert len(store.promises) == 2


def test_somebody_elses_promise_is_not_settled() -> None:
    store = FakeStore()
    store.promises["t-0-7"] = PromiseRecord("t-0-7", "pending", Value({}), Value({}), {}, 10, 0)
    assert file(store, message(7, b"nonsense")) == "poison"
    assert file(store, message(7)) == "poison"
    assert store.promises["t-0-7"].state == "pending"


@pytest.mark.parametrize("id", ["x" * 600, "a\nb", "\x00"])
def test_an_id_that_the_store_refuses_is_poison(id: str) -> None:
    store = FakeStore()
    assert file(store, message(1, id=id), "{message_id}") == "poison"
    [promise] = store.promises.values()
    assert promise.tags["poison"] == "refused"
    assert failure(store, promise.id)


def test_a_message_without_an_id_is_recorded() -> None:
    store = FakeStore()
    assert file(store, message(1), "{message_id}") == "poison"
    [promise] = store.promises.values()
    assert promise.tags["poison"] == "no-id"


@pytest.mark.parametrize(
    "error", [CommandError(503, "full"), CommandError(403, "no"), OSError("x")]
)
def test_trouble_of_the_store_is_no_poison(error: Exception) -> None:
    filing = Filing(message(1), translator(), FakeForms(), "list:t")
    create = filing.begin()
    later = filing.answered(error)
    assert isinstance(later, Later)
    assert later.command is create
    assert filing.answered(FakeStore().apply(create)) == "stored"


def test_ids_that_are_all_taken_end_in_waiting() -> None:
    filing = Filing(message(1, b"x"), translator(), FakeForms(), "list:t")
    step = filing.begin()
    for _ in range(20):
        assert isinstance(step, PromiseCreate)
        following = filing.answered(CommandError(400, "no"))
        if isinstance(following, Later):
            break
        assert not isinstance(following, str)
        step = following
    else:
        raise AssertionError("it never waits")


def test_a_message_whose_call_was_purged_is_acknowledged() -> None:
    """It is a repetition: nothing is performed again, and nothing is recorded."""
    filing = Filing(message(1), translator(), FakeForms(), "list:t")
    filing.begin()
    assert filing.answered(PurgedError(410, "it has ended, and was purged")) == "known"
    filing = Filing(message(1, b"nonsense"), translator(), FakeForms(), "list:t")
    filing.begin()
    assert filing.answered(PurgedError(410, "it has ended, and was purged")) == "poison"
