"""Requests under way, and the futures that wait for replies and promises.

Everything here is called on the loop (see `connection`); only the futures are shared with other
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

from understudy.client.duplicate_calls import DuplicateCalls
from understudy.handle import refusal
from understudy_actors.errors import CommandError
from understudy_actors.node.settlements import IsThere, everything
from understudy_broker.protocol.messages import (
    AnyCommand,
    PromiseCreateWatched,
    PromiseWatch,
    Refused,
    Response,
)
from understudy_broker.protocol.placement import routing_id
from understudy_store.commands import PromiseCreate, TaskAcquire, TaskCreate
from understudy_store.records import HEADER_FUNCTION, PromiseRecord, TaskRecord

Answer: TypeAlias = Response | Refused
#: sends a command, and calls the second argument once with the answer
SendRequest: TypeAlias = Callable[[AnyCommand, Callable[[Answer], None]], object]

#: Promises to watch with one request after a reconnect; by then each of them may be large.
RENEWED_MAX: Final = 64

#: Status of a reply that has created a promise.
_CREATED: Final = 201
#: Status of a reply about a promise that exists.
_FOUND: Final = 200
#: Status of a reply about a task that another node holds, or that does not wait.
_HELD: Final = 409
#: Status of a reply about a task that does not exist.
_MISSING: Final = 404
#: status of a command about a promise that was deleted
_PURGED: Final = 410


class PendingRequests:
    """Commands, watches and calls that are under way.

    Parameters
    ----------
    duplicates
        Checks calls whose id exists already.
    send
        Sends a request. May be set later, but before the first request.

    Attributes
    ----------
    watches
        The futures that wait for each promise, by its id.
    unanswered
        The futures that wait for an answer, each with the id that tells which broker is to give it;
        None: all of them are, or the request is not sent yet. A future leaves it with that answer,
        even if it waits for a promise from then on, for however long.
    """

    def __init__(self, duplicates: DuplicateCalls, send: SendRequest | None = None) -> None:
        self.send: SendRequest
        if send is not None:
            self.send = send
        self.watches: dict[str, list[Future[PromiseRecord]]] = {}
        self.unanswered: dict[Future[Any], str | None] = {}
        self._duplicates = duplicates

    # Failures ------------------------------------------------------------------------------------

    def fail(self, futures: Iterable[Future[Any]], error: BaseException) -> None:
        """Fail `futures`, unless they are done."""
        for future in futures:
            self.unanswered.pop(future, None)
            if not future.done():
                future.set_exception(error)

    def fail_unanswered(self, error: BaseException, is_there: IsThere = everything) -> None:
        """Fail everything that waits for an answer of the broker where those promises are."""
        waiting = [future for future, id in self.unanswered.items() if id is None or is_there(id)]
        self.fail(waiting, error)

    def fail_all(self, error: BaseException) -> None:
        """Fail everything that waits for an answer or for a promise."""
        for futures in list(self.watches.values()):
            self.fail(list(futures), error)
        self.fail_unanswered(error)

    # Commands ------------------------------------------------------------------------------------

    def command(self, command: AnyCommand, future: Future[Response]) -> None:
        """Send a command; `future` gets its response, or the error if it is refused."""

        def on_reply(answer: Answer) -> None:
            self.unanswered.pop(future, None)
            error = refusal(answer)
            if error is not None:
                self.fail((future,), error)
            elif isinstance(answer, Response) and not future.done():
                future.set_result(answer)

        self._expect(routing_id(command), future)
        self.send(command, on_reply)

    def _expect(self, id: str | None, *futures: Future[Any]) -> None:
        """Note the id that the request of these futures is about."""
        for future in futures:
            if future in self.unanswered:
                self.unanswered[future] = id

    # Watches -------------------------------------------------------------------------------------

    def watch(self, id: str, future: Future[PromiseRecord]) -> None:
        """Watch a promise; `future` gets it once it has settled."""
        self._expect(id, future)
        if id not in self.watches:
            self._send_watch((id,))
        self.watches.setdefault(id, []).append(future)

    def renew_watches(self, is_there: IsThere = everything) -> None:
        """Watch the promises of a broker again, because a new session knows of no watches."""
        ids = tuple(filter(is_there, self.watches))
        for start in range(0, len(ids), RENEWED_MAX):
            self._send_watch(ids[start : start + RENEWED_MAX])

    def resolve(self, records: Iterable[PromiseRecord]) -> None:
        """Hand out promises that have settled to the futures that wait for them."""
        for record in records:
            for future in self.watches.pop(record.id, ()):
                self.unanswered.pop(future, None)
                if not future.done():
                    future.set_result(record)

    def _send_watch(self, ids: tuple[str, ...]) -> None:
        def on_reply(answer: Answer) -> None:
            error = refusal(answer)
            if error is not None and len(ids) == 1:
                self.fail(self.watches.pop(ids[0], ()), error)
            elif error is not None:
                # One of them does not exist. Watched one by one, the others are not affected.
                for id in ids:
                    self._send_watch((id,))
            elif isinstance(answer, Response):
                for id in ids:
                    for future in self.watches.get(id, ()):
                        self.unanswered.pop(future, None)
                self.resolve(answer.reply.promises or ())

        self.send(PromiseWatch(ids), on_reply)

    def _unwatch(self, id: str, future: Future[PromiseRecord]) -> None:
        """Drop a future whose call was refused, and with the call its watch."""
        futures = self.watches.get(id, [])
        if future in futures:
            futures.remove(future)
            if futures:
                self._send_watch((id,))
            else:
                del self.watches[id]

    # Calls ---------------------------------------------------------------------------------------

    def invoke(
        self, create: PromiseCreate, stored: Future[None], result: Future[PromiseRecord]
    ) -> None:
        """Create a promise and watch it with one request.

        `stored` is done when the promise is stored, `result` when it has settled.
        """

        def on_reply(answer: Answer) -> None:
            self._take_answer(create, answer, stored, result)
            if result.done():
                self._unwatch(create.id, result)
            found = answer.reply.promise if isinstance(answer, Response) else None
            if found is not None and found.settled:
                self.resolve((found,))

        self._expect(create.id, stored, result)
        # Sent first: if the request cannot be sent, that is raised and nothing is watched.
        self.send(PromiseCreateWatched(create), on_reply)
        self.watches.setdefault(create.id, []).append(result)

    def perform(
        self,
        command: TaskCreate,
        stored: Future[None],
        result: Future[PromiseRecord],
        perform_task: Callable[[PromiseRecord, TaskRecord], None],
    ) -> None:
        """Create a promise and acquire its task.

        `perform_task` gets promise and task, unless another node holds the task. In that case the
        call attaches to what that node does.
        """

        def on_reply(answer: Answer) -> None:
            is_held = isinstance(answer, Response) and answer.reply.status == _HELD
            if is_held and _collision(command, answer) is None:
                self._mark_stored(stored, result)
                return
            self._take_answer(command, answer, stored, result)
            if isinstance(answer, Response) and answer.reply.ok and not result.done():
                task, promise = answer.reply.task, answer.reply.promise
                if task is not None and promise is not None and task.pid == command.pid:
                    perform_task(promise, task)

        self._expect(command.id, stored)
        self.send(command, on_reply)
        self.watch(command.id, result)

    def acquire(
        self,
        command: TaskAcquire,
        acquired: Future[bool],
        perform_task: Callable[[PromiseRecord, TaskRecord], None],
    ) -> None:
        """Acquire a task that waits; `perform_task` gets it, unless it waits no longer."""

        def on_reply(answer: Answer) -> None:
            self.unanswered.pop(acquired, None)
            reply = answer.reply if isinstance(answer, Response) else None
            is_gone = reply is not None and reply.status in (_MISSING, _HELD, _PURGED)
            error = None if is_gone else refusal(answer)
            if error is not None:
                self.fail((acquired,), error)
                return
            if reply is not None and reply.task is not None and reply.promise is not None:
                perform_task(reply.promise, reply.task)
            if not acquired.done():
                acquired.set_result(not is_gone)

        self._expect(command.id, acquired)
        self.send(command, on_reply)

    def _take_answer(
        self,
        asked: PromiseCreate | TaskCreate,
        answer: Answer,
        stored: Future[None],
        result: Future[PromiseRecord],
    ) -> None:
        reply = answer.reply if isinstance(answer, Response) else None
        if reply is None or reply.status != _CREATED:
            # A promise that was just created is the one that was asked for; any other may differ.
            error = refusal(answer) or _collision(asked, answer)
            if error is not None:
                self.fail((result, stored), error)
                return
        if reply is not None and reply.status == _FOUND and reply.promise is not None:
            self._duplicates.check(reply.promise, asked.param)
        self._mark_stored(stored, result)

    def _mark_stored(self, stored: Future[None], result: Future[PromiseRecord]) -> None:
        """Note that the promise is stored: from now on `result` waits for its settlement only."""
        self.unanswered.pop(result, None)
        self.unanswered.pop(stored, None)
        if not stored.done():
            stored.set_result(None)


def _collision(asked: PromiseCreate | TaskCreate, answer: Answer) -> CommandError | None:
    """Return the error for an id that belongs to a call of another function."""
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
