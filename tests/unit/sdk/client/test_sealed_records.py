"""Every value of every command is sealed, and every value of every answer opened."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from understudy.client.sealed_records import SealedRecords
from understudy.values.seals import Sealer, SealKey, is_sealed
from understudy_broker.protocol.messages import (
    Delegated,
    Forward,
    Invoke,
    PromiseCreateWatched,
    Response,
    Resume,
    Settled,
    Unblock,
)
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseSettle,
    Reply,
    ScheduleCreate,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskRelease,
)
from understudy_store.records import PromiseRecord, ScheduleRecord, Value

RECORDS = SealedRecords(Sealer([SealKey("k1", bytes(32))]))
ARGS = Value({"fn": "pay"}, b"tiger-args")
RESULT = Value({}, b"tiger-result")
CREATE = PromiseCreate("p", 9, ARGS)
SETTLE = PromiseSettle("p", "resolved", RESULT)
COMMANDS: list[Any] = [
    CREATE,
    SETTLE,
    PromiseCreateWatched(CREATE),
    PromiseCancel("p", RESULT),
    TaskCreate("n#1", 1, "p", 9, ARGS),
    TaskFence("t", 1, (CREATE, SETTLE)),
    TaskFulfill("p", 1, "resolved", RESULT),
    ScheduleCreate("s", "* * * * *", "{id}.{timestamp}", 9, ARGS),
    TaskRelease("p", 1, 0, True, "attempt 1 failed: ValueError: tiger: 7"),
    TaskHalt("p", "NonDeterminismError: p: it ended with ValueError('tiger (at') (at a:1)", 1),
]


def sealed_record(state: Any = "resolved", id_: str = "p") -> PromiseRecord:
    """Return a promise as it is stored."""
    create: Any = RECORDS.seal(PromiseCreate(id_, 9, ARGS))
    settle: Any = RECORDS.seal(PromiseSettle(id_, state, RESULT))
    return PromiseRecord(id_, state, create.param, settle.value, {}, 9, 1, 2)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_commands_are_sealed(command: Any) -> None:
    assert b"tiger" in msgspec.msgpack.encode(command)
    sealed = RECORDS.seal(command)
    assert b"tiger" not in msgspec.msgpack.encode(sealed)
    assert type(sealed) is type(command)
    for_another = RECORDS.seal(Delegated("team-a", command))
    assert b"tiger" not in msgspec.msgpack.encode(for_another)
    assert isinstance(for_another, Delegated)
    assert for_another.identity == "team-a"


def test_what_has_no_value_stays_as_it_is() -> None:
    for command in (PromiseCreate("p", 9), PromiseSettle("p", "resolved"), PromiseCancel("p")):
        assert RECORDS.seal(command) == command
    assert RECORDS.seal(TaskHalt("p", "by hand: it ended with this")) == TaskHalt(
        "p", "by hand: it ended with this"
    )


@pytest.mark.parametrize("state", ["resolved", "rejected", "rejected_canceled"])
def test_promises_are_opened(state: Any) -> None:
    opened = RECORDS.opened(sealed_record(state))
    assert (opened.param, opened.value) == (ARGS, RESULT)


def test_a_result_is_no_failure() -> None:
    changed = msgspec.structs.replace(sealed_record("rejected"), state="resolved")
    assert is_sealed(RECORDS.opened(changed).value.data)


def test_arguments_are_those_of_one_function() -> None:
    record = sealed_record()
    other = Value({"fn": "refund"}, record.param.data)
    opened = RECORDS.opened(msgspec.structs.replace(record, param=other))
    assert is_sealed(opened.param.data)
    assert opened.value == RESULT, "the other value is opened all the same"


def test_replies_are_opened() -> None:
    record = sealed_record()
    create: Any = RECORDS.seal(COMMANDS[7])
    schedule = ScheduleRecord("s", "", "", 9, create.promise_param, {}, 1, 1)
    inner = Reply(200, promise=record)
    reply = Reply(
        200,
        promise=record,
        promises=[record],
        schedule=schedule,
        schedules=[schedule],
        replies=[None, inner],
    )
    answer: Any = RECORDS.open_answer(Response(1, reply))
    found = answer.reply
    assert found.promise.value == found.promises[0].value == RESULT
    assert found.replies[1].promise.value == RESULT
    assert found.schedule.promise_param == found.schedules[0].promise_param == ARGS


def test_messages_are_opened() -> None:
    record = sealed_record()
    messages = RECORDS.open_messages(
        [
            Settled([record]),
            Invoke(record, 1),
            Resume(record, 2, None),
            Resume(record, 2, [record]),
            Unblock("poll://any@g", record),
            Forward("https://a", "p", 0, record),
            Forward("https://a", "p", 1),
        ]
    )
    settled, invoke, warm, cold, unblock, forward, offer = messages
    opened = RECORDS.opened(record)
    assert settled == Settled([opened])
    assert invoke == Invoke(opened, 1)
    assert warm == Resume(opened, 2, None)
    assert cold == Resume(opened, 2, [opened])
    assert unblock == Unblock("poll://any@g", opened)
    assert forward == Forward("https://a", "p", 0, opened)
    assert offer == Forward("https://a", "p", 1)
