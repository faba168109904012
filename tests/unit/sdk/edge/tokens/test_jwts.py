"""JWTs: which are taken, and what is said of the others."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from tests.unit.sdk.edge.tokens.forge import (
    AUDIENCE,
    ISSUER,
    NOW,
    claims,
    ec_key,
    ed_key,
    jwk,
    raw,
    rsa_key,
    token,
)
from understudy.edge.tokens.bearer import TokenError, UnknownKeyError
from understudy.edge.tokens.jwts import KeysError, parse_keys, verify
from understudy.edge.tokens.rules import Issuer

ISSUERS = {
    ISSUER: Issuer(ISSUER, AUDIENCE),
    "https://other.example": Issuer("https://other.example", "other"),
}


def keys() -> Any:
    return parse_keys(
        {"keys": [jwk(rsa_key(), kid="rsa"), jwk(ec_key(), kid="ec"), jwk(ed_key(), kid="ed")]}
    )


def check(text: str, now: float = NOW, own: Any = None) -> Any:
    return verify(text, ISSUERS, {ISSUER: keys() if own is None else own}, now)


def why(text: str, now: float = NOW, own: Any = None) -> str:
    with pytest.raises(TokenError) as caught:
        check(text, now, own)
    assert text not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(rsa_key(), "RS256", "rsa"), (ec_key(), "ES256", "ec"), (ed_key(), "EdDSA", "ed")],
)
def test_three_algorithms_are_taken(key: Any, algorithm: str, kid: str) -> None:
    found = check(token(key, algorithm, {"kid": kid}, groups=["a", "b"]))
    assert (found.issuer, found.claims["groups"]) == (ISSUER, ["a", "b"])
    assert found.expires_at == NOW + 600 + 60


def test_an_audience_may_be_one_of_several() -> None:
    assert check(token(aud=["x", AUDIENCE])).claims["sub"] == "ann"


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "nbf"])
def test_claims_that_must_be_there(name: str) -> None:
    told = why(token(**{name: None}))
    assert told in (f"it lacks the claim {name}", "its issuer (iss) is unknown")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"aud": "other"}, "another audience"),
        ({"aud": [1]}, "another audience"),
        ({"aud": {"x": 1}}, "another audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"exp": NOW - 60}, "has expired"),
        ({"exp": NOW - 3600}, "has expired"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"exp": float("inf")}, "no time"),
        ({"exp": float("nan")}, "no time"),
        ({"exp": 10**400}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": "9999999999"}, "no time"),
        ({"nbf": "0"}, "no time"),
    ],
)
def test_claims_that_are_wrong(more: dict[str, Any], text: str) -> None:
    try:
        made = token(**more)
    except TypeError:  # PyJWT does not make such a token by itself
        made = signed(claims(**more))
    told = why(made)
    assert text in told or "no valid JWT" in told


def signed(payload: dict[str, Any]) -> str:
    header_and_payload = raw({"alg": "EdDSA", "kid": "ed"}, payload).rpartition(".")[0]
    signature = ed_key().sign(header_and_payload.encode())
    return f"{header_and_payload}.{raw(b'', b'', signature).rpartition('.')[2]}"


def test_clocks_may_be_a_minute_apart() -> None:
    check(token(exp=NOW - 59))
    check(token(nbf=NOW + 60))
    assert why(token(exp=NOW - 60)) == "it has expired"
    assert why(token(nbf=NOW + 60), now=NOW - 1) == "it is not valid yet (nbf)"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS512", "PS256", "", 7, None])
def test_algorithms_that_are_not_taken(algorithm: Any) -> None:
    told = why(raw({"alg": algorithm, "kid": "ed"}, claims()))
    assert "algorithm is not taken" in told or told == "it is no JWT"


def test_a_public_key_is_no_secret() -> None:
    """Key confusion: HS256, with the public key of RS256 as the secret."""
    public = (
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head = raw({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, claims()).rpartition(".")[0]
    mac = hmac.digest(public, head.encode(), hashlib.sha256)
    assert "algorithm is not taken" in why(f"{head}.{raw(b'', b'', mac).rpartition('.')[2]}")


def test_a_key_serves_for_its_own_algorithm_only() -> None:
    assert "not that of the key" in why(token(rsa_key(), "RS256", {"kid": "ed"}))
    assert "not that of the key" in why(token(headers={"kid": "rsa"}))


def test_a_wrong_signature() -> None:
    assert why(token(rsa_key(1), "RS256", {"kid": "rsa"})) == "its signature is wrong"
    head, _, _ = token().rpartition(".")
    assert why(f"{head}.") == "its signature is wrong"
    other, _, signature = token(sub="bob").rpartition(".")
    assert why(f"{head}.{signature}") == "its signature is wrong"
    assert other != head


def test_keys_are_those_of_the_issuer_that_the_token_names() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        check(token(iss="https://other.example", aud="other"))
    assert caught.value.issuer == "https://other.example"


def test_an_unknown_key_id() -> None:
    with pytest.raises(UnknownKeyError):
        check(token(headers={"kid": "new"}))
    # what stands in the token itself is no key
    own = jwk(ed_key())
    headers = {"kid": "new", "jwk": own, "jku": "https://evil.example", "x5u": "https://evil"}
    with pytest.raises(UnknownKeyError):
        check(token(headers=headers))


def test_a_token_without_a_key_id() -> None:
    only = parse_keys({"keys": [jwk(ed_key(), kid="ed")]})
    text = jwt.encode(claims(), ed_key(), "EdDSA")
    assert check(text, own=only).claims["sub"] == "ann"
    two = parse_keys({"keys": [jwk(ed_key(), kid="1"), jwk(ed_key(), kid="2")]})
    assert "has several" in why(text, own=two)


def test_critical_extensions_are_not_known() -> None:
    headers: list[dict[str, Any]] = [
        {"crit": ["b64"], "b64": True}, {"crit": ["x"], "x": 1}, {"crit": []},
    ]  # fmt: skip
    for more in headers:
        assert why(token(headers={"kid": "ed", **more})) == "it is no JWT"


@pytest.mark.parametrize(
    "text",
    ["..", "a.b.c", raw([], {}), raw({"alg": "EdDSA"}, []), raw(b"[" * 5000, b"{}"),
     raw({"alg": "EdDSA"}, b"[" * 5000), raw(b"\xff", b"\xff"), raw({"alg": "EdDSA", "kid": 7}, {}),
     raw({"alg": ["EdDSA"]}, {}), raw({"alg": "EdDSA"}, b'{"iss":' * 900)],
)  # fmt: skip
def test_what_is_no_jwt(text: str) -> None:
    assert why(text)


# Sets of keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "no JWKS"),
        ({"keys": {}}, "no JWKS"),
        ({"keys": [1]}, "no JWKS"),
        ({"keys": []}, "no key"),
        ({"keys": [{}] * 101}, "101 keys"),
        ({"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}, "broken"),
        ({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}, "broken"),
        ({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}, "broken"),
        ({"keys": [{"kty": "EC", "crv": "P-256"}]}, "broken"),
    ],
)
def test_what_is_no_set_of_keys(data: object, text: str) -> None:
    with pytest.raises(KeysError, match=text):
        parse_keys(data)


def test_keys_for_other_ends_are_left_out() -> None:
    good = jwk(ed_key(), kid="good")
    others = [
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
        {"kty": ["RSA"]},
        jwk(ed_key(), use="enc"),
        jwk(ed_key(), key_ops=["sign"]),
        jwk(ed_key(), kid=5),
        jwk(rsa_key(), alg="RS512"),
        jwk(rsa_key(0, 1024)),
    ]
    assert [key.kid for key in parse_keys({"keys": [*others, good]})] == ["good"]


def test_the_secret_part_of_a_key_is_not_taken() -> None:
    whole = {**jwk(ed_key(), kid="ed"), "d": "secret"}
    (key,) = parse_keys({"keys": [whole]})
    assert not hasattr(key.key, "private_bytes")
