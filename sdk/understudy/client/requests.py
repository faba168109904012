"""What a process has asked of its broker, and the futures that wait for it.

All of it belongs to one thread, the connection's; only the futures are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from understudy.client.duplicate_calls import DuplicateCalls
from understudy.handle import refusal
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import (
    AnyCommand,
    PromiseCreateWatched,
    PromiseWatch,
    Refused,
    Response,
)
from understudy_store.commands import PromiseCreate, TaskCreate
from understudy_store.records import HEADER_FUNCTION, PromiseRecord, TaskRecord

#: takes a command, and who gets its answer
Request = Callable[[AnyCommand, Callable[[Response | Refused], None]], None]


class PendingRequests:
    """Commands, watches and calls under way."""

    def __init__(self, request: Request, attaching: DuplicateCalls) -> None:
        self._request = request
        self._attaching = attaching
        #: who waits for which promise
        self.watches: dict[str, list[Future[PromiseRecord]]] = {}
        #: futures that the broker's answer will settle
        self.unanswered: set[Future[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self.unanswered or self.watches)

    def began(self, future: Future[Any]) -> None:
        """Whoever waits for this waits for the broker, until it has answered."""
        self.unanswered.add(future)
        future.add_done_callback(self.unanswered.discard)

    def fail_unanswered(self, error: BaseException) -> None:
        """Let nobody wait for an answer any more."""
        for future in list(self.unanswered):
            fail_future(future, error)

    def fail_all(self, error: BaseException) -> None:
        """Let nobody wait for anything any more."""
        for futures in list(self.watches.values()):
            for future in list(futures):
                fail_future(future, error)
        self.fail_unanswered(error)

    def resolve(self, records: Iterable[PromiseRecord]) -> None:
        """These have settled."""
        watches = self.watches
        for record in records:
            for future in watches.pop(record.id, ()):
                if not future.done():
                    future.set_result(record)

    def command(self, command: AnyCommand, future: Future[Response]) -> None:
        """`future` gets the response, or what it was refused with."""
        self._request(command, lambda answer: _answer(future, answer))

    def watch(self, id: str, future: Future[PromiseRecord]) -> None:
        """`future` gets the settled promise."""
        if id not in self.watches:
            self.send_watch((id,))
        self.watches.setdefault(id, []).append(future)

    def send_watch(self, ids: tuple[str, ...]) -> None:
        """Ask to be told of these; again after a reconnect."""

        def on_reply(answer: Response | Refused) -> None:
            error = refusal(answer)
            if error is not None and len(ids) == 1:
                for future in self.watches.pop(ids[0], ()):
                    if not future.done():
                        future.set_exception(error)
            elif error is not None:
                # one of many is absent: each on its own, so that the others are watched
                for id in ids:
                    self.send_watch((id,))
            elif isinstance(answer, Response):
                for id in ids:
                    # answered: from here on it is the promise that is waited for
                    self.unanswered.difference_update(self.watches.get(id, ()))
                self.resolve(answer.reply.promises or ())

        self._request(PromiseWatch(ids), on_reply)

    def invoke(
        self, create: PromiseCreate, stored: Future[None], result: Future[PromiseRecord]
    ) -> None:
        """Create a promise and watch it: `stored` is set when it is, `result` when it settles."""

        def on_reply(answer: Response | Refused) -> None:
            self._created(create, answer, stored, result)
            if result.done():
                self._leave(create.id, result)
            found = answer.reply.promise if isinstance(answer, Response) else None
            if found is not None and found.settled:
                self.resolve((found,))

        # a request that cannot be made raises, and nothing is watched then
        self._request(PromiseCreateWatched(create), on_reply)
        self.watches.setdefault(create.id, []).append(result)

    def _leave(self, id: str, future: Future[PromiseRecord]) -> None:
        """This one has been told already: its call was refused, and with it the watch."""
        futures = self.watches.get(id, [])
        if future in futures:
            futures.remove(future)
            if futures:
                self.send_watch((id,))
            else:
                del self.watches[id]

    def _created(
        self,
        asked: PromiseCreate | TaskCreate,
        answer: Response | Refused,
        stored: Future[None],
        result: Future[PromiseRecord],
    ) -> None:
        error = refusal(answer) or _collision(asked, answer)
        # from here on it is the promise that is waited for, however long, and no answer
        self.unanswered.discard(result)
        if error is not None:
            fail_future(result, error)
            fail_future(stored, error)
            return
        reply = answer.reply if isinstance(answer, Response) else None
        if reply is not None and reply.status == 200 and reply.promise is not None:
            self._attaching.check(reply.promise, asked.param)
        if not stored.done():
            stored.set_result(None)

    def perform(
        self,
        command: TaskCreate,
        stored: Future[None],
        result: Future[PromiseRecord],
        take: Callable[[PromiseRecord, TaskRecord], None],
    ) -> None:
        """Create a promise and hold its task; `take` gets both, if nobody else holds it."""

        def on_reply(answer: Response | Refused) -> None:
            held = isinstance(answer, Response) and answer.reply.status == 409
            if held and _collision(command, answer) is None:
                # somebody performs it already: attach
                self.unanswered.discard(result)
                if not stored.done():
                    stored.set_result(None)
                return
            self._created(command, answer, stored, result)
            if isinstance(answer, Response) and answer.reply.ok and not result.done():
                task, promise = answer.reply.task, answer.reply.promise
                if task is not None and promise is not None and task.pid == command.pid:
                    take(promise, task)

        self._request(command, on_reply)
        self.watch(command.id, result)


def _collision(
    asked: PromiseCreate | TaskCreate, answer: Response | Refused
) -> CommandError | None:
    """The error for an id under which another function was called."""
    found = answer.reply.promise if isinstance(answer, Response) else None
    if found is None:
        return None
    name = asked.param.headers.get(HEADER_FUNCTION)
    other = found.param.headers.get(HEADER_FUNCTION)
    if name == other:
        return None
    what = f"a call of {other!r}" if other else "a promise that calls no function"
    return CommandError(
        409,
        f"the id {asked.id!r} belongs to {what}, so {name!r} cannot be called under it. The same "
        "id means the same call: give this one another",
    )


def _answer(future: Future[Response], answer: Response | Refused) -> None:
    error = refusal(answer)
    if error is not None:
        fail_future(future, error)
    elif isinstance(answer, Response) and not future.done():
        future.set_result(answer)


def fail_future(future: Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
