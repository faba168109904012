"""The deliveries of a connector: which queues it may put into, and the messages.

Anyone who may call can name a target, so a connector delivers only to its own server, and there
only to queues that its user has allowed. The message is that of a push (`edge.push.posts`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from understudy.connectors.port import RefusedError, ServerAwayError
from understudy.edge.carrier import DeliveryError
from understudy.edge.resonate.messages import execute_json, unblock_json
from understudy.queues.addresses import QueueNameError, Server, allows, queue_of
from understudy_broker.core.carriers import place_of
from understudy_broker.protocol.messages import Forward

#: when the offer of a task is made again whose message is in a queue, at the earliest
AGAIN_MS: Final = 600_000
#: when one is made again that has found the server away
_AWAY_MS: Final = 1_000
#: when one is made again that was refused: by then somebody may have corrected what is wrong
_REFUSED_MS: Final = 60_000

_encode = msgspec.json.Encoder().encode


class Deliveries:
    """The deliveries of one connector.

    Parameters
    ----------
    server
        The server.
    patterns
        The queues that may be put into.
    put
        Puts a message into a queue; raises as `QueueServer.put`.
    edge_url
        The address of an edge, for receivers that are no runtimes of this library.
    """

    def __init__(
        self,
        server: Server,
        patterns: Sequence[str],
        put: Callable[[str, bytes], Awaitable[None]],
        *,
        again_ms: int = AGAIN_MS,
        edge_url: str = "",
    ) -> None:
        self._server = server
        self._patterns = tuple(patterns)
        self._put = put
        self._again_ms = again_ms
        self._edge_url = edge_url

    async def deliver(self, forward: Forward) -> int:
        """Put a message into the queue of an address; see `edge.carrier.Deliver`.

        Raises
        ------
        DeliveryError
        """
        queue = self.queue_for(forward.address)
        try:
            await self._put(queue, self._body(forward))
        except ServerAwayError as error:
            raise DeliveryError(str(error), again_ms=_AWAY_MS) from None
        except RefusedError as error:
            text = f"{self._server.label} refuses {queue!r}: {error}"
            raise DeliveryError(text, again_ms=_REFUSED_MS) from None
        return self._again_ms

    def queue_for(self, address: str) -> str:
        """Return the queue of an address, if it is one of those that may be put into.

        Raises
        ------
        DeliveryError
        """
        if place_of(address) not in self._server.places:
            raise _refused(f"this connector is for {self._server.label}")
        try:
            queue = queue_of(address)
        except QueueNameError as error:
            raise _refused(str(error)) from None
        if queue.space != self._server.space:
            raise _refused(f"this connector is for {self._server.label}")
        if not allows(self._patterns, queue.name):
            raise _refused(f"the connector allows no queue {queue.name!r} (--queue)")
        return queue.name

    def _body(self, forward: Forward) -> bytes:
        if forward.promise is not None:
            return _encode(unblock_json(forward.promise))
        return _encode(execute_json(forward.id, forward.version, self._edge_url))


def _refused(text: str) -> DeliveryError:
    return DeliveryError(text, again_ms=_REFUSED_MS, refused=True)
