"""The header ``Authorization``, and whose the token in it is. Pure: rules, keys, time are given."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from understudy.edge.tokens.rules import Issuer, Rules
from understudy.errors import UnderstudyError

#: characters of a token
TOKEN_CHARS_MAX: Final = 8 * 1024
_SCHEME: Final = re.compile(r"bearer +", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class TokenError(UnderstudyError):
    """A token is not taken; the message says why, and has nothing of the token in it."""


class MissingTokenError(TokenError):
    """There is no token."""


class ForeignTokenError(TokenError):
    """A token is valid, and nobody's here."""


class UnknownKeyError(TokenError):
    """A token names a key that is not known, and that its issuer may have made since."""

    def __init__(self, issuer: str) -> None:
        super().__init__("its key id (kid) is unknown")
        self.issuer = issuer


class RefusedError(UnderstudyError):
    """A request that is not served because of its token, or for lack of one.

    Parameters
    ----------
    status
        Of HTTP: 401, 403 or 503.
    detail
        What happened and what to do, in a sentence.
    headers
        Further headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


class Bearer(NamedTuple):
    """The sender of a token that is taken.

    Attributes
    ----------
    expires_at
        When it is no longer taken, epoch seconds; None: never.
    """

    identity: str
    expires_at: float | None = None


class Verified(NamedTuple):
    """A JWT that is what it says.

    Attributes
    ----------
    expires_at
        When it is no longer taken, epoch seconds.
    """

    issuer: str
    claims: Mapping[str, Any]
    expires_at: float


#: Returns what a JWT of one of the issuers says, at a time in epoch seconds; raises `TokenError`.
Verify: TypeAlias = Callable[[str, Mapping[str, Issuer], float], Verified]


def presented(authorization: Sequence[bytes | str]) -> str:
    """Return the token of a request.

    Parameters
    ----------
    authorization
        The values of all its headers ``Authorization``.

    Raises
    ------
    TokenError
        There is none, or more than one, or it has not the form of one.

    Examples
    --------
    >>> presented([b"Bearer abc"])
    'abc'
    """
    if not authorization:
        raise MissingTokenError("a token is missing: send the header Authorization: Bearer TOKEN")
    if len(authorization) > 1:
        raise TokenError("there is more than one header Authorization")
    (value,) = authorization
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if len(text) > TOKEN_CHARS_MAX:
        raise TokenError(f"it has more than {TOKEN_CHARS_MAX:,} characters")
    scheme = _SCHEME.match(text)
    token = "" if scheme is None else text[scheme.end() :]
    if not _TOKEN.fullmatch(token):
        raise TokenError("the header Authorization has another form than Bearer TOKEN")
    return token


def bearer_of(token: str, rules: Rules, verify: Verify, now: float) -> Bearer:
    """Return whose a token is.

    Parameters
    ----------
    now
        Epoch seconds.

    Raises
    ------
    TokenError
        It is not taken.
    """
    if token.count(".") != 2:
        return _static(token, rules, now)
    found = verify(token, rules.issuers, now)
    identity = rules.identity_of(found.issuer, found.claims)
    if identity is None:
        raise ForeignTokenError("it is valid, but no [[map]] of this edge says whose it is")
    return Bearer(identity, found.expires_at)


def _static(token: str, rules: Rules, now: float) -> Bearer:
    digest = sha256(token)
    found = None
    # All are compared, and each whole, so that the time tells nothing about any.
    for each in rules.tokens:
        if hmac.compare_digest(each.sha256, digest):
            found = each
    if found is None:
        raise TokenError("it is unknown")
    if found.expires_at is not None and now >= found.expires_at:
        raise TokenError("it has expired")
    return Bearer(found.identity, found.expires_at)


def sha256(token: str) -> str:
    """Return the hash of a token, in hexadecimal digits, as files have it."""
    return hashlib.sha256(token.encode()).hexdigest()


def refused(error: TokenError) -> RefusedError:
    """Return what a request is told whose token is not taken (RFC 6750)."""
    if isinstance(error, MissingTokenError):
        return RefusedError(401, str(error), {"www-authenticate": 'Bearer realm="understudy"'})
    text = str(error)
    text = f"the token is not taken: {text}" if text.startswith("it") else text
    if isinstance(error, ForeignTokenError):
        return RefusedError(403, text)
    challenge = f'Bearer error="invalid_token", error_description="{text}"'
    return RefusedError(401, text, {"www-authenticate": challenge})
