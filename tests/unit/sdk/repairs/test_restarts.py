"""Restarts: the id, the tags and the arguments of the call that is made again."""

from __future__ import annotations

from msgspec.structs import replace

from understudy.repairs.plan import DONE, Outcome
from understudy.repairs.restarts import TAG_RESTART_OF, restart_id, restart_of, restarted
from understudy.values.seals import PARAM, Place, Sealer, SealKey
from understudy_actors.errors import CommandError
from understudy_store.commands import PromiseCreate, Reply
from understudy_store.records import EMPTY, PromiseRecord, Value

TARGET = "poll://any@shop"
FAILED = PromiseRecord(
    "order-7",
    "rejected",
    Value({"fn": "order", "v": "2", "retry": "r", "place": "x.1", "traceparent": "t"}, b"args"),
    EMPTY,
    {
        "understudy:target": TARGET,
        "understudy:priority": "5",
        "understudy:delay": "99",
        "understudy:scope": "detached",
        "understudy:branch": "x",
        "understudy:identity": "ann",
        "customer": "ann",
    },
    timeout_at=5_000,
    created_at=1_000,
    settled_at=2_000,
)


def test_a_restart_has_what_the_call_had() -> None:
    create = restart_of(FAILED, 10_000)
    assert isinstance(create, PromiseCreate)
    assert create.id == "order-7-2"
    assert create.timeout_at == 14_000, "as much time as it had"
    assert create.param == Value({"fn": "order", "v": "2", "retry": "r"}, b"args")
    assert create.tags == {
        "understudy:target": TARGET,
        "understudy:priority": "5",
        "customer": "ann",
        TAG_RESTART_OF: "order-7",
    }


def test_ids_count_on_and_are_the_same_each_time() -> None:
    assert restart_id(FAILED) == restart_id(FAILED) == "order-7-2"
    second = replace(FAILED, id="order-7-2", tags={TAG_RESTART_OF: "order-7"})
    assert restart_id(second) == "order-7-3"
    assert restart_id(replace(FAILED, id="order-7-2")) == "order-7-2-2", "its own name"
    assert restart_id(replace(FAILED, id="order.1")) == "order.1-2", "the same home"


def test_what_cannot_be_restarted_is_refused_in_words() -> None:
    tags = FAILED.tags
    untargeted = {name: text for name, text in tags.items() if name != "understudy:target"}
    sealed = Sealer([SealKey("k1", bytes(32))]).seal(b"args", Place("order-7", PARAM, "order"))
    for record, words in (
        (replace(FAILED, state="pending", settled_at=None), "has not ended"),
        (replace(FAILED, tags=untargeted), "no call that a group performs"),
        (replace(FAILED, tags=tags | {"understudy:origin": "root"}), "part of another call"),
        (replace(FAILED, param=Value({"fn": "order"}, sealed)), "sealed with the key 'k1'"),
    ):
        outcome = restart_of(record, 0)
        assert isinstance(outcome, Outcome)
        assert outcome.kind == "refused"
        assert words in outcome.reason


def test_the_answer_to_the_create() -> None:
    made = replace(FAILED, id="order-7-2", tags={TAG_RESTART_OF: "order-7"})
    assert restarted(FAILED, Reply(201, None, made)) == DONE
    assert restarted(FAILED, Reply(200, None, made)).kind == "already"
    foreign = restarted(FAILED, Reply(200, None, replace(made, tags={})))
    assert foreign.kind == "refused"
    assert "belongs to another call" in foreign.reason
    assert restarted(FAILED, CommandError(400, "the id is too long")).kind == "refused"
