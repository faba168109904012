"""The keys that an issuer publishes, by OpenID Connect discovery: two requests, within bounds.

The address is that of the issuer in our file, and then the one that its document names. No
redirects are followed, and nothing goes in clear but to this machine.
"""

from __future__ import annotations

import json
import ssl
from typing import Any, Final

import httpcore
import trio

from understudy.edge.tokens.jwts import KeysError, KeySet, parse_keys
from understudy.edge.tokens.rules import is_safe_url

#: below the issuer's address
WELL_KNOWN: Final = "/.well-known/openid-configuration"
#: how long both requests may take together, seconds
FETCH_S: Final = 5.0
BODY_BYTES_MAX: Final = 512 * 1024
_OK: Final = 200
_HEADERS: Final = [("accept", "application/json")]


async def fetch_keys(issuer: str) -> KeySet:
    """Return the keys that an issuer publishes.

    Parameters
    ----------
    issuer
        Its address, which is safe (`is_safe_url`).

    Raises
    ------
    KeysError
        It does not answer in time, or with something else.
    """
    try:
        with trio.fail_after(FETCH_S):
            document = await _get(issuer.rstrip("/") + WELL_KNOWN)
            return parse_keys(await _get(_keys_url(document, issuer)))
    except trio.TooSlowError:
        raise KeysError(f"it has not answered in {FETCH_S:g} s") from None
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise KeysError(f"{type(error).__name__}: {error}") from None


def _keys_url(document: object, issuer: str) -> str:
    found: dict[str, Any] = document if isinstance(document, dict) else {}
    if found.get("issuer") != issuer:
        raise KeysError(f"the document at its address is not that of the issuer {issuer!r}")
    url = found.get("jwks_uri")
    if not isinstance(url, str) or not is_safe_url(url):
        raise KeysError("its document names no https:// address of keys (jwks_uri)")
    return url


async def _get(url: str) -> object:
    body = b""
    origin = httpcore.URL(url).origin
    async with (
        httpcore.AsyncHTTPConnection(origin, ssl_context=_context()) as connection,
        connection.stream("GET", url, headers=_HEADERS) as response,
    ):
        if response.status != _OK:
            raise KeysError(f"{url} answers with status {response.status}")
        try:
            async for part in response.aiter_stream():
                body += part
                if len(body) > BODY_BYTES_MAX:
                    # To its end, which comes at once then: a generator that is left before it is
                    # closed by nobody.
                    await connection.aclose()
        except httpcore.NetworkError:
            if len(body) <= BODY_BYTES_MAX:
                raise
    if len(body) > BODY_BYTES_MAX:
        raise KeysError(f"{url} answers with more than {BODY_BYTES_MAX:,} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise KeysError(f"{url} answers with something that is no JSON") from None


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
