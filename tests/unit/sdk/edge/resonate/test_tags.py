"""Tags come back as they came, and say the same to the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.edge.resonate import tags
from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.tags import (
    shown_schedule_tags,
    shown_tags,
    stored_schedule_tags,
    stored_tags,
)
from understudy_store.records import (
    TAG_BRANCH,
    TAG_DELAY,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_PRIORITY,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
)

IDS = st.sampled_from(["a", "a.1", "a:1", "b"])
GIVEN = st.fixed_dictionaries(
    {},
    optional={
        tags.TARGET: st.sampled_from(["g", "poll://g", "poll://any@g", "poll://uni@g/n"]),
        tags.TIMER: st.sampled_from(["true", "false"]),
        tags.EXTERNAL: st.just("true"),
        tags.SCOPE: st.sampled_from(["local", "global"]),
        tags.ORIGIN: IDS,
        tags.BRANCH: IDS,
        tags.PARENT: IDS,
        tags.PREFIX: IDS,
        tags.DELAY: st.sampled_from(["0", "17", "soon", ""]),
        "mine": st.text(),
        TAG_PRIORITY: st.just("5"),
    },
)


@given(IDS, GIVEN, st.none() | IDS)
def test_what_was_given_is_shown(id_: str, asked: dict[str, str], task_id: str | None) -> None:
    stored = stored_tags(id_, asked, task_id=task_id)
    assert shown_tags(id_, stored) == asked
    assert not (TAG_TARGET in stored and stored.get(TAG_TIMER) == "true")


@given(IDS, GIVEN)
def test_tags_of_schedules_are_shown(id_: str, asked: dict[str, str]) -> None:
    stored = stored_schedule_tags(id_, asked)
    assert shown_schedule_tags(stored) == asked or tags.TARGET not in asked
    assert shown_tags("fired", stored)[tags.SCHEDULE] == id_


def test_the_place_in_the_call_graph() -> None:
    below = {tags.ORIGIN: "a", tags.BRANCH: "a.1", tags.PARENT: "a"}
    assert stored_tags("a.1", below) == {
        **below, TAG_ORIGIN: "a", TAG_BRANCH: "a", TAG_EXTERNAL: "true",
    }  # fmt: skip
    root = {tags.ORIGIN: "a", tags.BRANCH: "a", tags.PARENT: "a", tags.TARGET: "g"}
    assert stored_tags("a", root) == {**root, TAG_TARGET: "poll://any@g"}
    deep = {tags.ORIGIN: "a", tags.BRANCH: "a", tags.PARENT: "a.1"}
    assert stored_tags("a.1.1", deep, task_id="a") == {
        **deep, TAG_ORIGIN: "a", TAG_BRANCH: "a", TAG_PARENT: "a.1", TAG_EXTERNAL: "true",
    }  # fmt: skip


def test_delays() -> None:
    asked = {tags.TARGET: "g", tags.DELAY: "17"}
    assert stored_tags("a", asked)[TAG_DELAY] == "17"
    assert TAG_DELAY not in stored_tags("a", asked | {tags.DELAY: "soon"})
    assert TAG_DELAY not in stored_tags("a", {tags.DELAY: "17"})


def test_strictly_only_what_is_marked_can_be_waited_for() -> None:
    assert TAG_EXTERNAL not in stored_tags("a", {}, strict=True)
    assert stored_tags("a", {tags.EXTERNAL: "true"}, strict=True)[TAG_EXTERNAL] == "true"
    assert stored_tags("a", {tags.SCOPE: "local"}, strict=True)[TAG_SCOPE] == "local"


@pytest.mark.parametrize("tag", ["understudy:target", "understudy:anything"])
def test_our_own_tags_are_refused(tag: str) -> None:
    with pytest.raises(Refusal):
        stored_tags("a", {tag: "x"})


def test_promises_of_our_functions_are_shown_as_theirs() -> None:
    call = {TAG_TARGET: "poll://any@g", TAG_ORIGIN: "o", TAG_BRANCH: "o.1", TAG_PARENT: "o.1.2"}
    assert shown_tags("o.1.3", call | {"mine": "1"}) == {
        "mine": "1", tags.TARGET: "poll://any@g", tags.SCOPE: "global", tags.ORIGIN: "o",
        tags.BRANCH: "o.1.3", tags.PARENT: "o.1.2",
    }  # fmt: skip
    assert shown_tags("o.1.4", {TAG_TIMER: "true", TAG_ORIGIN: "o", TAG_BRANCH: "o.1"}) == {
        tags.TIMER: "true", tags.SCOPE: "global", tags.ORIGIN: "o", tags.BRANCH: "o.1",
        tags.PARENT: "o.1",
    }  # fmt: skip
    root = shown_tags("o", {TAG_TARGET: "poll://any@g"})
    assert [root[tag] for tag in (tags.ORIGIN, tags.BRANCH, tags.PARENT)] == ["o", "o", "o"]
    assert shown_tags("o.1", {TAG_SCOPE: "local", TAG_BRANCH: "o"})[tags.SCOPE] == "local"
    assert shown_tags("x", {TAG_EXTERNAL: "true"}) == shown_tags("x", {}) == {}
