"""Webhooks: what each of them becomes, a call or the settlement of a promise.

A sender repeats a request until it is answered, and a stranger who has seen one may repeat it too.
So its id follows from what is signed: from the event's own id if the body has one, else from the
body. The same event is then the same call, however often it comes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from understudy.edge.hooks import Hook
from understudy.edge.native import bodies
from understudy.edge.native.problems import Problem

#: where the event's own id is in a body that is signed
_EVENT_IDS: Final = {"stripe": "id", "slack": "event_id"}
#: headers that are passed on begin so
_HEADERS: Final = ("x-github-", "x-slack-", "stripe-", "content-type", "user-agent")
#: hexadecimal digits of the digest of a body in an id
_DIGEST_CHARS: Final = 40
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_FIELDS_MAX: Final = 1_000


# Requests ----------------------------------------------------------------------------------------


def payload_of(body: bytes, media_type: str | None) -> Any:
    """Return the body of a signed request: JSON, or the fields of a form; raises `Problem`."""
    kind = (media_type or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return bodies.parse(body, media_type)
    try:
        fields = dict(
            parse_qsl(
                body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX
            )
        )
    except ValueError:
        raise Problem(400, "the body is no form in UTF-8") from None
    # GitHub, and the buttons of Slack, send their JSON as one field.
    inner = fields.get("payload")
    if inner is not None and len(fields) == 1:
        return bodies.parse(inner.encode(), "application/json")
    return fields


def event_id(hook: Hook, payload: Any, body: bytes) -> str:
    """Return the id of an event; the same event has the same one, whoever sends it again."""
    own = payload.get(_EVENT_IDS.get(hook.scheme)) if isinstance(payload, dict) else None
    if isinstance(own, str) and 0 < len(own) <= 200:
        return f"hooks/{hook.name}/{own}"
    return f"hooks/{hook.name}/{hashlib.sha256(body).hexdigest()[:_DIGEST_CHARS]}"


def challenge_of(hook: Hook, payload: Any) -> str | None:
    """Return the text with which Slack asks whether this is its hook; None if it does not ask."""
    if hook.scheme != "slack" or not isinstance(payload, dict):
        return None
    challenge = payload.get("challenge")
    is_asked = payload.get("type") == "url_verification" and isinstance(challenge, str)
    return challenge if is_asked else None


def promise_id(hook: Hook, payload: Any) -> str:
    """Return the id of the promise that an event resolves.

    Raises
    ------
    Problem
        422 the body has not what the id is made of.
    """

    def text_at(match: re.Match[str]) -> str:
        value = payload
        for step in match[1].split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise Problem(
                422,
                f"the body has no text or integer at {match[1]}, of which the id of the promise is "
                "made",
                field="/" + match[1].replace(".", "/"),
            )
        return str(value)

    return _FIELD.sub(text_at, hook.promise)


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a function gets: those of the sender, without signatures."""
    return {
        name: value
        for name, value in headers.items()
        if name.startswith(_HEADERS) and "signature" not in name
    }
