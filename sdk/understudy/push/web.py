"""The common part of taking pushes over HTTP, whatever the interface of the web server."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Final

import msgspec

from understudy.errors import ConfigurationError
from understudy.push.receiver import Answer, Offer, PushReceiver
from understudy.runtime import Runtime

#: where pushes are taken, unless it is said otherwise
PATH: Final = "/understudy"
#: Bytes of a push. A settlement has arguments and result, each of at most 4 MiB before base64.
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
#: the type of the texts that are answered
CONTENT_TYPE: Final = "text/plain; charset=utf-8"

NOT_FOUND: Final = Answer(HTTPStatus.NOT_FOUND, "there is nothing here")
CUT_OFF: Final = Answer(HTTPStatus.BAD_REQUEST, "the request was cut off")
TOO_LONG: Final = Answer(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY_BYTES_MAX} bytes are taken"
)


class _Task(msgspec.Struct):
    id: str
    version: int


class _Data(msgspec.Struct):
    task: _Task | None = None


class _Message(msgspec.Struct):
    kind: str
    data: _Data


_decode = msgspec.json.Decoder(_Message).decode


def offer_of(body: bytes) -> Offer | None:
    """Return the task of a push; None: it is a settlement.

    Raises
    ------
    ValueError
        It is no push.

    Examples
    --------
    >>> offer_of(b'{"kind": "execute", "data": {"task": {"id": "charge-7", "version": 0}}}')
    Offer(id='charge-7', version=0)
    """
    message = _decode(body)
    task = message.data.task
    return Offer(task.id, task.version) if message.kind == "execute" and task is not None else None


class WebReceiver:
    """Takes pushes at a path.

    Attributes
    ----------
    path
        Where it takes them.
    """

    def __init__(self, runtime: Runtime, key: str | None, path: str, hold: bool) -> None:
        if not path.startswith("/"):
            raise ConfigurationError(f"path {path!r} does not begin with /")
        self.path = path
        self._receiver = PushReceiver(runtime, key, hold, offer_of)

    def take(self, method: str, headers: Mapping[str, str], body: bytes) -> Answer | Future[Answer]:
        """Take a request at the path; see `PushReceiver.take`."""
        if method != "POST":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "pushes are sent with POST")
        if len(body) > BODY_BYTES_MAX:
            return TOO_LONG
        return self._receiver.take(headers, body)
