"""The slots with which a broker starts: each row of the table in `start`."""

from __future__ import annotations

import pytest

from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import shared_out
from understudy_broker.server import placement as p
from understudy_broker.server.start import (
    Answer,
    Map,
    New,
    Silent,
    Wait,
    Wanted,
    after_answers,
    at_start,
    is_sole,
    of_new,
)
from understudy_store.slots import SLOTS


def addresses(names: str) -> dict[str, str]:
    return {name: f"tcp://{name}:5577" for name in names}


def wanted(name: str | None, names: str, deployment: str | None = None) -> Wanted:
    return Wanted(name, deployment, ",".join(sorted(names)), addresses(names))


def shared(name: str, names: str, deployment: str = "a,b") -> p.Placement:
    return p.placement_of(slots(names), deployment, name)


def slots(names: str) -> SlotMap:
    return shared_out(list(addresses(names).items()))


def sole(name: str, names: str, deployment: str = "a,b") -> p.Placement:
    return p.sole_placement(deployment, name, names)


# One broker --------------------------------------------------------------------------------------


def test_a_single_broker_with_its_own_store_has_everything_and_no_map() -> None:
    assert is_sole(wanted(None, ""), None)
    assert is_sole(wanted("a", "a"), None)
    assert not is_sole(wanted("a", "ab"), None)
    assert not is_sole(wanted("a", "a"), sole("a", "ab"))


def test_the_last_broker_that_is_left_with_all_slots_goes_on_with_a_map_of_its_own() -> None:
    found = at_start(wanted("a", "a"), sole("a", "ab"), is_empty=False)
    assert found is not None
    assert (found.brokers, len(found.own), found.version) == (("a",), SLOTS, 2)
    assert found.slots(addresses("a")).brokers == (("a", "tcp://a:5577"),)


@pytest.mark.parametrize("name", [None, "a", "x"])
def test_a_part_of_several_does_not_start_as_a_single_broker(name: str | None) -> None:
    store = shared("a", "ab")
    with pytest.raises(p.PlacementError) as caught:
        at_start(wanted(name, name or ""), store, is_empty=False)
    text = str(caught.value)
    assert "the broker 'a', one of the deployment 'a,b'" in text
    assert p.runs_text(store.own) in text
    assert "understudy slots move --all" in text
    assert "[[broker]]" in text


def test_a_store_without_slots_does_not_start_as_a_single_broker() -> None:
    store = p.with_brokers(p.placement_of(slots("a"), "a,b", "b"), "ab")
    with pytest.raises(p.PlacementError, match="has none of the slots"):
        at_start(wanted("b", "b"), store, is_empty=False)


def test_the_last_broker_needs_its_name() -> None:
    with pytest.raises(p.PlacementError, match=r'has all slots.*name = "a"'):
        at_start(wanted(None, ""), sole("a", "ab"), is_empty=False)


def test_a_broker_whose_slots_are_leaving_does_not_start_alone() -> None:
    store = p.left_behind(sole("a", "ab"), [7], shared("b", "ab"))
    with pytest.raises(p.PlacementError, match="has the slots 0-6, 8-255"):
        at_start(wanted("a", "a"), store, is_empty=False)


# Several, and the store knows its slots ----------------------------------------------------------


def test_the_store_says_which_slots_a_broker_has_whatever_the_names_say() -> None:
    store = sole("b", "ab")
    assert at_start(wanted("b", "ab"), store, is_empty=False) is store


def test_new_names_come_without_slots_and_names_without_slots_may_go() -> None:
    store = shared("a", "ab")
    more = at_start(wanted("a", "abc"), store, is_empty=False)
    assert more is not None
    assert (more.brokers, more.version, more.owners) == (("a", "b", "c"), 2, store.owners)
    less = at_start(wanted("a", "ab"), more, is_empty=False)
    assert less is not None
    assert (less.brokers, less.version, less.deployment) == (("a", "b"), 3, "a,b")


def test_a_broker_that_has_slots_does_not_go() -> None:
    store = shared("a", "abc")
    assert at_start(wanted("a", "ac"), store, is_empty=False) is None
    with pytest.raises(p.PlacementError) as caught:
        after_answers(wanted("a", "ac"), store, {"c": Map("a,b", slots("abc"))})
    assert f"the broker 'b' has the slots {p.runs_text(shared('b', 'abc').own)}" in str(
        caught.value
    )
    assert "understudy slots move --all --from b" in str(caught.value)


def test_a_broker_may_go_if_others_know_that_its_slots_have_moved() -> None:
    a, b, c = (shared(name, "abc") for name in "abc")
    b = p.left_behind(b, b.own, c)
    c = p.arrived(c, b, list(b.leaving))
    answers: dict[str, Answer] = {"c": Map("a,b", c.slots(addresses("abc")))}
    found = after_answers(wanted("a", "ac"), a, answers)
    assert isinstance(found, p.Placement)
    assert (found.brokers, found.own) == (("a", "c"), a.own)
    assert found.version > c.version
    assert p.conflict(found.slots(addresses("ac")), "a", c.slots(addresses("ac"))) == []
    # A map of another deployment says nothing.
    with pytest.raises(p.PlacementError):
        after_answers(wanted("a", "ac"), a, {"c": Map("other", c.slots(addresses("abc")))})


def test_a_broker_waits_for_those_that_may_know_where_slots_have_gone() -> None:
    store = shared("a", "abc")
    answers: dict[str, Answer] = {"c": Silent("nothing there")}
    assert after_answers(wanted("a", "ac"), store, answers) == Wait(
        {"c": "nothing there; it may have slots of 'b'"}
    )


def test_a_broker_that_is_to_get_slots_does_not_go() -> None:
    gone = p.with_brokers(sole("a", "ab"), "abc")
    store = p.left_behind(gone, [7], shared("c", "c"))
    with pytest.raises(p.PlacementError, match="slot 7 is leaving for the broker 'c'"):
        at_start(wanted("a", "ab"), store, is_empty=False)


def test_leaving_slots_are_nobodys() -> None:
    store = p.left_behind(sole("a", "ab"), [7], shared("b", "ab"))
    found = at_start(wanted("a", "ab"), store, is_empty=False)
    assert found is not None
    assert 7 not in found.own
    assert found.owners[7] is None


def test_the_store_of_another_broker_is_refused() -> None:
    with pytest.raises(p.PlacementError, match=r"that of the broker 'b'.*this is the broker 'a'"):
        at_start(wanted("a", "ab"), shared("b", "ab"), is_empty=False)


def test_the_store_of_another_deployment_is_refused_if_the_file_names_its_own() -> None:
    store = shared("a", "ab", "shop")
    assert at_start(wanted("a", "ab"), store, is_empty=False) is store
    assert at_start(wanted("a", "ab", "shop"), store, is_empty=False) is store
    with pytest.raises(p.PlacementError, match=r"deployment 'shop', and the file says.*'other'"):
        at_start(wanted("a", "ab", "other"), store, is_empty=False)


# Several, and the store does not know ------------------------------------------------------------


def test_a_single_broker_that_grows_has_all_slots() -> None:
    found = at_start(wanted("a", "ab"), None, is_empty=False)
    assert found == sole("a", "ab")
    assert found is not None
    assert (found.version, found.deployment, len(found.own)) == (1, "a,b", SLOTS)
    named = at_start(wanted("a", "ab", "shop"), None, is_empty=False)
    assert named is not None
    assert named.deployment == "shop"


def test_a_new_broker_asks() -> None:
    assert at_start(wanted("a", "ab"), None, is_empty=True) is None


def test_the_smallest_name_founds_once_all_others_are_new() -> None:
    answers: dict[str, Answer] = {"b": New(), "c": New()}
    found = of_new(wanted("a", "abc"), answers)
    assert isinstance(found, p.Placement)
    assert found == shared("a", "abc", "a,b,c")
    assert of_new(wanted("b", "abc"), {"a": New(), "c": New()}) == Wait(
        {"a": "it begins the deployment, once it has heard from all others"}
    )


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_new_broker_waits_for_those_that_are_silent(name: str) -> None:
    other = "b" if name == "a" else "a"
    answers: dict[str, Answer] = {other: New(), "c": Silent("nothing there")}
    assert of_new(wanted(name, "abc"), answers) == Wait({"c": "nothing there"})


def test_one_map_is_enough() -> None:
    there = Map("shop", slots("abc"))
    found = of_new(wanted("c", "abc"), {"a": there, "b": Silent("nothing there")})
    assert found == shared("c", "abc", "shop")


def test_a_broker_that_a_map_does_not_know_has_no_slots() -> None:
    found = of_new(wanted("c", "abc"), {"a": Map("a,b", slots("ab")), "b": New()})
    assert isinstance(found, p.Placement)
    assert (found.own, found.brokers, found.version) == ([], ("a", "b", "c"), 2)
    assert found.deployment == "a,b"


def test_of_several_maps_each_slot_counts_by_itself() -> None:
    a, b = shared("a", "abc"), shared("b", "abc")
    slot = a.own[0]
    away = p.left_behind(a, [slot], b)
    here = p.arrived(b, away, [slot])
    for order in ((a, here), (here, a)):
        answers: dict[str, Answer] = {
            each.broker: Map("a,b", each.slots(addresses("abc"))) for each in order
        }
        found = of_new(wanted("c", "abc"), answers)
        assert isinstance(found, p.Placement)
        assert found.owners[slot] == "b"


def test_maps_of_different_deployments_are_refused() -> None:
    answers: dict[str, Answer] = {"a": Map("one", slots("abc")), "b": Map("two", slots("abc"))}
    with pytest.raises(p.PlacementError, match=r"'a' and 'b' are of different deployments"):
        of_new(wanted("c", "abc"), answers)
    with pytest.raises(p.PlacementError, match=r"'one', and the file says.*'mine'"):
        of_new(wanted("c", "abc", "mine"), {"a": answers["a"]})


def test_a_map_with_a_broker_that_the_file_does_not_name_is_refused() -> None:
    with pytest.raises(p.PlacementError, match="the broker 'b' has the slots"):
        of_new(wanted("c", "ac"), {"a": Map("abc", slots("abc"))})
