"""The requests that an edge pushes. Pure.

The bodies are the messages of the Resonate protocol, so the receivers of its servers understand
them too; the signatures are those of Standard Webhooks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from understudy import signatures
from understudy._version import __version__
from understudy.edge.push.allow_list import PORTS
from understudy.edge.resonate.messages import execute_json, unblock_json
from understudy_broker.protocol.messages import Forward

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
