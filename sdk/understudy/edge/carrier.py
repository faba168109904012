"""The edge as a carrier: it takes deliveries from the brokers, makes them, and says how they ended.

The brokers decide what is delivered when, and how often it is tried (`core.relay_scheme` there).
The edge makes one attempt for each `Forward`, and answers it. It answers only in the session in
which it was asked, because a broker that has lost the session has given the delivery to somebody
else.

How an attempt is made depends on the scheme of the address: a `Deliver` function for each scheme,
which has time limits of its own, because a delivery without an end keeps a part of the credit.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import trio

from understudy.edge.brokers import Brokers
from understudy.errors import UnderstudyError
from understudy_broker.link.link import Link
from understudy_broker.protocol.messages import Carry, Forward, Forwarded, ToPeer, Welcome
from understudy_store.addresses import scheme_of

#: how long deliveries may go on once the edge is to end
DRAIN_S: Final = 5.0

#: the longest rest of a receiver that is told; brokers bound it themselves
_REST_S_MAX: Final = 86_400.0

_LOG: Final = logging.getLogger("understudy.edge")


class DeliveryError(UnderstudyError):
    """A delivery was not made; the message says why.

    Attributes
    ----------
    again_ms
        When the offer of a task is to be made again; None: at the usual time.
    retry_after_s
        How long the receiver wants to be left alone, if it has said so.
    refused
        This process may not deliver there; another one may.
    """

    def __init__(
        self,
        text: str,
        *,
        again_ms: int | None = None,
        retry_after_s: float | None = None,
        refused: bool = False,
    ) -> None:
        super().__init__(text)
        self.again_ms = again_ms
        self.retry_after_s = retry_after_s
        self.refused = refused


#: Makes one delivery, and returns once the receiver has taken it. Raises `DeliveryError` if that is
#: not so. It is called on the loop of the edge, for as many deliveries at a time as the credit.
#: What it returns is when the offer of a task is made again if nobody has acquired the task, in
#: milliseconds; None: at the usual time.
Deliver: TypeAlias = Callable[[Forward], Awaitable[int | None]]


class Carrier:
    """The deliveries of one edge; see `open_carrier`.

    Attributes
    ----------
    under_way
        How many there are.
    """

    def __init__(
        self,
        brokers: Brokers,
        deliver: Mapping[str, Deliver],
        credit: int,
        nursery: trio.Nursery,
        places: Sequence[str] = (),
        *,
        ready: bool = True,
    ) -> None:
        self._brokers = brokers
        self._deliver = deliver
        self._credit = credit
        self._nursery = nursery
        self._places = tuple(places)
        self._is_ready = ready
        #: how many sessions there have been with each broker
        self._sessions: dict[Link, int] = {}
        self.under_way = 0
        self._idle = trio.Event()

    def on_welcome(self, link: Link, _welcome: Welcome) -> None:
        """Carry for a broker, which knows of no carrier in a new session."""
        self._sessions[link] = self._sessions.get(link, 0) + 1
        link.send(self._carry())

    def on_message(self, link: Link, message: ToPeer) -> None:
        """Begin a delivery."""
        if isinstance(message, Forward):
            self.under_way += 1
            self._nursery.start_soon(self._forward, link, self._sessions.get(link), message)

    def set_ready(self, ready: bool) -> None:
        """Take deliveries, or take none for now; those under way go on."""
        if self._is_ready != ready:
            self._is_ready = ready
            self._brokers.tell(self._carry())

    async def finish(self) -> None:
        """Take no more deliveries, and let those under way end, for some time."""
        self.set_ready(False)
        with trio.move_on_after(DRAIN_S):
            while self.under_way:
                self._idle = trio.Event()
                await self._idle.wait()

    def _carry(self) -> Carry:
        return Carry(tuple(self._deliver), self._credit if self._is_ready else 0, self._places)

    async def _forward(self, link: Link, session: int | None, forward: Forward) -> None:
        try:
            error, again_ms = await self._attempt(forward)
        finally:
            self.under_way -= 1
            self._idle.set()
        if self._sessions.get(link) == session:
            link.send(_answer(forward, error, again_ms))

    async def _attempt(self, forward: Forward) -> tuple[DeliveryError | None, int | None]:
        """Try to deliver; return what went wrong, if anything, and when it may be tried again."""
        try:
            return None, await self._deliver[scheme_of(forward.address)](forward)
        except DeliveryError as error:
            return error, error.again_ms
        except Exception as error:
            # An error in here must not end the edge, which serves others as well.
            _LOG.exception("a delivery to %s has failed", forward.address)
            return DeliveryError(f"{type(error).__name__}: {error}"), None


def _answer(forward: Forward, error: DeliveryError | None, again_ms: int | None) -> Forwarded:
    rest_s = None if error is None else error.retry_after_s
    return Forwarded(
        forward.address,
        forward.id,
        forward.version,
        None if error is None else str(error),
        again_ms,
        None if rest_s is None else round(min(rest_s, _REST_S_MAX) * 1_000),
        error is not None and error.refused,
    )


@asynccontextmanager
async def open_carrier(
    brokers: Brokers,
    deliver: Mapping[str, Deliver],
    credit: int,
    places: Sequence[str] = (),
    *,
    ready: bool = True,
) -> AsyncIterator[Carrier]:
    """Carry for the brokers while the block runs; to be opened before they are met.

    Parameters
    ----------
    deliver
        What delivers to the addresses of each scheme.
    credit
        Deliveries under way for each broker, of all schemes together.
    places
        The only places of these schemes that it delivers to. Empty: all of them.
    ready
        Whether it takes deliveries from the beginning, without `set_ready`.
    """
    async with trio.open_nursery() as nursery:
        carrier = Carrier(brokers, deliver, credit, nursery, places, ready=ready)
        brokers.follow(carrier.on_message, carrier.on_welcome)
        yield carrier
        await carrier.finish()
        nursery.cancel_scope.cancel()
