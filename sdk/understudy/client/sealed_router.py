"""A router whose requests are sealed, and whose answers are opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from understudy.client.sealed_records import SealedRecords
from understudy_broker.link.router import Router
from understudy_broker.protocol.messages import AnyCommand, Refused, Response
from understudy_broker.transport.loop_lock import LoopLock

_OnReply: TypeAlias = Callable[[Response | Refused], None]


class SealedRouter:
    """The brokers, as a node and its callers see them. Fills `node.shell.LinkPort`.

    What the brokers send unasked passes by here: whoever gets it opens it with `records`.
    """

    def __init__(self, router: Router, records: SealedRecords) -> None:
        self._router = router
        self._records = records

    def request(self, command: AnyCommand, on_reply: _OnReply) -> object:
        """Send a command with its values sealed; `on_reply` gets the answer with its opened."""
        records = self._records
        return self._router.request(
            records.seal(command), lambda answer: on_reply(records.open_answer(answer))
        )

    def cork(self) -> None:
        """Hold back requests until `uncork`."""
        self._router.cork()

    def uncork(self) -> None:
        """Send what was held back."""
        self._router.uncork()

    def poll(self, loop_lock: LoopLock, timeout_s: float, on_polled: Callable[[], None]) -> bool:
        """Wait for messages and act on them; see `Router.poll`."""
        return self._router.poll(loop_lock, timeout_s, on_polled)

    def interrupt(self) -> None:
        """Make `poll` return at once."""
        self._router.interrupt()
