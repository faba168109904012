"""Searches, as the shell makes them for the broker's core, and their replies. Pure.

A shell takes one with `take` after each step and each commit, reads (or keeps a fact) beside
everything else, and gives the reply to `answered`; see `search_queue` for when a search begins. A
reply tells only of what was committed before, so it waits for no commit: it leaves with the next
step.
"""

from __future__ import annotations

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.flow_control import FlowControl
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.pauses import Fact, Pauses
from understudy_broker.core.retention import Retention
from understudy_broker.core.search_queue import Search, SearchQueue
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.messages import GroupPause, Response
from understudy_store.commands import PromisePurge, Reply
from understudy_store.engines.base import Read
from understudy_store.machine import Machine


class Searches:
    """The searches that are ready, one at a time."""

    def __init__(
        self,
        config: BrokerConfig,
        machine: Machine,
        dispatcher: Dispatcher,
        sessions: Sessions,
        flow: FlowControl,
        outbox: Outbox,
        metrics: Metrics,
        retention: Retention,
    ) -> None:
        #: those that wait
        self.queue = queue = SearchQueue(config)
        metrics.add_source(lambda: {"searches": queue.unanswered})
        self._sessions = sessions
        self._flow = flow
        self._outbox = outbox
        #: the purges
        self.retention = retention
        #: the pauses of groups
        self.pauses = Pauses(dispatcher)
        self._machine = machine
        self._audit = config.audit
        #: a look of the broker itself is under way
        self._is_own = False

    def ask(self, search: Search) -> None:
        """Take a search, or refuse it; the answer comes some time after the commit."""
        peer, command = search.session.peer, search.command
        if isinstance(command, GroupPause):
            reply = self.pauses.check(command)
        else:
            reply = self._machine.apply(command, search.now)
        if reply.ok:
            refusal = self.queue.admit(peer)
            if refusal is None:
                if self._audit is not None:
                    self._audit.postpone()
                self._outbox.add_search(search)
                return
            reply = Reply(429, refusal)
        self._outbox.reply(peer, Response(search.corr, reply))

    def take(self) -> Read | Fact | None:
        """Return the search to make now, or what to keep; None: there is none, or one is under way.

        It is to see at least all that was committed before this call. Not to be called while the
        core is held.
        """
        if self._is_own:
            return None
        search = self.queue.begin(self._is_gone, self._flow.takes_replies)
        if search is not None:
            if isinstance(search.command, GroupPause):
                return self.pauses.begin(search.command, search.identity, search.now)
            return Read(self.retention.asked(search.command), search.now)
        if self.queue.under_way is not None:
            return None
        read = self.retention.take()
        self._is_own = read is not None
        return read

    def answered(self, reply: Reply) -> None:
        """Take the reply to the search that `take` has returned."""
        if self._is_own:
            self._is_own = False
            self.retention.answered(reply)
            return
        search = self.queue.end()
        if isinstance(search.command, PromisePurge):
            at_once = self.retention.searched(search, reply)
            if at_once is None:
                return
            reply = at_once
        elif isinstance(search.command, GroupPause):
            self.pauses.end(reply)
        if self._audit is not None:
            self._audit.ended(search.session, search.identity, search.command, reply, search.now)
        session = search.session
        if not self._is_gone(session):
            self._flow.on_searched(session, reply)
            self._outbox.add_urgent(session.peer, Response(search.corr, reply))

    def _is_gone(self, session: Session) -> bool:
        return self._sessions.by_peer.get(session.peer) is not session
