"""What the engines share in answering reads: bounds of a page, and what is malformed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, get_args

from understudy_store.commands import PromiseSearch, ReadCommand, Reply, TaskPreload, TaskSearch
from understudy_store.records import PromiseState, TaskState

T = TypeVar("T")

_STATES: dict[type, tuple[str, ...]] = {
    PromiseSearch: get_args(PromiseState),
    TaskSearch: get_args(TaskState),
}


class Reading(Generic[T]):
    """Reads when it is asked, and anew each time: nothing of it is kept in memory."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Iterator[T]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[T]:
        return self._read()


def refusal(command: ReadCommand) -> Reply | None:
    """The 400 that a malformed search deserves, or None."""
    if isinstance(command, TaskPreload):
        return None
    if command.limit < 1:
        return Reply(400, error=f"limit {command.limit} is not valid: a page has at least 1 record")
    if isinstance(command, PromiseSearch | TaskSearch) and command.state is not None:
        states = _STATES[type(command)]
        if command.state not in states:
            return Reply(
                400, error=f"state {command.state!r} is not valid: use one of {', '.join(states)}"
            )
    return None


def prefix_end(prefix: str) -> str | None:
    """The least text above every text that begins with `prefix`; None: there is no such bound."""
    while prefix:
        head, last = prefix[:-1], ord(prefix[-1])
        if last < sys.maxunicode:
            # UTF-8 has no surrogates: the next character after U+D7FF is U+E000.
            return head + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = head
    return None


def page(found: Sequence[T], limit: int, key: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Cut `found`, which is one longer than `limit` if more follows; also the next cursor."""
    items = list(found[:limit])
    return items, key(items[-1]) if len(found) > limit else None
