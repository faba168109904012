"""Strays: members of call graphs whose roots are at other brokers, or were. Pure.

A call graph goes as a whole, but nothing spans two slots in one transaction. So each broker deletes
what is in its own slots, and the members follow their root: before a broker deletes settled members
of a root that it does not have, it asks the owner of that root, by a `PromiseGet` between slots. It
deletes them if the root was purged, or only its payloads were (`retention.is_root_gone`). So
nothing goes whose root is pending, or kept by a rule that only its own broker knows. Nor does
anything while a member of the same graph at this broker is pending.

It asks only when there is a reason: about members that are older than the shortest time of the
rules, every `WHOLE_MS`, and some time after a purge by hand. If there is no answer in time, the
members stay, and a later pass asks again.

One imperfection: a member that is pending at a third broker is not seen. If it is replayed, it may
hear that a call of its own was purged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from understudy_broker.protocol.messages import Refused, Response, SlotCommand
from understudy_store.commands import PromiseGet
from understudy_store.records import EndedGraph, RetentionRules
from understudy_store.retention import is_root_gone, strays_before

#: between two passes
WHOLE_MS: Final = 6 * 3_600_000
#: from a purge by hand to the pass, so that the other brokers have done their parts of it
AFTER_PURGE_MS: Final = 60_000
#: roots about which no answer has come yet, at most
UNANSWERED_MAX: Final = 256


class Strays:
    """The strays that were found, and the answers of the brokers of their roots.

    Parameters
    ----------
    ask
        Sends requests to the owners of slots; the answers come to `told`.

    Attributes
    ----------
    before
        Strays are looked for that have settled before, epoch milliseconds; None: none are.
    is_waiting
        Answers are awaited.
    cursor
        Of the look from which the strays are.
    """

    def __init__(self, rules: RetentionRules, ask: Callable[[list[SlotCommand]], None]) -> None:
        self._rules = rules
        self._ask = ask
        #: when the next pass is due
        self._at = 0
        self._purged_before: int | None = None
        self._unanswered: set[str] = set()
        self._asked: dict[str, EndedGraph] = {}
        self._gone: list[EndedGraph] = []
        self.before: int | None = None
        self.is_waiting = False
        self.cursor: str | None = None

    def may_look(self, cursor: str | None, now: int) -> bool:
        """Return whether to look now; without a cursor, a pass begins."""
        if len(self._unanswered) >= UNANSWERED_MAX:
            return False
        if cursor is None:
            if now < self._at:
                return False
            self.before = strays_before(self._rules, self._purged_before, now)
            self._purged_before, self._at = None, now + WHOLE_MS
        return self.before is not None

    def purged(self, before: int, now: int) -> None:
        """Note a purge by hand, at all brokers, of everything that had ended before a time."""
        self._purged_before = max(before, self._purged_before or 0)
        self._at = min(self._at, now + AFTER_PURGE_MS)

    def ask_about(self, graphs: list[EndedGraph], cursor: str | None) -> bool:
        """Ask about the roots of what was found; return whether answers are awaited."""
        self._asked = {each.id: each for each in graphs if each.kept is None}
        self._gone, self.cursor = [], cursor
        new = [id_ for id_ in self._asked if id_ not in self._unanswered]
        self._unanswered.update(new)
        self._ask([PromiseGet(id_) for id_ in new])
        self.is_waiting = bool(self._asked)
        return self.is_waiting

    def told(self, root: str, answer: Response | Refused, now: int) -> bool:
        """Take an answer; return whether it was the last one."""
        self._unanswered.discard(root)
        strays = self._asked.pop(root, None)
        if strays is None:
            return False
        if isinstance(answer, Response) and is_root_gone(answer.reply, strays, self._rules, now):
            self._gone.append(strays)
        return not self._asked

    def take(self) -> list[EndedGraph]:
        """Return the strays that may be deleted; those without an answer stay."""
        gone, self._gone, self._asked = self._gone, [], {}
        self.is_waiting = False
        return gone
