"""Roles: what their tables may say, and what several of them permit together."""

from __future__ import annotations

from typing import Any

import pytest

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.grants import (
    ADMIN_COMMANDS,
    EVERYTHING,
    NOTHING,
    RIGHTS,
    Grant,
    joined,
    parse_role,
)

ALL = {right: ["*"] for right in RIGHTS}


def test_a_star_stands_for_all() -> None:
    assert parse_role("all", ALL) == EVERYTHING
    assert {*RIGHTS, "limits"} == set(Grant._fields)
    assert parse_role("none", {}) == NOTHING


@pytest.mark.parametrize("right", [right for right in RIGHTS if right != "admin"])
def test_a_right_is_for_the_names_that_it_lists(right: str) -> None:
    names = getattr(parse_role("r", {right: ["a/", "mail"]}), right)
    is_pattern = right in {"serve", "call", "edge"}
    assert names.has("mail")
    assert names.has("mail-2") is not is_pattern
    assert names.has("a/1") is not is_pattern
    assert not names.has("b")
    assert not names.has("")
    stars = getattr(parse_role("r", {right: ["*"]}), right)
    assert stars.has("")
    assert stars.has_all("")


def test_a_pattern_is_a_name_or_a_beginning() -> None:
    serve = parse_role("r", {"serve": ["a-*", "mail"]}).serve
    assert [serve.has(name) for name in ("a-", "a-x", "mail", "mail2", "a", "xa-")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert serve.has_all("a-x")
    assert not serve.has_all("a")


def test_roles_add_up() -> None:
    one = parse_role("1", {"ids": ["a/"], "serve": ["x"], "admin": ["halt"]})
    two = parse_role("2", {"ids": ["b/"], "serve": ["y*"], "admin": ["continue"]})
    both = joined([one, two])
    assert [both.ids.has(id_) for id_ in ("a/1", "b/1", "c/1")] == [True, True, False]
    assert both.serve.has("x")
    assert both.serve.has("y1")
    assert both.admin == {"halt", "continue"}
    assert joined([]) == NOTHING
    for right in Grant._fields:
        assert getattr(joined([NOTHING, EVERYTHING]), right) == getattr(EVERYTHING, right)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (1, "write a table [role.r]"),
        ({"read": ["a"]}, "read is no right; there are serve, call"),
        ({"ids": "a/"}, "ids is a list of texts"),
        ({"ids": [1]}, "ids is a list of texts"),
        ({"ids": [""]}, 'write "*" for all'),
        ({"ids": ["a" * 256]}, "1 to 255 characters"),
        ({"ids": ["a/*"]}, "only alone"),
        ({"ids": ["*a"]}, "only alone"),
        ({"serve": ["a*b"]}, "only at the end"),
        ({"serve": ["**"]}, "only at the end"),
        ({"ids": ["a"] * 1_001}, "at most 1000"),
        ({"admin": ["shutdown"]}, f"there are {', '.join(ADMIN_COMMANDS)}"),
    ],
)
def test_a_role_that_is_not_understood_is_refused(table: Any, said: str) -> None:
    with pytest.raises(RightsError) as caught:
        parse_role("r", table)
    assert said in str(caught.value)
    assert str(caught.value).startswith("role 'r'")
