"""The search queue: searches that were performed and wait to be read. Pure, as the core.

A search reads history, which only grows, so it may take seconds. It is no part of a batch: no
commit waits for it. It begins once the batch of its step is committed, so it sees all that its peer
has asked for before. Its reply is a message of its own, which may come after the replies to later
requests.

A change of the pauses (`core.pauses`) is one of them: the store is to keep a text for it.

One search is under way at a time. Peers take turns, so one that asks for many delays the others by
one search each. A peer that does not read what it is sent is passed over until it does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import GroupPause
from understudy_store.commands import (
    CallSearch,
    PromisePurge,
    PromiseSearch,
    ScheduleSearch,
    StatsGet,
    TaskAttempts,
    TaskSearch,
)

#: what the engine, or the store, is asked some time after the commit
Searched: TypeAlias = (
    PromiseSearch
    | TaskSearch
    | TaskAttempts
    | CallSearch
    | ScheduleSearch
    | PromisePurge
    | StatsGet
    | GroupPause
)


class Search(msgspec.Struct, frozen=True, gc=False):
    """A search, as of the request that asks for it.

    Attributes
    ----------
    now
        The time to project to, epoch milliseconds.
    identity
        Who asks, where the broker has keys.
    """

    session: Session
    corr: int
    command: Searched
    now: int
    identity: str | None = None


class SearchQueue:
    """Searches by peer, within the bounds of a configuration.

    Attributes
    ----------
    under_way
        The search that is being read; None: none is.
    """

    def __init__(self, config: BrokerConfig) -> None:
        self._total_max = config.searches_max
        self._peer_max = config.peer_searches_max
        self.under_way: Search | None = None
        #: Those whose turn is next come first.
        self._waiting: dict[bytes, deque[Search]] = {}
        #: unanswered ones, by peer; also those whose batch is not committed
        self._counts: dict[bytes, int] = {}
        self._total = 0

    @property
    def unanswered(self) -> int:
        """The number of searches that are not answered."""
        return self._total

    def admit(self, peer: bytes) -> str | None:
        """Count a search, or return the reason why there is no room for it."""
        count = self._counts.get(peer, 0)
        if count >= self._peer_max:
            return f"{count} searches of this peer wait, and so many may: ask again later"
        if self._total >= self._total_max:
            return f"{self._total} searches wait, and so many may: ask again later"
        self._counts[peer] = count + 1
        self._total += 1
        return None

    def add(self, searches: list[Search]) -> None:
        """Queue admitted searches whose batch is committed."""
        for search in searches:
            self._waiting.setdefault(search.session.peer, deque()).append(search)

    def begin(
        self, is_gone: Callable[[Session], bool], takes_replies: Callable[[bytes], bool]
    ) -> Search | None:
        """Return the search to read now; None: there is none, or one is under way.

        Parameters
        ----------
        is_gone
            Whether nobody waits for the reply any more.
        takes_replies
            Whether a peer reads what it is sent.
        """
        if self.under_way is not None:
            return None
        for peer in list(self._waiting):
            queue = self._waiting[peer]
            while queue and is_gone(queue[0].session):
                self._count_off(queue.popleft())
            if not queue:
                del self._waiting[peer]
            elif takes_replies(peer):
                self.under_way = queue.popleft()
                # To the end of the line.
                del self._waiting[peer]
                if queue:
                    self._waiting[peer] = queue
                return self.under_way
        return None

    def end(self) -> Search:
        """Note that the search that was under way is answered, and return it."""
        search, self.under_way = self.under_way, None
        assert search is not None
        self._count_off(search)
        return search

    def _count_off(self, search: Search) -> None:
        peer = search.session.peer
        self._total -= 1
        self._counts[peer] -= 1
        if not self._counts[peer]:
            del self._counts[peer]
