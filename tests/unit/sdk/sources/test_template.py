"""The template of ids: what it refuses, and what it makes of a position."""

from __future__ import annotations

import pytest

from tests.unit.sdk.sources.fakes import KIND, message
from understudy.errors import ConfigurationError
from understudy.sources.template import IdTemplate, MissingFieldError


def test_an_id_is_made_of_the_position() -> None:
    template = IdTemplate("{{x}}-{topic}-{partition}-{offset}", KIND)
    assert template.render(message(7, partition=3)) == "{x}-t-3-7"


def test_a_dot_of_a_position_ends_no_home() -> None:
    template = IdTemplate("{message_id}", KIND)
    assert template.render(message(1, id="order-7.1")) == "order-7:1"


def test_equal_contents_have_equal_hashes() -> None:
    template = IdTemplate("{hash}", KIND)
    first, second = template.render(message(1, b"x")), template.render(message(2, b"x"))
    assert first == second != template.render(message(1, b"y"))
    assert len(first) == 32


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{topic}-{line}", r"field {line}, which a list message has not. It has {topic}, {hash}"),
        ("{topic", "no template"),
        ("{}", "field {}"),
        ("{offset!r}{partition}", "field {offset}"),
        ("{offset:>9}{partition}", "field {offset}"),
        ("{topic.x}{partition}{offset}", r"field {topic\.x}"),
        ("{topic}", "does not tell the messages"),
        ("{topic}-{offset}", r"needs {offset}{partition} or {message_id} or {hash}"),
        ("", "does not tell"),
    ],
)
def test_a_template_that_would_lose_messages_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        IdTemplate(text, KIND)


def test_a_message_may_lack_a_field() -> None:
    with pytest.raises(MissingFieldError, match="it has no message_id"):
        IdTemplate("{message_id}", KIND).render(message(1))


@pytest.mark.parametrize(
    ("text", "home"),
    [
        ("{topic}-{partition}-{offset}", None),
        ("all.{partition}.{offset}", "all"),
        ("{topic}.{partition}-{offset}", "{topic}"),
        ("p{partition}.{offset}", None),
    ],
)
def test_ids_that_share_a_home_are_noticed(text: str, home: str | None) -> None:
    assert IdTemplate(text, KIND).shared_home == home
