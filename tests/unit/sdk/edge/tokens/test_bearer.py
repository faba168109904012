"""The header, tokens of the file, and what a request is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from understudy.edge.tokens.bearer import (
    TOKEN_CHARS_MAX,
    Bearer,
    ForeignTokenError,
    MissingTokenError,
    TokenError,
    UnknownKeyError,
    Verified,
    bearer_of,
    presented,
    refused,
    sha256,
)
from understudy.edge.tokens.rules import Issuer, Map, Rules, StaticToken

RULES = Rules(
    (
        StaticToken("team-b/ci", sha256("us_one")),
        StaticToken("team-b/web", sha256("us_two"), 100.0),
    ),
    {"i": Issuer("i", "understudy")},
    (Map("i", "sub", "ann", "team-a/ann"),),
)


def verify(token: str, issuers: Mapping[str, Issuer], now: float) -> Verified:
    assert issuers == RULES.issuers
    return Verified("i", {"sub": token.partition(".")[0]}, now + 5)


@pytest.mark.parametrize("value", [b"Bearer abc", "bearer abc", b"BEARER   abc"])
def test_the_form_of_the_header(value: Any) -> None:
    assert presented([value]) == "abc"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "missing"),
        ([b"Bearer a", b"Bearer a"], "more than one"),
        ([b""], "another form"),
        ([b"Bearer"], "another form"),
        ([b"Bearer "], "another form"),
        ([b"Basic YTpi"], "another form"),
        ([b"Bearer a b"], "another form"),
        ([b"Bearer a, Bearer b"], "another form"),
        ([b"Bearer \xe4"], "another form"),
        (["Bearer a\n"], "another form"),
        ([b"Bearer " + b"a" * TOKEN_CHARS_MAX], "more than 8,192"),
    ],
)
def test_headers_that_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(TokenError, match=message):
        presented(values)


def test_tokens_of_the_file() -> None:
    assert bearer_of("us_one", RULES, verify, 1e9) == Bearer("team-b/ci")
    assert bearer_of("us_two", RULES, verify, 99.9) == Bearer("team-b/web", 100.0)
    with pytest.raises(TokenError, match="has expired"):
        bearer_of("us_two", RULES, verify, 100.0)
    for token in ("us_three", sha256("us_one"), "us_on", "us_one="):
        with pytest.raises(TokenError, match="unknown"):
            bearer_of(token, RULES, verify, 0)


def test_jwts_are_whose_a_map_says() -> None:
    assert bearer_of("ann.b.c", RULES, verify, 7) == Bearer("team-a/ann", 12)
    with pytest.raises(ForeignTokenError):
        bearer_of("bob.b.c", RULES, verify, 7)


def test_what_a_request_is_told() -> None:
    told = refused(MissingTokenError("a token is missing"))
    assert (told.status, told.headers) == (401, {"www-authenticate": 'Bearer realm="understudy"'})
    told = refused(TokenError("it has expired"))
    assert (told.status, told.detail) == (401, "the token is not taken: it has expired")
    assert told.headers["www-authenticate"] == (
        'Bearer error="invalid_token", error_description="the token is not taken: it has expired"'
    )
    assert refused(UnknownKeyError("i")).status == 401
    told = refused(ForeignTokenError("it is valid"))
    assert (told.status, told.headers) == (403, {})
