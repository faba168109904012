"""Takes pushes for a runtime, by whatever protocol they come."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Final, NamedTuple, TypeAlias

from understudy.runtime import Runtime
from understudy.signatures import KEY_VARIABLE, SignatureError, parse_keys, verify

_LOG: Final = logging.getLogger("understudy")


class Answer(NamedTuple):
    """The answer to a push: a status of HTTP, whatever the protocol, and a text for people."""

    status: HTTPStatus
    text: str = ""

    @property
    def is_taken(self) -> bool:
        """True if the push is taken."""
        return self.status < HTTPStatus.MULTIPLE_CHOICES


class Offer(NamedTuple):
    """A task that was pushed."""

    id: str
    version: int


#: Returns the task of a push; None: it is a settlement. Raises ValueError: it is no push.
Decode: TypeAlias = Callable[[bytes], Offer | None]


class PushReceiver:
    """Verifies pushes, and has a runtime perform their tasks.

    Parameters
    ----------
    key
        The key, or several, one in each line. None: the variable UNDERSTUDY_PUSH_KEY.
    hold
        Answer once the task is performed, suspended or given back.
    decode
        Reads the body of a push.

    Raises
    ------
    ConfigurationError
        There is no key, or it is none.
    """

    def __init__(self, runtime: Runtime, key: str | None, hold: bool, decode: Decode) -> None:
        where = "the argument key" if key is not None else f"the variable {KEY_VARIABLE}"
        self._keys = parse_keys(os.environ.get(KEY_VARIABLE, "") if key is None else key, where)
        self._runtime = runtime
        self._hold = hold
        self._decode = decode
        self._preparing = threading.Lock()

    def take(self, headers: Mapping[str, str], body: bytes) -> Answer | Future[Answer]:
        """Take a push; return the answer, or what will have it once it is time to answer.

        Parameters
        ----------
        headers
            By their names in small letters.
        """
        try:
            verify(self._keys, headers, body, time.time())
        except SignatureError as error:
            return Answer(HTTPStatus.UNAUTHORIZED, str(error))
        try:
            offer = self._decode(body)
        except ValueError as error:
            return Answer(HTTPStatus.BAD_REQUEST, f"this is no push: {error}")
        if offer is None:
            return Answer(HTTPStatus.ACCEPTED)
        session = self._runtime.session
        if session.started and not session.connection.has_room:
            # What waits here for a thread would be given back, and pushed again at once.
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "as many functions run here as may")
        ended: Future[Answer] = Future()
        # A server that cancels its request, because the edge is gone, does not cancel the task.
        ended.set_running_or_notify_cancel()
        # To begin a connection may take a while, and the loop of the service must not wait.
        threading.Thread(
            target=self._perform, args=(offer, ended), name="understudy-push", daemon=True
        ).start()
        return ended if self._hold else Answer(HTTPStatus.ACCEPTED)

    def _perform(self, offer: Offer, ended: Future[Answer]) -> None:
        """Acquire a task; the connection performs it if it waits still."""

        def fail(error: BaseException) -> None:
            text = f"task {offer.id} was pushed here, and cannot be acquired: {error}"
            _LOG.error("%s", text)
            ended.set_result(Answer(HTTPStatus.SERVICE_UNAVAILABLE, text))

        def on_let_go(let_go: Future[None]) -> None:
            error = let_go.exception()
            if error is None:
                ended.set_result(Answer(HTTPStatus.OK))
            else:
                ended.set_result(Answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))

        def on_acquired(acquired: Future[bool]) -> None:
            error = acquired.exception()
            if error is not None:
                fail(error)
            elif acquired.result():
                let_go.add_done_callback(on_let_go)
            else:
                ended.set_result(Answer(HTTPStatus.OK))  # Somebody else has it, or it is over.

        try:
            session = self._runtime.session
            with self._preparing:
                session.prepare()
            acquired, let_go = session.connection.acquire(*offer)
        except Exception as error:
            fail(error)
            return
        acquired.add_done_callback(on_acquired)
