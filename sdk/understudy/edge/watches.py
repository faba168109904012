"""The promises that requests of an edge wait for. Each is watched at its broker once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from understudy.edge.asker import ASKER
from understudy_broker.errors import LinkFullError
from understudy_broker.link.session import Answer, OnReply
from understudy_broker.protocol.messages import OwnCommand, PromiseUnwatch, PromiseWatch, Response
from understudy_store.commands import Reply
from understudy_store.records import PromiseRecord

#: Promises to watch with one request after a reconnect; by then each of them may be large.
RENEWED_MAX: Final = 64

#: sends a command for somebody (`understudy.edge.asker`)
SendRequest: TypeAlias = Callable[[OwnCommand, OnReply, str | None], object]


class Watch:
    """A promise that somebody here waits for.

    Attributes
    ----------
    waiting
        How many do.
    done
        Set once `record` or `refusal` is there.
    followers
        Called at that moment, each with the watch.
    is_permitted
        A broker has accepted this watch. Until then the settlement may be somebody else's to know.
    arrived
        A settlement that has come before that.
    """

    def __init__(self, *, is_permitted: bool) -> None:
        self.is_permitted = is_permitted
        self.arrived: PromiseRecord | None = None
        self.waiting = 0
        self.done = trio.Event()
        self.record: PromiseRecord | None = None
        self.refusal: Reply | None = None
        self.followers: list[Callable[[Watch], None]] = []

    def end(self) -> None:
        """Tell everybody that it is over."""
        self.done.set()
        for follower in self.followers:
            follower(self)


class Watches:
    """All watches of an edge.

    A promise is watched once for each who asks, because the broker may refuse it to one of them.

    Parameters
    ----------
    send
        Sends a request to the broker of its slot.
    """

    def __init__(self, send: SendRequest) -> None:
        self._send = send
        #: by the promise, and by who asks
        self._watches: dict[str, dict[str | None, Watch]] = {}

    def __len__(self) -> int:
        return len(self._watches)

    @contextmanager
    def waiting(self, id_: str) -> Iterator[Watch]:
        """Wait for a promise within the block. Whoever is the first has it watched, by `ask`.

        The last who leaves ends the watch.
        """
        asker = ASKER.get()
        watches = self._watches.setdefault(id_, {})
        watch = watches.get(asker)
        if watch is None:
            # What the edge asks for itself, no right of somebody else's decides.
            watch = watches[asker] = Watch(is_permitted=asker is None)
        watch.waiting += 1
        try:
            yield watch
        finally:
            watch.waiting -= 1
            if not watch.waiting and self._watches.get(id_, {}).get(asker) is watch:
                self._take(id_, asker)
                if id_ not in self._watches:
                    # If it cannot be sent, it is only told what it does not want to know.
                    with suppress(LinkFullError):
                        self._send(PromiseUnwatch((id_,)), _ignore, asker)

    def ask(self, *ids: str) -> None:
        """Ask the broker to tell of the settlement of promises that are waited for."""
        self._ask(ids, ASKER.get())

    def renew(self, is_there: Callable[[str], bool]) -> None:
        """Ask a broker again, because a new session knows of no watches."""
        ids: dict[str | None, list[str]] = {}
        for id_ in filter(is_there, self._watches):
            for asker in self._watches[id_]:
                ids.setdefault(asker, []).append(id_)
        for asker, its in ids.items():
            for start in range(0, len(its), RENEWED_MAX):
                self._ask(tuple(its[start : start + RENEWED_MAX]), asker)

    def permit(self, id_: str) -> None:
        """Note that a broker watches a promise for the one who asks."""
        self._permit((id_,), ASKER.get())

    def resolve(self, records: Iterable[PromiseRecord]) -> None:
        """Hand out promises that have settled, to those for whom a broker watches them."""
        for record in records:
            for asker, watch in tuple(self._watches.get(record.id, {}).items()):
                if watch.is_permitted:
                    self._end(record, asker)
                else:
                    watch.arrived = record

    def _ask(self, ids: tuple[str, ...], asker: str | None) -> None:
        try:
            self._send(PromiseWatch(ids), partial(self._on_reply, ids, asker), asker)
        except LinkFullError as error:
            self._refuse(ids, asker, Reply(503, str(error)))

    def _on_reply(self, ids: tuple[str, ...], asker: str | None, answer: Answer) -> None:
        reply = answer.reply if isinstance(answer, Response) else Reply(answer.status, answer.error)
        if reply.ok:
            for record in reply.promises or ():
                self._end(record, asker)
            self._permit(ids, asker)
        elif len(ids) == 1:
            self._refuse(ids, asker, reply)
        else:
            # One of them does not exist. Watched one by one, the others are not affected.
            for id_ in ids:
                self._ask((id_,), asker)

    def _permit(self, ids: Iterable[str], asker: str | None) -> None:
        for id_ in ids:
            watch = self._watches.get(id_, {}).get(asker)
            if watch is not None:
                watch.is_permitted = True
                if watch.arrived is not None:
                    self._end(watch.arrived, asker)

    def _end(self, record: PromiseRecord, asker: str | None) -> None:
        """Hand a settled promise to those with one identity."""
        watch = self._take(record.id, asker)
        if watch is not None:
            watch.record = record
            watch.end()

    def _refuse(self, ids: Iterable[str], asker: str | None, reply: Reply) -> None:
        for id_ in ids:
            watch = self._take(id_, asker)
            if watch is not None:
                watch.refusal = reply
                watch.end()

    def _take(self, id_: str, asker: str | None) -> Watch | None:
        watches = self._watches.get(id_, {})
        watch = watches.pop(asker, None)
        if not watches:
            self._watches.pop(id_, None)
        return watch


def _ignore(_answer: Answer) -> None:
    """Ignore an answer."""
