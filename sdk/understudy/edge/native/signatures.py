"""The signatures of webhooks, as GitHub, Stripe and Slack make them.

Each is an HMAC-SHA-256 over the body, with a secret that both sides know. Stripe and Slack sign the
time as well, so that nobody can repeat an old request; GitHub does not.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
https://docs.stripe.com/webhooks/signature
https://api.slack.com/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from understudy.edge.native.problems import Problem

#: how far the time in a signature may be from that of this machine
TOLERANCE_S: Final = 300
#: signatures in one header that are looked at
_SIGNATURES_MAX: Final = 8
#: digits of a time
_DIGITS_MAX: Final = 12

Verify = Callable[[Sequence[bytes], Mapping[str, str], bytes, float], None]


def verify_github(
    secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float
) -> None:
    """Check the header ``X-Hub-Signature-256``; see `verify`."""
    del now_s  # GitHub signs no time
    given = _header(headers, "x-hub-signature-256").removeprefix("sha256=")
    _check(secrets, body, [given])


def verify_stripe(
    secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float
) -> None:
    """Check the header ``Stripe-Signature``; see `verify`."""
    parts = [part.partition("=") for part in _header(headers, "stripe-signature").split(",")]
    times = [value.strip() for name, _, value in parts if name.strip() == "t"]
    given = [value.strip() for name, _, value in parts if name.strip() == "v1"]
    time = times[0] if len(times) == 1 else ""
    _check_time(time, now_s)
    _check(secrets, f"{time}.".encode() + body, given)


def verify_slack(
    secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float
) -> None:
    """Check ``X-Slack-Signature`` and ``X-Slack-Request-Timestamp``; see `verify`."""
    time = _header(headers, "x-slack-request-timestamp")
    given = _header(headers, "x-slack-signature").removeprefix("v0=")
    _check_time(time, now_s)
    _check(secrets, f"v0:{time}:".encode() + body, [given])


#: the check of each of `hooks.SCHEMES`
_CHECKS: Final[Mapping[str, Verify]] = {
    "github": verify_github,
    "stripe": verify_stripe,
    "slack": verify_slack,
}


def verify(
    scheme: str,
    secrets: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
) -> None:
    """Check that a request was signed with one of the secrets, and just now.

    Parameters
    ----------
    scheme
        One of `hooks.SCHEMES`.
    secrets
        Several while one replaces another.
    headers
        By names in lower case.
    now_s
        The time of this machine, in seconds since 1970.

    Raises
    ------
    Problem
        401 a header is missing, the time is too far away, or the signature is another one.
    """
    _CHECKS[scheme](secrets, headers, body, now_s)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        _refuse(f"the header {name} is missing: the request is not signed")
    return value.strip()


def _check_time(text: str, now_s: float) -> None:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        _refuse("the signature has no time")
    away_s = abs(int(text) - now_s)
    if away_s > TOLERANCE_S:
        _refuse(
            f"the time in the signature is {away_s:.0f} s away from that of this edge, and "
            f"{TOLERANCE_S} s are allowed: it is an old request, or a clock is wrong"
        )


def _check(secrets: Sequence[bytes], signed: bytes, given: Sequence[str]) -> None:
    candidates = [text.encode() for text in given[:_SIGNATURES_MAX] if text.isascii()]
    is_right = False
    for secret in secrets:
        wanted = hmac.new(secret, signed, "sha256").hexdigest().encode()
        for candidate in candidates:
            # All of them are compared, in a time that says nothing of where they differ.
            is_right = hmac.compare_digest(wanted, candidate) or is_right
    if not is_right:
        _refuse("the signature was not made with the secret of this hook, or of another body")


def _refuse(detail: str) -> NoReturn:
    raise Problem(401, detail)
