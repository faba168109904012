"""Delivery over HTTP: signed requests to checked addresses, within time limits."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import httpcore
import trio

from understudy.edge.carrier import DeliveryError
from understudy.edge.push.allow_list import NotAllowedError
from understudy.edge.push.backend import CheckedBackend
from understudy.edge.push.posts import Post, flaw_of, make_post, retry_after_s
from understudy.edge.push.settings import PushSettings
from understudy.edge.push.turns import Turns
from understudy_broker.protocol.messages import Forward

SCHEMES: Final = ("http", "https")
#: bytes of an answer that is read
_ANSWER_BYTES_MAX: Final = 65_536
_IDLE_CONNECTION_S: Final = 30.0
#: hosts that may have as many pushes under way as one may; beyond, connections are waited for
_HOSTS_FULL: Final = 8

_NETWORK_ERRORS: Final = (
    OSError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
)


class Answer(NamedTuple):
    """The status of an answer, and its header Retry-After."""

    status: int
    retry_after: str | None


class Poster:
    """Delivers to ``http://`` and ``https://`` addresses; see `open_poster`.

    Parameters
    ----------
    server_url
        The address of an edge, which receivers are told.
    """

    def __init__(self, settings: PushSettings, server_url: str) -> None:
        self._settings = settings
        self._server_url = server_url
        self._turns = Turns(settings.host_max)
        tls = ssl.create_default_context()
        self._pools = {
            scheme: httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=_HOSTS_FULL * settings.host_max,
                keepalive_expiry=_IDLE_CONNECTION_S,
                network_backend=CheckedBackend(scheme, settings.allowed),
            )
            for scheme in SCHEMES
        }

    async def deliver(self, forward: Forward) -> None:
        """Make a delivery; see `carrier.Deliver`."""
        post = self._post_of(forward)
        try:
            async with self._turns.turn(post.host, post.port):
                # Deliveries to the host may have taken long, so it is signed anew.
                answer = await self.post(self._post_of(forward))
        except trio.TooSlowError:
            raise DeliveryError(f"no answer within {self._settings.answer_s:g} s") from None
        except NotAllowedError as error:
            raise DeliveryError(str(error), refused=True) from None
        except _NETWORK_ERRORS as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from None
        flaw = flaw_of(answer.status)
        if flaw is not None:
            rest_s = retry_after_s(answer.status, answer.retry_after, time.time())
            raise DeliveryError(flaw, retry_after_s=rest_s)

    def _post_of(self, forward: Forward) -> Post:
        return make_post(forward, self._settings.keys, self._server_url, time.time())

    async def post(self, post: Post) -> Answer:
        """Send a request; return the answer.

        Raises
        ------
        NotAllowedError, trio.TooSlowError
        OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException
        """
        self._settings.allowed.check_host(post.scheme, post.host, post.port)
        headers = [*post.headers.items()]
        times = {"timeout": {"connect": self._settings.connect_s}}
        with trio.fail_after(self._settings.answer_s):
            async with self._pools[post.scheme].stream(
                "POST",
                post.url,
                headers=headers,
                content=post.body,
                extensions=times,
            ) as response:
                if _is_short(response):
                    # Then its connection can be used again; any other ends with the answer.
                    await response.aread()
                return Answer(response.status, _retry_after(response))

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()


def _retry_after(response: httpcore.Response) -> str | None:
    found = (text for name, text in response.headers if name.lower() == b"retry-after")
    text = next(found, None)
    return None if text is None else text.decode("latin-1")


def _is_short(response: httpcore.Response) -> bool:
    """Return whether an answer says that it is short."""
    lengths = [text for name, text in response.headers if name.lower() == b"content-length"]
    return len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) <= _ANSWER_BYTES_MAX


@asynccontextmanager
async def open_poster(settings: PushSettings, server_url: str) -> AsyncIterator[Poster]:
    """Deliver over HTTP while the block runs, and close all connections then."""
    poster = Poster(settings, server_url)
    try:
        yield poster
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(1.0):
            await poster.aclose()
