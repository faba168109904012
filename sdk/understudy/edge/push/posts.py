"""The requests that an edge pushes. Pure.

The bodies are the messages of the Resonate protocol, so the receivers of its servers understand
them too; the signatures are those of Standard Webhooks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import msgspec

from understudy import signatures
from understudy._version import __version__
from understudy.edge.push.allow_list import PORTS
from understudy.edge.resonate.messages import execute_json, unblock_json
from understudy_broker.protocol.messages import Forward

#: statuses with which a receiver may say how long to leave it alone
BUSY: Final = frozenset({429, 503})
#: digits of a Retry-After that are read
_DIGITS_MAX: Final = 9

_encode = msgspec.json.Encoder().encode


class Post(msgspec.Struct, frozen=True):
    """One request, ready to be sent.

    Attributes
    ----------
    url
        The address without its fragment.
    scheme, host, port
        Where to connect to.
    """

    url: str
    scheme: str
    host: str
    port: int
    headers: dict[str, str]
    body: bytes


def make_post(forward: Forward, keys: Sequence[bytes], server_url: str, now_s: float) -> Post:
    """Return the request for a delivery.

    Parameters
    ----------
    keys
        Those that it is signed with.
    server_url
        The address of an edge, for the receiver.
    """
    if forward.promise is None:
        message = execute_json(forward.id, forward.version, server_url)
    else:
        message = unblock_json(forward.promise)
    body = _encode(message)
    parts = urlsplit(forward.address)
    host = parts.hostname or ""
    return Post(
        url=parts._replace(fragment="", path=parts.path or "/").geturl(),
        scheme=parts.scheme,
        host=host,
        port=PORTS[parts.scheme] if parts.port is None else parts.port,
        headers={
            "content-type": "application/json",
            "user-agent": f"understudy/{__version__}",
            **signatures.sign(keys, message_id(forward), int(now_s), body),
        },
        body=body,
    )


def message_id(forward: Forward) -> str:
    """Return the id of a push: the same whenever the same thing is delivered."""
    kind = "execute" if forward.promise is None else "unblock"
    what = "\0".join((kind, forward.address, forward.id, str(forward.version)))
    return f"msg_{hashlib.sha256(what.encode()).hexdigest()[:32]}"


def flaw_of(status: int) -> str | None:
    """Return what is wrong with the status of an answer; None: the receiver has taken it.

    Examples
    --------
    >>> flaw_of(202), flaw_of(302)
    (None, 'status 302: redirects are not followed')
    """
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"status {status}: redirects are not followed"
    return f"status {status}"


def retry_after_s(status: int, text: str | None, now_s: float) -> float | None:
    """Return how long a receiver wants to be left alone; None if it does not say so.

    Parameters
    ----------
    text
        Its header Retry-After: seconds, or a date.
    now_s
        The time, epoch seconds.

    Examples
    --------
    >>> retry_after_s(503, "120", 0.0), retry_after_s(200, "120", 0.0)
    (120.0, None)
    >>> retry_after_s(429, "Thu, 01 Jan 1970 00:01:00 GMT", 10.0)
    50.0
    """
    if status not in BUSY or text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text) if len(text) <= _DIGITS_MAX else math.inf
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None
