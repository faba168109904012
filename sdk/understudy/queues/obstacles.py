"""The words of a log for a queue that is away, is missing, or refuses its user. Pure.

The libraries have no common classes for that, and some have none, so it is told by their words.
"""

from __future__ import annotations

from typing import Final

from understudy.printable import printable_line

_REFUSED: Final = (
    "ACCESS_REFUSED",
    "ProbableAuthenticationError",
    "ProbableAccessDeniedError",
    "Authorization Violation",
    "Authentication Expired",
    "Permissions Violation",
    "AuthenticationError",
    "AuthorizationError",
    "WRONGPASS",
    "NOAUTH",
    "NOPERM",
    "SASL authentication",
    "Authentication failed",
    "authorization failed",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
    "AccessDenied",
    "Unable to locate credentials",
)
_MISSING: Final = (
    "does not exist",
    "stream not found",
    "no stream matches",
    "NOT_FOUND - no ",
    "NOT_ALLOWED - vhost",
    "Unknown topic",
    "NonExistentQueue",
    "QueueDoesNotExist",
    "DB index is out of range",
)


def trouble(place: str, reason: str) -> str:
    """Return the line of a log about a queue or server that cannot be used now.

    Parameters
    ----------
    place
        The queue, or the server, without a secret.
    reason
        What its library has said.

    Examples
    --------
    >>> print(trouble("redis stream a at mq:6379", "ConnectionError: refused"))
    redis stream a at mq:6379 is away: ConnectionError: refused. Trying again
    >>> print(trouble("stream a at mq:4222", "stream not found"))
    stream a at mq:4222 is missing: stream not found. Make it, or correct its name. Trying again
    """
    said = printable_line(reason).removesuffix(".")
    if any(words in reason for words in _REFUSED):
        return (
            f"{place} refuses this user: {said}. Check user and password, and what that user may "
            "do there. Trying again"
        )
    if any(words in reason for words in _MISSING):
        return f"{place} is missing: {said}. Make it, or correct its name. Trying again"
    return f"{place} is away: {said}. Trying again"
