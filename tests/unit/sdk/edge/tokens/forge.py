"""An issuer of JWTs, right ones and wrong ones."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

#: the time in all tests, epoch seconds
NOW = 1_800_000_000
ISSUER = "https://login.example"
AUDIENCE = "understudy"


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    del number
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    """Return the public part of a key as a JWK."""
    kinds: tuple[tuple[type[Any], Any], ...] = (
        (rsa.RSAPrivateKey, jwt.algorithms.RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, jwt.algorithms.ECAlgorithm),
        (ed25519.Ed25519PrivateKey, jwt.algorithms.OKPAlgorithm),
    )
    algorithm = next(found for kind, found in kinds if isinstance(key, kind))
    return {**json.loads(algorithm.to_jwk(key.public_key())), **more}


def claims(**more: Any) -> dict[str, Any]:
    """Return the claims of a token that is taken; None removes one."""
    found = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": NOW + 600, "nbf": NOW - 10,
    }  # fmt: skip
    return {name: value for name, value in {**found, **more}.items() if value is not None}


def token(key: Any = None, algorithm: Any = "EdDSA", headers: Any = None, **more: Any) -> str:
    """Return a token, by default of the Ed25519 key."""
    return jwt.encode(claims(**more), key or ed_key(), algorithm, headers or {"kid": "ed"})


def raw(header: object, payload: object, signature: bytes = b"") -> str:
    """Return a token with these parts, whatever they are."""
    parts = [json.dumps(each).encode() if not isinstance(each, bytes) else each
             for each in (header, payload)]  # fmt: skip
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature)
    )
