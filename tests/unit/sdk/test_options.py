"""Options: what is accepted, normalised and refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from understudy.errors import ConfigurationError
from understudy.options import Options, poll
from understudy.retry import Constant, Never


def test_nothing_is_set_by_default() -> None:
    assert Options().merge() == Options()
    assert all(getattr(Options(), name) is None for name in Options.__struct_fields__)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"id": "a"}, {"id": "a"}),
        ({"home": "a/b"}, {"home": "a/b"}),
        ({"id": "a.b", "home": "a"}, {"id": "a.b", "home": "a"}),
        ({"timeout": 30}, {"timeout_s": 30.0}),
        ({"timeout": timedelta(minutes=1)}, {"timeout_s": 60.0}),
        ({"delay": 0}, {"delay_s": 0.0}),
        ({"delay": timedelta(milliseconds=5)}, {"delay_s": 0.005}),
        ({"timeout": timedelta(days=365_250)}, {"timeout_s": 31_557_600_000.0}),
        ({"version": 2}, {"version": 2}),
        ({"tags": {"team": "a"}}, {"tags": {"team": "a"}}),
        ({"retry": Never()}, {"retry": Never()}),
        ({"priority": -100}, {"priority": -100}),
        ({"target": "g"}, {"target": "poll://any@g"}),
        ({"target": "poll://g"}, {"target": "poll://any@g"}),
        ({"send_to": poll("g")}, {"target": "poll://any@g"}),
        ({"send_to": "poll://uni@g/n"}, {"target": "poll://uni@g/n"}),
        ({"target": "g", "send_to": poll("g")}, {"target": "poll://any@g"}),
    ],
    ids=repr,
)
def test_public_spellings(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Options().merge(**given) == Options(**expected)


@pytest.mark.parametrize(
    "given",
    [
        {"id": ""}, {"id": "x" * 513}, {"id": 3},
        {"home": ""}, {"home": "x" * 256}, {"home": 3}, {"home": "a.b"}, {"home": "."},
        {"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"timeout": float("inf")},
        {"timeout": "30"}, {"timeout": True}, {"timeout": timedelta(-1)}, {"timeout": 10**400},
        {"timeout": 31_557_600_001}, {"delay": timedelta.max}, {"delay": 1e18},
        {"delay": -0.1}, {"delay": "1"},
        {"version": 0}, {"version": 1.0}, {"version": True},
        {"tags": ["a"]}, {"tags": {"a": 1}}, {"tags": {1: "a"}}, {"tags": {"understudy:x": "a"}},
        {"retry": Never}, {"retry": 3},
        {"priority": 101}, {"priority": -101}, {"priority": 1.5}, {"priority": True},
        {"target": ""}, {"target": "ftp://x"}, {"target": 3}, {"target": "poll://uni@g"},
        {"send_to": "poll://all@g"},
    ],
    ids=lambda given: repr(given)[:40],
)  # fmt: skip
def test_refusals_name_the_option_and_the_value(given: dict[str, Any]) -> None:
    ((option, value),) = given.items()
    with pytest.raises(ConfigurationError) as caught:
        Options().merge(**given)
    assert f"option {option}={value!r}: " in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_target_given_twice_must_agree() -> None:
    with pytest.raises(ConfigurationError, match="target='a' and send_to='b' differ"):
        Options().merge(target="a", send_to="b")


def test_the_home_of_an_id_must_be_the_home_that_is_given() -> None:
    with pytest.raises(
        ConfigurationError, match=r"option home='a': the id 'b\.a' has the home 'b'"
    ):
        Options().merge(id="b.a", home="a")


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="timeouts"):
        Options().merge(timeouts=3)  # type: ignore[call-arg]


def test_merging_keeps_what_is_not_given_and_replaces_tags() -> None:
    first = Options().merge(timeout=3, tags={"a": "1"}, retry=Constant(1, 2))
    second = first.merge(tags={"b": "2"}, version=1)
    assert second == Options(timeout_s=3.0, tags={"b": "2"}, retry=Constant(1, 2), version=1)
    assert first.tags == {"a": "1"}


def test_tags_are_copied() -> None:
    tags = {"a": "1"}
    options = Options().merge(tags=tags)
    tags["a"] = "2"
    assert options.tags == {"a": "1"}
