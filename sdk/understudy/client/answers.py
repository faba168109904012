"""Answers of the broker: at once in a thread, to be awaited on an event loop.

A method that asks the broker something returns the answer in a thread, after waiting for it. On an
event loop it must not wait, so it returns an `Answer` there, and ``await`` gives what the method
returns elsewhere. The request is sent in both cases; a failure that nobody awaits is logged.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Final, Generic, NoReturn, TypeVar, cast

from understudy.client.session import ClientSession
from understudy.errors import RequestError
from understudy.handle import in_async_code, wait_future
from understudy_broker.protocol.messages import AnyCommand, Response
from understudy_store.commands import Reply

T = TypeVar("T")

_LOG: Final = logging.getLogger("understudy")


class Answer(Generic[T]):
    """An answer to come; ``await`` it.

    Parameters
    ----------
    what
        The call that asked, for messages: ``promises.get('approval-1')``.
    """

    __slots__ = ("_convert", "_future", "_is_awaited", "_what")

    def __init__(
        self, what: str, future: Future[Response], convert: Callable[[Response], T]
    ) -> None:
        self._what = what
        self._future = future
        self._convert = convert
        self._is_awaited = False

    def __repr__(self) -> str:
        return f"<the answer to {self._what}, to be awaited>"

    def __await__(self) -> Generator[Any, Any, T]:
        self._is_awaited = True
        return self._wait().__await__()

    async def _wait(self) -> T:
        return self._convert(await wait_future(self._future))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RequestError(
            f"{self._what} was not awaited: on an event loop it returns before the broker has "
            f"answered, so write `await runtime.{self._what}`"
        )

    def __del__(self) -> None:
        if not self._is_awaited:
            what = self._what
            self._future.add_done_callback(lambda future: _log_failure(what, future))


def _log_failure(what: str, future: Future[Response]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _LOG.warning("%s, which nobody awaited, failed: %s", what, error)


def ask(
    session: ClientSession, what: str, command: AnyCommand, convert: Callable[[Response], T]
) -> T:
    """Send a command, and return what `convert` makes of its response.

    On an event loop this returns an `Answer` at once. It is typed as `T`, because whatever is
    returned there can be awaited, and an awaited `T` is a `T`.
    """
    future = session.connected().command(command)
    if in_async_code():
        return cast(T, Answer(what, future, convert))
    return convert(future.result())


def done(_: Response) -> Awaitable[None]:
    """Return nothing, for `ask`: the command was carried out.

    It is typed as what an event loop gets. No other caller can await it.
    """
    return cast("Awaitable[None]", None)


class Search(Generic[T]):
    """The results of a search: ``for`` in a thread, ``async for`` on an event loop.

    A page is fetched when it is needed.

    Parameters
    ----------
    command_of
        Returns the command for the page at a cursor; None: the first page.
    results_of
        Returns the results in a reply.

    Examples
    --------
    >>> made = runtime.promises.create("bill-1", tags={"month": "june"})
    >>> [promise.id for promise in runtime.promises.search(tags={"month": "june"})]
    ['bill-1']
    """

    __slots__ = ("_command_of", "_pages", "_results_of", "_session", "_what")

    def __init__(
        self,
        session: ClientSession,
        what: str,
        command_of: Callable[[str | None], AnyCommand],
        results_of: Callable[[Reply], Iterable[T]],
    ) -> None:
        self._session = session
        self._what = what
        self._command_of = command_of
        self._results_of = results_of
        self._pages: Iterator[T] | AsyncIterator[T] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Return the next result."""
        if self._pages is None:
            if in_async_code():
                raise RequestError(
                    f"{self._what} would block the event loop: write `async for ... in "
                    f"runtime.{self._what}(...)`"
                )
            self._pages = self._fetch()
        return next(cast("Iterator[T]", self._pages))

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next result, without blocking the loop."""
        if self._pages is None:
            self._pages = self._fetch_on_loop()
        return await anext(cast("AsyncIterator[T]", self._pages))

    def _fetch(self) -> Iterator[T]:
        for reply in self._session.pages(self._command_of):
            yield from self._results_of(reply)

    async def _fetch_on_loop(self) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            future = self._session.connected().command(self._command_of(cursor))
            reply = (await wait_future(future)).reply
            for result in self._results_of(reply):
                yield result
            cursor = reply.cursor
            if cursor is None:
                return
