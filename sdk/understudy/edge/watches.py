"""The promises that requests of an edge wait for. Each is watched at its broker once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from understudy_broker.errors import LinkFullError
from understudy_broker.link.session import Answer, OnReply
from understudy_broker.protocol.messages import AnyCommand, PromiseUnwatch, PromiseWatch, Response
from understudy_store.commands import Reply
from understudy_store.records import PromiseRecord

#: Promises to watch with one request after a reconnect; by then each of them may be large.
RENEWED_MAX: Final = 64

SendRequest: TypeAlias = Callable[[AnyCommand, OnReply], object]


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
    """

    def __init__(self) -> None:
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

    Parameters
    ----------
    send
        Sends a request to the broker of its slot.
    """

    def __init__(self, send: SendRequest) -> None:
        self._send = send
        self._watches: dict[str, Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    @contextmanager
    def waiting(self, id_: str) -> Iterator[Watch]:
        """Wait for a promise within the block. Whoever is the first has it watched, by `ask`.

        The last who leaves ends the watch.
        """
        watch = self._watches.setdefault(id_, Watch())
        watch.waiting += 1
        try:
            yield watch
        finally:
            watch.waiting -= 1
            if not watch.waiting and self._watches.get(id_) is watch:
                del self._watches[id_]
                with suppress(LinkFullError):  # it is then only told what it does not want to know
                    self._send(PromiseUnwatch((id_,)), _ignore)

    def ask(self, *ids: str) -> None:
        """Ask the broker to tell of the settlement of promises that are waited for."""
        try:
            self._send(PromiseWatch(ids), partial(self._on_reply, ids))
        except LinkFullError as error:
            self._refuse(ids, Reply(503, str(error)))

    def renew(self, is_there: Callable[[str], bool]) -> None:
        """Ask a broker again, because a new session knows of no watches."""
        ids = tuple(filter(is_there, self._watches))
        for start in range(0, len(ids), RENEWED_MAX):
            self.ask(*ids[start : start + RENEWED_MAX])

    def resolve(self, records: Iterable[PromiseRecord]) -> None:
        """Hand out promises that have settled."""
        for record in records:
            watch = self._watches.pop(record.id, None)
            if watch is not None:
                watch.record = record
                watch.end()

    def _on_reply(self, ids: tuple[str, ...], answer: Answer) -> None:
        reply = answer.reply if isinstance(answer, Response) else Reply(answer.status, answer.error)
        if reply.ok:
            self.resolve(reply.promises or ())
        elif len(ids) == 1:
            self._refuse(ids, reply)
        else:
            # One of them does not exist. Watched one by one, the others are not affected.
            for id_ in ids:
                self.ask(id_)

    def _refuse(self, ids: Iterable[str], reply: Reply) -> None:
        for id_ in ids:
            watch = self._watches.pop(id_, None)
            if watch is not None:
                watch.refusal = reply
                watch.end()


def _ignore(_answer: Answer) -> None:
    """Ignore an answer."""
