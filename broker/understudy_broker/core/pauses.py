"""Pauses of groups and of their functions, which last until somebody ends them. Pure.

The broker keeps all of them as one text in its store (`Store.keep_fact`), and reads it when it
starts. A change is written first, and takes effect once it is durable. Brokers that share a
database share the text, too: each is asked for the same change, so it does not matter whose is the
last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from understudy_broker.core.dispatcher import ALL, Dispatcher
from understudy_broker.protocol.messages import GroupPause, PauseInfo
from understudy_store.addresses import InvalidAddressError, check_name
from understudy_store.commands import Reply
from understudy_store.errors import StoreFormatError

#: the key of the text in the store
PAUSES: Final = "pauses"
#: pauses that there may be
PAUSES_MAX: Final = 1_000
#: characters of a reason
REASON_CHARS_MAX: Final = 200
#: characters of the name of a function
_FUNCTION_CHARS_MAX: Final = 256

_decoder: Final = msgspec.json.Decoder(dict[str, dict[str, PauseInfo]])


class Fact(NamedTuple):
    """A text that the shell is to keep in the store."""

    key: str
    text: str


class Pauses:
    """The pauses, by group and function."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._by_group: dict[str, dict[str, PauseInfo]] = {}
        #: what is being kept, and the group that it changes
        self._next: tuple[dict[str, dict[str, PauseInfo]], str] | None = None

    def restore(self, text: str | None) -> None:
        """Take over the pauses that the store has; called once, before all else.

        Raises
        ------
        StoreFormatError
            The text is damaged.
        """
        try:
            self._by_group = _decoder.decode(text) if text else {}
        except msgspec.MsgspecError as error:
            raise StoreFormatError(f"the pauses in the store cannot be read: {error}") from error
        for group in self._by_group:
            self._tell(group)

    def groups(self) -> Iterator[str]:
        """Yield the groups of which something is paused."""
        yield from self._by_group

    def of(self, group: str) -> tuple[PauseInfo, ...]:
        """Return the pauses of a group, by function."""
        found = self._by_group.get(group)
        return () if found is None else tuple(found[name] for name in sorted(found))

    def check(self, command: GroupPause) -> Reply:
        """Return whether a command can be done."""
        text = _flaw(command)
        if text is not None:
            return Reply(400, text)
        if command.paused and sum(map(len, self._by_group.values())) >= PAUSES_MAX:
            return Reply(429, f"{PAUSES_MAX} pauses, and so many may be: end one of them first")
        return Reply(200)

    def begin(self, command: GroupPause, by: str | None, now: int) -> Fact:
        """Return what is to be kept. Until `end`, no other change may begin."""
        group, function = command.group, command.function
        before = self._by_group.get(group, {})
        changed = {name: pause for name, pause in before.items() if name != function}
        if command.paused:
            since = before[function].since if function in before else now
            changed[function] = PauseInfo(function, since, command.reason, by or "")
        after = {name: pauses for name, pauses in self._by_group.items() if name != group}
        if changed:
            after[group] = changed
        self._next = after, group
        return Fact(PAUSES, msgspec.json.encode(after).decode())

    def end(self, reply: Reply) -> None:
        """Take the store's answer to what was kept: the change counts if it is durable."""
        assert self._next is not None
        after, group = self._next
        self._next = None
        if reply.ok:
            self._by_group = after
            self._tell(group)

    def _tell(self, group: str) -> None:
        self._dispatcher.set_paused(group, frozenset(self._by_group.get(group, ())))


def _flaw(command: GroupPause) -> str | None:
    """Return why a command cannot be done, in words."""
    try:
        check_name(command.group, "group")
    except InvalidAddressError as error:
        return str(error)
    if len(command.function) > _FUNCTION_CHARS_MAX:
        return f"the name of a function has at most {_FUNCTION_CHARS_MAX} characters"
    if len(command.reason) > REASON_CHARS_MAX:
        return f"a reason has at most {REASON_CHARS_MAX} characters"
    return None


assert ALL == "", "in a command and in the text, an empty name stands for the whole group"
