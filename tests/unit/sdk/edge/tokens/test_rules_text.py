"""Changes of the text of a file of tokens."""

from __future__ import annotations

import pytest

from understudy.edge.tokens.rules import RulesError, StaticToken, parse_rules
from understudy.edge.tokens.rules_text import TEMPLATE, lines_of, with_token

CI = StaticToken("team-b/ci", "0" * 64, 1798761600.0)
WEB = StaticToken("team-b/web", "1" * 64)


def test_a_new_file_has_no_tokens() -> None:
    assert parse_rules(TEMPLATE) == ((), {}, ())
    commented = "\n".join(line.removeprefix("# ") for line in TEMPLATE.splitlines()[4:])
    assert len(parse_rules(commented).maps) == 1


def test_tokens_are_added_and_all_else_stays() -> None:
    text = with_token(with_token(TEMPLATE, CI), WEB)
    assert parse_rules(text).tokens == (CI, WEB)
    assert text.startswith(TEMPLATE.rstrip())
    assert lines_of(CI) == (f'[token."team-b/ci"]\nsha256 = "{"0" * 64}"\nexpires = 2027-01-01\n')


def test_what_is_refused() -> None:
    with pytest.raises(RulesError, match="is there already"):
        with_token(with_token("", CI), CI._replace(sha256="2" * 64))
    with pytest.raises(RulesError, match="there twice"):
        with_token(with_token("", CI), WEB._replace(sha256=CI.sha256))
    with pytest.raises(RulesError, match="a name has letters"):
        with_token("", CI._replace(identity="a b"))
    with pytest.raises(RulesError, match="TOML"):
        with_token("[", CI)
