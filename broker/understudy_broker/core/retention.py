"""Retention, as the broker's core does it: it looks for what is due, and deletes it. Pure.

A *pass* goes over what has ended, from the oldest on, in slices. For each it asks the store, as
peers ask for searches, but only when no peer does; what is found is deleted by the machine in the
next step, and so becomes a part of a batch. Between two slices it pauses for `PAUSE_TIMES` as long
as the last one took, so it is at work for a fifth of the time at most. The kinds of passes
(`RetentionRead`) take turns. A pass begins where the last one of its kind has ended; each
`WHOLE_MS` it begins from the start, for what had to stay.

A bound adds a kind of pass: while the store exceeds it, the oldest graphs go. Several brokers add
one about *strays*, the members of call graphs whose roots are or were at another broker: see
`strays`.

The first look of a pass sees all commits. Later ones see the table as it is, so that they do not
hurry the follower: what is due has ended long ago, and no pass meets a root twice. A purge that a
peer asks for ends the pass, because it may free ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from understudy_broker.core.between_slots import BetweenSlots
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.own_slots import OwnSlots
from understudy_broker.core.search_queue import Search
from understudy_broker.core.strays import Strays
from understudy_broker.protocol.messages import Refused, Response, SlotCommand
from understudy_store.commands import EXCESS_COUNT, PromisePurge, ReadCommand, Reply, RetentionRead
from understudy_store.engines.base import Read
from understudy_store.machine import Machine
from understudy_store.records import EndedGraph, PurgedRecord, RetentionRules

KINDS: Final = ("values", "graphs", "kept", "gone")
STRAYS: Final = "strays"
EXCESS: Final = "excess"
#: for the answers of other brokers
ANSWERS_MS: Final = 10_000
#: between the last pass and the next one
IDLE_MS: Final = 60_000
#: after the start of the broker
FIRST_MS: Final = 30_000
WHOLE_MS: Final = 6 * 3_600_000
PAUSE_TIMES: Final = 4
PAUSE_MIN_MS: Final = 10


class _Found(NamedTuple):
    """The graphs to be deleted in the next step; for a peer, or by the rules."""

    kind: str
    graphs: list[EndedGraph]
    search: Search | None = None
    cursor: str | None = None


def _unasked(_: list[SlotCommand]) -> None:
    """Ask nobody: there are no other brokers."""


class Retention:
    """The purges of a broker.

    Attributes
    ----------
    purged, purged_graphs
        Promises, and call graphs, that were deleted since the start, for metrics; tombstones count
        as neither.
    purged_at
        When anything was deleted last, epoch milliseconds; 0: nothing was.
    """

    def __init__(
        self,
        config: BrokerConfig,
        machine: Machine,
        outbox: Outbox,
        own: OwnSlots,
        note_input: Callable[[], None],
        between: BetweenSlots | None = None,
    ) -> None:
        self._kinds: tuple[str, ...] = KINDS
        if config.retention.max_rows is not None or config.retention.max_bytes is not None:
            self._kinds = (*KINDS, EXCESS)
        self._strays = Strays(config.retention, _unasked if between is None else between.release)
        if between is not None:
            self._kinds = (*self._kinds, STRAYS)
            between.on_root = self.told
        self._rules: RetentionRules = config.retention
        self._audit = config.audit
        self._archives = config.archive is not None
        self._machine = machine
        self._outbox = outbox
        self._own = own
        self._note_input = note_input
        self._found: deque[_Found] = deque()
        self._now = 0
        self._begun_at = 0
        #: when the next look is due; None: at no time
        self._at: int | None = None
        self._is_reading = False
        #: kind of this pass, where it goes on, and whether it has looked yet
        self._kind = 0
        self._cursors: dict[str, str | None] = dict.fromkeys(self._kinds)
        self._whole_at = 0
        self._is_fresh = True
        #: promises that are still to go in this pass because of a bound
        self._excess: int | None = None
        self.purged = self.purged_graphs = self.purged_at = 0

    def start(self, now: int) -> None:
        """Begin; nothing is looked for at once."""
        self._now = now
        self._whole_at = now + WHOLE_MS
        if self._rules != RetentionRules():
            self._at = now + FIRST_MS

    def due_at(self) -> int | None:
        """Return when a step is needed; None: a step of itself needs none."""
        return None if self._is_reading else self._at

    # Looking -------------------------------------------------------------------------------------

    def take(self) -> Read | None:
        """Return the look to make now; None: none is due."""
        if self._at is None or self._is_reading or self._found or self._now < self._at:
            return None
        kind = self._kinds[self._kind]
        if kind == STRAYS:
            if self._strays.is_waiting:
                self._found_strays()
                return None
            if not self._strays.may_look(self._cursors[kind], self._now):
                self._end_pass(None)
                return None
        command = RetentionRead(
            kind,
            self._rules,
            self._cursors[kind],
            with_rows=self._archives and kind != "gone",
            fresh=self._is_fresh or kind == EXCESS,
            before=self._strays.before if kind == STRAYS else None,
            excess=self._excess,
        )
        self._is_reading, self._is_fresh, self._begun_at = True, False, self._now
        return Read(command, self._now)

    def answered(self, reply: Reply) -> None:
        """Take the answer to the look that `take` has returned."""
        self._is_reading = False
        if not reply.ok or reply.ended is None:
            self._end_pass(None)
            return
        kind = self._kinds[self._kind]
        self._excess = None if reply.counts is None else reply.counts.get(EXCESS_COUNT)
        if kind == STRAYS and self._strays.ask_about(reply.ended, reply.cursor):
            self._at = self._now + ANSWERS_MS
            self._note_input()  # Requests leave with the next step.
            return
        self._found.append(_Found(kind, reply.ended, None, reply.cursor))
        self._note_input()

    def told(self, root: str, answer: Response | Refused) -> None:
        """Take what the broker of a root has said of it."""
        if self._strays.told(root, answer, self._now):
            self._found_strays()

    def _found_strays(self) -> None:
        self._found.append(_Found(STRAYS, self._strays.take(), None, self._strays.cursor))
        self._note_input()

    def asked(self, command: ReadCommand) -> ReadCommand:
        """Return the look for what a peer asks for: with rows, if there is an archive."""
        if isinstance(command, PromisePurge) and self._archives and not command.dry_run:
            return msgspec.structs.replace(command, with_rows=True)
        return command

    def searched(self, search: Search, reply: Reply) -> Reply | None:
        """Take the answer to the look for a peer's purge; return what to tell the peer at once."""
        command = search.command
        assert isinstance(command, PromisePurge)
        if not reply.ok or reply.ended is None:
            return reply
        if command.dry_run:
            records = [
                PurgedRecord(
                    each.id,
                    each.settled_at,
                    0 if each.kept else len(each.members) + each.is_whole,
                    each.kept,
                )
                for each in reply.ended
            ]
            return Reply(200, purged=records, cursor=reply.cursor)
        self._found.append(_Found("graphs", reply.ended, search, reply.cursor))
        self._note_input()
        return None

    # Deleting ------------------------------------------------------------------------------------

    def perform(self, now: int) -> None:
        """Delete what was found, in the step that is under way."""
        self._now = now
        while self._found:
            kind, graphs, search, cursor = self._found.popleft()
            if self._own.map is not None:
                graphs = [self._here(kind, graph) for graph in graphs]
            done = self._machine.purge(kind, graphs, self._rules, now)
            count = sum(each.promises for each in done)
            if count and kind != "gone":
                self.purged += count
                self.purged_graphs += sum(not each.kept for each in done)
                self.purged_at = now
            if search is None:
                self._go_on(cursor, count)
            else:
                self._end_pass(self._cursors[self._kinds[self._kind]])
                self._on_purged(search)
                reply = Reply(200, purged=done, cursor=cursor)
                if self._audit is not None:
                    self._audit.ended(search.session, search.identity, search.command, reply, now)
                self._outbox.reply(search.session.peer, Response(search.corr, reply))

    def _here(self, kind: str, graph: EndedGraph) -> EndedGraph:
        """Return a graph, kept if a part of it is another broker's by now."""
        ids = [id_ for id_, _ in graph.members]
        if kind != STRAYS:
            ids.append(graph.id)
        if all(map(self._own.has_id, ids)):
            return graph
        return msgspec.structs.replace(graph, kept="its slot has moved", members=[])

    def _on_purged(self, search: Search) -> None:
        command = search.command
        if STRAYS in self._kinds and isinstance(command, PromisePurge):
            self._strays.purged(command.before, self._now)
            if self._at is None:
                self._at = self._now + IDLE_MS

    def _go_on(self, cursor: str | None, count: int) -> None:
        kind = self._kinds[self._kind]
        if cursor is None or (cursor == self._cursors[kind] and not count):
            self._end_pass(None if kind in (STRAYS, EXCESS) else self._cursors[kind])
            return
        self._cursors[kind] = cursor
        if self._excess is not None:
            self._excess = max(0, self._excess - count)
        took = self._now - self._begun_at
        self._at = self._now + max(PAUSE_MIN_MS, PAUSE_TIMES * took)

    def _end_pass(self, cursor: str | None) -> None:
        """Go on with the next kind; after the last one, in a while."""
        if self._at is None:
            return
        self._strays.take()  # Answers that come later are of no use.
        self._cursors[self._kinds[self._kind]] = cursor
        self._kind = (self._kind + 1) % len(self._kinds)
        self._is_fresh, self._excess = True, None
        self._at = self._now + (PAUSE_MIN_MS if self._kind else IDLE_MS)
        if not self._kind and self._now >= self._whole_at:
            self._whole_at = self._now + WHOLE_MS
            self._cursors = dict.fromkeys(self._kinds)
