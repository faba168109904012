"""Checks of a command before anything is looked up: statuses 400 and 413.

A check returns nothing, or the value that it parsed, and raises `Refusal`. All checks of a command
come before its first effect, so a refused command has changed nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final
from unicodedata import category

from understudy_store import addresses
from understudy_store.calls import call_place
from understudy_store.commands import Reply
from understudy_store.limits import DURATION_MS_MAX, Limits
from understudy_store.machine.transitions import SETTLE_EVENTS, PromiseEvent
from understudy_store.records import (
    ERROR_CHARS_MAX,
    NEVER_PURGED,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_PRIORITY,
    TAG_RETENTION,
    TAG_TARGET,
    TAG_TIMER,
    TRUE,
    PromiseRecord,
    Value,
)

#: Times and durations fit a signed 64-bit column, even when a duration is added to a time.
TIME_MS_MAX: Final = 2**62
PRIORITY_MAX: Final = 100

#: Unicode's categories of control characters, of characters that are not seen or change the
#: direction of a text, of surrogates, and of separators of lines and paragraphs
_NOT_IN_ID: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NOT_IN_TEXT = re.compile("[\x00\ud800-\udfff]")
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")


class Refusal(Exception):
    """A command that is not carried out; becomes its reply."""

    def __init__(self, status: int, error: str, promise: PromiseRecord | None = None) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error
        self.promise = promise

    def reply(self) -> Reply:
        """Return the reply to the refused command."""
        return Reply(self.status, self.error, self.promise)


def check_id(limits: Limits, text: str, what: str) -> None:
    """Accept 1 to `id_chars_max` characters, none of them a control character.

    One that is not seen counts as one: two ids that look the same are the same.
    """
    if 0 < len(text) <= limits.id_chars_max and text.isprintable():
        return
    if not text:
        raise Refusal(400, f"{what} is empty")
    if len(text) > limits.id_chars_max:
        raise Refusal(
            400, f"{what} has {len(text)} characters; at most {limits.id_chars_max} are allowed"
        )
    if not _NOT_IN_ID.isdisjoint(map(category, text)):
        raise Refusal(400, f"{what} {text!r} contains a control character, or one that is not seen")


def check_time(at: int, what: str) -> None:
    """Accept epoch milliseconds that can be stored."""
    if not 0 <= at <= TIME_MS_MAX:
        raise Refusal(400, f"{what} {at} is not a time in epoch milliseconds")


def check_duration(duration: int, what: str, least: int) -> None:
    """Accept milliseconds from `least` to `DURATION_MS_MAX`."""
    if not least <= duration <= DURATION_MS_MAX:
        raise Refusal(
            400, f"{what} {duration} is not a duration of {least} to {DURATION_MS_MAX} ms"
        )


def check_texts(limits: Limits, texts: Mapping[str, str], what: str, key: int, text: int) -> None:
    """Check the number of entries, the length of keys and texts, and that they are text.

    `key` and `text` are the most characters that a key and a text may have.
    """
    entries_max = limits.tags_max
    if len(texts) > entries_max:
        raise Refusal(400, f"{len(texts)} {what}s; at most {entries_max} are allowed")
    # If all of it together is short and printable, so is each part.
    together = "".join(texts) + "".join(texts.values())
    if len(together) <= key and len(together) <= text and together.isprintable():
        return
    if len(together) > limits.texts_chars_max:
        raise Refusal(
            400,
            f"the {what}s have {len(together):,} characters; all together may have "
            f"{limits.texts_chars_max:,}",
        )
    for k, v in texts.items():
        if len(k) > key or len(v) > text:
            raise Refusal(
                400, f"{what} {k[:80]!r} is too long; a text has at most {text} characters"
            )
        if not (k.isprintable() and v.isprintable()) and (
            _NOT_IN_TEXT.search(k) or _NOT_IN_TEXT.search(v)
        ):
            raise Refusal(400, f"{what} {k[:80]!r} contains a character that is not text")


def check_headers(limits: Limits, headers: Mapping[str, str], what: str) -> None:
    """Check the number and the length of the headers of a param or a value."""
    if headers:
        check_texts(
            limits,
            headers,
            f"{what} header",
            limits.tag_chars_max,
            limits.header_chars_max,
        )


def check_data(limits: Limits, data: bytes | None, what: str) -> None:
    """Check the size of a param or a value; its content is opaque."""
    if data is not None and len(data) > limits.payload_bytes_max:
        raise Refusal(
            413, f"{what} has {len(data)} bytes; at most {limits.payload_bytes_max} are allowed"
        )


def check_value(limits: Limits, value: Value, what: str) -> None:
    """Check headers and size of a value."""
    check_headers(limits, value.headers, what)
    check_data(limits, value.data, what)


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """Return `addresses.canonical`, cached: there are few addresses and many calls."""
    return addresses.canonical(text)


def check_address(text: str) -> str:
    """Return the canonical form of an address."""
    try:
        return canonical(text)
    except addresses.InvalidAddressError as error:
        raise Refusal(400, str(error)) from None


def _check_target(_tag: str, text: str) -> None:
    check_address(text)


def _check_flag(tag: str, text: str) -> None:
    if text not in ("true", "false"):
        raise Refusal(400, f"tag {tag} is 'true' or 'false', not {text!r}")


def _check_delay(tag: str, text: str) -> None:
    if not _INTEGER.match(text) or int(text) < 0:
        raise Refusal(400, f"tag {tag} is a time in epoch milliseconds, not {text!r}")


def _check_priority(tag: str, text: str) -> None:
    if not _INTEGER.match(text) or abs(int(text)) > PRIORITY_MAX:
        raise Refusal(
            400, f"tag {tag} is an integer from -{PRIORITY_MAX} to {PRIORITY_MAX}, not {text!r}"
        )


def _check_retention(tag: str, text: str) -> None:
    if text != NEVER_PURGED and (not _INTEGER.match(text) or int(text) < 0):
        raise Refusal(400, f"tag {tag} is a number of milliseconds, or never; not {text!r}")


def _check_reference(tag: str, text: str) -> None:
    if not text:
        raise Refusal(400, f"tag {tag} is empty; it is the id of a promise")


#: tags with a meaning, and the checks of their texts
_CHECKS: Final[Mapping[str, Callable[[str, str], None]]] = {
    TAG_TARGET: _check_target,
    TAG_TIMER: _check_flag,
    TAG_EXTERNAL: _check_flag,
    TAG_DELAY: _check_delay,
    TAG_PRIORITY: _check_priority,
    TAG_RETENTION: _check_retention,
    TAG_ORIGIN: _check_reference,
    TAG_BRANCH: _check_reference,
    TAG_PARENT: _check_reference,
}


def check_tags(limits: Limits, tags: Mapping[str, str]) -> None:
    """Check the number and the length of tags, and the form of those that have a meaning."""
    check_texts(limits, tags, "tag", limits.tag_chars_max, limits.tag_chars_max)
    for tag, text in tags.items():
        check = _CHECKS.get(tag)
        if check is not None:
            check(tag, text)
    if TAG_TARGET in tags and tags.get(TAG_TIMER) == TRUE:
        raise Refusal(400, "a timer resolves by itself, so it cannot have a target")


class Accepted:
    """The tags and headers that passed last: all calls of a fan-out have the same ones."""

    __slots__ = ("headers", "tags")

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.headers: dict[str, str] = {}


def check_promise(
    limits: Limits,
    promise_id: str,
    timeout_at: int,
    param: Value,
    tags: dict[str, str],
    accepted: Accepted,
) -> None:
    """Check all parts of a new promise; tags and headers that equal `accepted` have passed already.

    Afterwards `accepted` holds the tags and the headers.
    """
    check_id(limits, promise_id, "promise id")
    check_time(timeout_at, "timeout_at")
    if param.headers != accepted.headers:
        check_headers(limits, param.headers, "param")
        accepted.headers = param.headers
    check_data(limits, param.data, "param")
    if tags != accepted.tags:
        check_tags(limits, tags)
        accepted.tags = tags


def check_settle(limits: Limits, state: str, value: Value) -> PromiseEvent:
    """Check the state and the value that a client settles with; return the event."""
    event = SETTLE_EVENTS.get(state)
    if event is None:
        raise Refusal(400, f"a promise is settled {', '.join(SETTLE_EVENTS)}; not {state!r}")
    check_value(limits, value, "value")
    return event


def check_holder(limits: Limits, pid: str, ttl: int) -> None:
    """Check the holder of a task, and the length of its lease in milliseconds."""
    check_id(limits, pid, "pid")
    check_duration(ttl, "ttl", 1)


def check_cause(limits: Limits, cause: str, what: str = "cause") -> None:
    """Check the cause with which a task is halted, or another text for people."""
    most = limits.header_chars_max
    if len(cause) > most:
        raise Refusal(400, f"{what} has {len(cause)} characters; at most {most} are allowed")
    if _NOT_IN_TEXT.search(cause):
        raise Refusal(400, f"{what} contains a character that is not text")


def check_error(error: str) -> None:
    """Check the class of an exception with which a task is released."""
    if len(error) > ERROR_CHARS_MAX:
        raise Refusal(
            400, f"error has {len(error)} characters; at most {ERROR_CHARS_MAX} are allowed"
        )
    if _NOT_IN_TEXT.search(error):
        raise Refusal(400, "error contains a character that is not text")


def check_call_cursor(cursor: str) -> None:
    """Check that a search of calls has given this cursor."""
    if call_place(cursor) is None:
        raise Refusal(400, "the cursor is none that a search of calls has given")


def check_page(limits: Limits, limit: int) -> None:
    """Check the size of a page. This is the one bound of all searches."""
    if not 1 <= limit <= limits.page_max:
        raise Refusal(400, f"limit {limit} is not between 1 and {limits.page_max}")


def check_state(state: str | None, allowed: tuple[str, ...]) -> None:
    """Check the state that a search is for."""
    if state is not None and state not in allowed:
        raise Refusal(400, f"state {state!r} is none of {', '.join(allowed)}")


def check_batch(limits: Limits, count: int, what: str) -> None:
    """Check the number of items that one command carries."""
    if count > limits.batch_max:
        raise Refusal(400, f"{count} {what} at once; at most {limits.batch_max} are allowed")
