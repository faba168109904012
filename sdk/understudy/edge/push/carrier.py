"""The edge as a carrier: it takes deliveries from the brokers, makes them, and says how they ended.

The brokers decide what is delivered when, and how often it is tried (`core.relay_scheme` there).
The edge makes one attempt for each `Forward`, within its time limits, and answers it. It answers
only in the session in which it was asked, because a broker that has lost the session has given
the delivery to somebody else.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpcore
import trio

from understudy.edge.brokers import Brokers
from understudy.edge.push.allow_list import NotAllowedError
from understudy.edge.push.backend import CheckedBackend
from understudy.edge.push.posts import Post, flaw_of, make_post
from understudy.edge.push.settings import PushSettings
from understudy_broker.link.link import Link
from understudy_broker.protocol.messages import Carry, Forward, Forwarded, ToPeer, Welcome

SCHEMES: Final = ("http", "https")
#: bytes of an answer that is read
_ANSWER_BYTES_MAX: Final = 65_536
_IDLE_CONNECTION_S: Final = 30.0

_NETWORK_ERRORS: Final = (
    OSError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
)

_LOG: Final = logging.getLogger("understudy.edge")


class Poster:
    """Sends requests, to checked addresses only."""

    def __init__(self, settings: PushSettings) -> None:
        self._settings = settings
        tls = ssl.create_default_context()
        self._pools = {
            scheme: httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=4 * settings.credit,
                keepalive_expiry=_IDLE_CONNECTION_S,
                network_backend=CheckedBackend(scheme, settings.allowed),
            )
            for scheme in SCHEMES
        }

    async def post(self, post: Post) -> int:
        """Send a request; return the status of the answer.

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
                return response.status

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()


def _is_short(response: httpcore.Response) -> bool:
    """Return whether an answer says that it is short."""
    lengths = [text for name, text in response.headers if name.lower() == b"content-length"]
    return len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) <= _ANSWER_BYTES_MAX


class PushCarrier:
    """The deliveries of one edge; see `open_carrier`.

    Attributes
    ----------
    under_way
        How many there are.
    """

    def __init__(
        self,
        brokers: Brokers,
        settings: PushSettings,
        server_url: str,
        poster: Poster,
        nursery: trio.Nursery,
    ) -> None:
        self._brokers = brokers
        self._settings = settings
        self._server_url = server_url
        self._poster = poster
        self._nursery = nursery
        self._credit = settings.credit
        #: how many sessions there have been with each broker
        self._sessions: dict[Link, int] = {}
        self._hosts: dict[tuple[str, int], trio.CapacityLimiter] = {}
        self.under_way = 0
        self._idle = trio.Event()

    def on_welcome(self, link: Link, _welcome: Welcome) -> None:
        """Carry for a broker, which knows of no carrier in a new session."""
        self._sessions[link] = self._sessions.get(link, 0) + 1
        link.send(Carry(SCHEMES, self._credit))

    def on_message(self, link: Link, message: ToPeer) -> None:
        """Begin a delivery."""
        if isinstance(message, Forward):
            self.under_way += 1
            self._nursery.start_soon(self._deliver, link, self._sessions.get(link), message)

    async def finish(self) -> None:
        """Take no more deliveries, and let those under way end, for some time."""
        self._credit = 0
        self._brokers.tell(Carry(SCHEMES, 0))
        with trio.move_on_after(self._settings.drain_s):
            while self.under_way:
                self._idle = trio.Event()
                await self._idle.wait()

    async def _deliver(self, link: Link, session: int | None, forward: Forward) -> None:
        try:
            error = await self._attempt(forward)
        finally:
            self.under_way -= 1
            self._idle.set()
        if self._sessions.get(link) == session:
            answer = Forwarded(forward.address, forward.id, forward.version, error)
            link.send(answer)

    async def _attempt(self, forward: Forward) -> str | None:
        """Try to deliver; return what went wrong, None if nothing did."""
        try:
            post = make_post(forward, self._settings.keys, self._server_url, time.time())
            async with self._turn(post.host, post.port):
                # Deliveries to the host may have taken long, so it is signed anew.
                post = make_post(forward, self._settings.keys, self._server_url, time.time())
                return flaw_of(await self._poster.post(post))
        except trio.TooSlowError:
            return f"no answer within {self._settings.answer_s:g} s"
        except NotAllowedError as error:
            return str(error)
        except _NETWORK_ERRORS as error:
            return f"{type(error).__name__}: {error}"
        except Exception as error:
            # An error in here must not end the edge, which serves others as well.
            _LOG.exception("a delivery to %s has failed", forward.address)
            return f"{type(error).__name__}: {error}"

    @asynccontextmanager
    async def _turn(self, host: str, port: int) -> AsyncIterator[None]:
        """Wait until few enough deliveries to a host are under way."""
        key = (host, port)
        limiter = self._hosts.get(key)
        if limiter is None:
            limiter = self._hosts[key] = trio.CapacityLimiter(self._settings.host_max)
        try:
            async with limiter:
                yield
        finally:
            statistics = limiter.statistics()
            if not statistics.borrowed_tokens and not statistics.tasks_waiting:
                self._hosts.pop(key, None)


@asynccontextmanager
async def open_carrier(
    brokers: Brokers, settings: PushSettings, server_url: str
) -> AsyncIterator[PushCarrier]:
    """Carry for the brokers while the block runs; to be opened before they are met.

    Parameters
    ----------
    server_url
        The address of an edge, which receivers are told.
    """
    poster = Poster(settings)
    async with trio.open_nursery() as nursery:
        carrier = PushCarrier(brokers, settings, server_url, poster, nursery)
        brokers.follow(carrier.on_message, carrier.on_welcome)
        try:
            yield carrier
            await carrier.finish()
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                await poster.aclose()
