"""JWTs and the keys that they are signed with. Pure: keys and time are given. Needs PyJWT.

A token says by which algorithm and which key it is signed, and neither is believed. The algorithm
is one of three; the key is one of its issuer's, and has one algorithm of its own, which must be the
same. So no public key ever serves as a secret, and no token goes unsigned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import jwt
from jwt.types import Options

from understudy.edge.tokens.bearer import TokenError, UnknownKeyError, Verified
from understudy.edge.tokens.rules import Issuer
from understudy.errors import UnderstudyError

#: how far the clocks of an issuer and of this machine may be apart, seconds
LEEWAY_S: Final = 60
#: keys of one issuer
KEYS_MAX: Final = 100
RSA_BITS_MIN: Final = 2048
#: algorithms by the type and curve of a key
_ALGORITHMS: Final[Mapping[tuple[str, str | None], str]] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
#: what of a key is public
_PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y")
_REQUIRED: Final = ["iss", "aud", "exp", "nbf"]
#: later times make no sense, and larger numbers cause trouble
_TIME_MAX: Final = 2**40
#: the time is looked at here, because PyJWT asks the clock
_CHECKS: Final[Options] = {
    "require": _REQUIRED,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


class KeysError(UnderstudyError):
    """A text or an answer is no set of keys (JWKS)."""


class Key(NamedTuple):
    """A public key, and the only algorithm that it is for."""

    kid: str | None
    algorithm: str
    key: Any


#: the keys of an issuer
KeySet = tuple[Key, ...]


def parse_keys(data: object) -> KeySet:
    """Return the keys of a JWKS that are for signatures by one of the algorithms.

    Raises
    ------
    KeysError
        It is no JWKS, has a key that is broken, or none that can be used.
    """
    found = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise KeysError('it is no JWKS: an object with a list "keys" of objects')
    if len(found) > KEYS_MAX:
        raise KeysError(f"it has {len(found)} keys; {KEYS_MAX} are taken")
    keys = tuple(key for each in found if (key := _key(each)) is not None)
    if not keys:
        raise KeysError("it has no key for signatures by RS256, ES256 or EdDSA")
    return keys


def _key(data: Mapping[str, Any]) -> Key | None:
    """Return a key; None if it is for something else."""
    kind, curve, kid = data.get("kty"), data.get("crv"), data.get("kid")
    is_text = isinstance(kind, str) and (curve is None or isinstance(curve, str))
    algorithm = _ALGORITHMS.get((str(kind), curve)) if is_text else None
    operations = data.get("key_ops", ["verify"])
    if algorithm is None or data.get("alg", algorithm) != algorithm:
        return None
    if data.get("use", "sig") != "sig" or not isinstance(operations, list):
        return None
    if "verify" not in operations or not (kid is None or isinstance(kid, str)):
        return None
    public = {name: data[name] for name in _PUBLIC if name in data}
    try:
        key = jwt.PyJWK(public, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise KeysError(f"its key of the type {kind} is broken: {type(error).__name__}") from None
    if algorithm == "RS256" and key.key_size < RSA_BITS_MIN:
        return None
    return Key(kid, algorithm, key)


def verify(
    token: str, issuers: Mapping[str, Issuer], keys: Mapping[str, KeySet], now: float
) -> Verified:
    """Return what a JWT says, if it is one of these issuers, and valid.

    Parameters
    ----------
    keys
        By issuer; those that are not known yet may be missing.
    now
        Epoch seconds.

    Raises
    ------
    TokenError
        It is not valid.
    UnknownKeyError
        It names a key that its issuer may have made since.
    """
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenError("it is no JWT") from None
    header, unverified = parts["header"], parts["payload"]
    algorithm, name = header.get("alg"), unverified.get("iss")
    if algorithm not in _ALGORITHMS.values():
        raise TokenError("its algorithm is not taken: RS256, ES256 and EdDSA are")
    issuer = issuers.get(name) if isinstance(name, str) else None
    if issuer is None:
        raise TokenError("its issuer (iss) is unknown")
    key = _chosen(keys.get(issuer.name, ()), header.get("kid"), algorithm, issuer.name)
    claims = _claims(token, key, issuer)
    expires_at = _time(claims, "exp") + LEEWAY_S
    if now >= expires_at:
        raise TokenError("it has expired")
    if now < _time(claims, "nbf") - LEEWAY_S:
        raise TokenError("it is not valid yet (nbf)")
    return Verified(issuer.name, claims, expires_at)


def _chosen(keys: KeySet, kid: object, algorithm: str, issuer: str) -> Key:
    named = [key for key in keys if kid is None or key.kid == kid]
    if not named:
        raise UnknownKeyError(issuer)
    fitting = [key for key in named if key.algorithm == algorithm]
    if not fitting:
        raise TokenError("its algorithm is not that of the key that it names")
    if len(fitting) > 1 and kid is None:
        raise TokenError("it names no key (kid), and its issuer has several")
    return fitting[0]


def _claims(token: str, key: Key, issuer: Issuer) -> Mapping[str, Any]:
    try:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            audience=issuer.audience,
            issuer=issuer.name,
            options=_CHECKS,
        )
    except jwt.InvalidSignatureError:
        raise TokenError("its signature is wrong") from None
    except jwt.MissingRequiredClaimError as error:
        raise TokenError(f"it lacks the claim {error.claim}") from None
    except jwt.InvalidAudienceError:
        raise TokenError("it is for another audience (aud)") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise TokenError("it is no valid JWT") from None


def _time(claims: Mapping[str, Any], name: str) -> float:
    value: Any = claims.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not a number, and infinity, are no JSON, and are taken for such nevertheless.
    if not is_number or not -_TIME_MAX < value < _TIME_MAX:
        raise TokenError(f"its claim {name} is no time")
    return float(value)
