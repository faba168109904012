"""The file of tokens: what it may say, and what is told of one that is wrong."""

from __future__ import annotations

import pytest

from understudy.edge.tokens.rules import (
    HASHES_MAX,
    Issuer,
    Map,
    RulesError,
    StaticToken,
    is_safe_url,
    parse_rules,
)

HASH = "0123456789abcdef" * 4
OTHER = "f" * 64
ISSUER = '[issuer."https://login.example"]\naudience = "understudy"\n'
MAP = '[[map]]\nissuer = "https://login.example"\nvalue = "ann"\nidentity = "team-a/ann"\n'


def test_all_that_a_file_may_say() -> None:
    rules = parse_rules(
        f"""
        [token."team-b/ci"]
        sha256 = ["{HASH}", "{OTHER}"]
        expires = 2027-01-01
        [issuer."https://login.example"]
        audience = "understudy"
        claim = "email"
        [issuer."cluster"]
        audience = "x"
        jwks = "keys.json"
        [[map]]
        issuer = "https://login.example"
        value = "ann@example"
        identity = "team-a/ann"
        [[map]]
        issuer = "cluster"
        claim = "groups"
        value = "web"
        identity = "team-a/web"
        """
    )
    assert rules.tokens == (
        StaticToken("team-b/ci", HASH, 1798761600.0),
        StaticToken("team-b/ci", OTHER, 1798761600.0),
    )
    assert rules.issuers == {
        "https://login.example": Issuer("https://login.example", "understudy"),
        "cluster": Issuer("cluster", "x", "keys.json"),
    }
    assert rules.maps == (
        Map("https://login.example", "email", "ann@example", "team-a/ann"),
        Map("cluster", "groups", "web", "team-a/web"),
    )


def test_an_empty_file_takes_nothing() -> None:
    assert parse_rules("") == ((), {}, ())


def test_the_first_map_that_fits_counts() -> None:
    rules = parse_rules(
        ISSUER
        + MAP
        + MAP.replace('value = "ann"', 'claim = "groups"\nvalue = "web"').replace(
            "team-a/ann", "team-a/web"
        )
    )
    name = "https://login.example"
    assert rules.identity_of(name, {"sub": "ann", "groups": ["web"]}) == "team-a/ann"
    assert rules.identity_of(name, {"sub": "bob", "groups": ["ops", "web"]}) == "team-a/web"
    assert rules.identity_of(name, {"sub": "bob", "groups": "web"}) == "team-a/web"
    assert rules.identity_of(name, {"sub": "bob", "groups": "web2"}) is None
    assert rules.identity_of(name, {"sub": ["x", {}], "groups": None}) is None
    assert rules.identity_of("https://other.example", {"sub": "ann"}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[token", "TOML"),
        ("x = " + "[" * 3000, "TOML"),
        ("[tokens]", "tokens: unknown"),
        ("token = 1", "token: write a table"),
        ('[token]\n"team-b/ci" = 1', "token: write a table"),
        (f'[token."a b"]\nsha256 = "{HASH}"', "a name has letters"),
        (f'[token."understudy/x"]\nsha256 = "{HASH}"', "reserved"),
        ('[token."a"]', "sha256 is 64 digits"),
        (f'[token."a"]\nsha256 = "{HASH.upper()}"', "sha256 is 64 digits"),
        ('[token."a"]\nsha256 = []', "sha256 is 64 digits"),
        (f'[token."a"]\nsha256 = {[HASH] * (HASHES_MAX + 1)}', "sha256 is 64 digits"),
        (f'[token."a"]\nsha256 = "{HASH}"\nexpire = 2027-01-01', "expire is unknown"),
        (f'[token."a"]\nsha256 = "{HASH}"\nexpires = "2027"', "expires is a date"),
        (f'[token."a"]\nsha256 = "{HASH}"\nexpires = 2027-01-01T00:00:00', "needs a zone"),
        (f'[token."a"]\nsha256 = "{HASH}"\n[token."b"]\nsha256 = "{HASH}"', "there twice"),
        (ISSUER, "no [[map]]"),
        ('[issuer."https://login.example"]\n' + MAP, "audience is missing"),
        (ISSUER + 'jwks = ""\n' + MAP, "jwks is missing"),
        (ISSUER + "claim = 5\n" + MAP, "claim is missing, or no text"),
        (ISSUER.replace("https", "http") + MAP.replace("https", "http"), "no https:// address"),
        (ISSUER + 'keys = "x"\n' + MAP, "keys is unknown"),
        ("map = 1", "write a table [[map]]"),
        ("map = [1]", "write a table [[map]]"),
        (MAP, "there is no table [issuer"),
        (ISSUER + MAP + 'x = "y"', "x is unknown"),
        (ISSUER + MAP.replace('value = "ann"\n', ""), "value is missing"),
        (ISSUER + MAP.replace('value = "ann"', "value = 7"), "value is missing"),
        (ISSUER + MAP.replace('identity = "team-a/ann"', ""), "identity is missing"),
        (ISSUER + MAP.replace("team-a/ann", "-"), "a name has letters"),
    ],
)
def test_a_file_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://a.example/x?y", True), ("http://localhost:1", True), ("http://[::1]/", True),
        ("http://127.0.0.1.evil.example", False), ("http://a.example", False), ("ftp://a", False),
        ("https://", False), ("https://u@a", False), ("https://a#b", False), ("https://a b", False),
        ("https://a:x", False), ("https://[", False), ("file:///etc/passwd", False), ("", False),
        ("http://localhost@evil.example", False), ("https://a\n.example", False),
    ],
)  # fmt: skip
def test_where_keys_may_be_fetched(url: str, is_safe: bool) -> None:
    assert is_safe_url(url) is is_safe
