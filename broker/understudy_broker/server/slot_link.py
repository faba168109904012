"""The links of a broker to all brokers of its deployment, by which it asks the owners of slots.

A broker is a peer of all brokers, its own self included: so a request between two of its own slots
takes the same way as one to another broker, and finds its slot wherever that goes. The links live
in a task beside the broker's loop and never touch its core: answers are left for the next turn.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import trio
import zmq

from understudy_broker.core.config import BrokerConfig
from understudy_broker.errors import LinkError, LinkFullError
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.link.link import Link
from understudy_broker.link.router import Router, open_router
from understudy_broker.link.session import Answer
from understudy_broker.link.way import Direct
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    Refused,
    SlotCommand,
    SlotMap,
    ToPeer,
    Welcome,
)
from understudy_broker.protocol.placement import owners
from understudy_broker.server.logs import Log
from understudy_broker.server.placement import SlotConflictError, conflict, runs_text

#: the group of all brokers; no function is in it
GROUP: Final = "understudy.brokers"
#: how long to wait before the links are opened anew, after they were refused for good
REOPEN_S: Final = 1.0


class SlotLink:
    """Sends requests to the owners of slots, and keeps the answers for the broker's loop.

    Parameters
    ----------
    wake
        Ends the pause of the broker's loop.
    keys
        Those by which the brokers of the deployment reach each other; None: they have none.
    """

    def __init__(
        self,
        config: BrokerConfig,
        log: Log,
        wake: Callable[[], None],
        keys: PeerKeys | None = None,
    ) -> None:
        self._way = Direct(keys)
        self._config = config
        self._log = log
        self._wake = wake
        assert config.slots is not None
        #: of this broker
        self._url = dict(config.slots.brokers)[config.name]
        self._boot = secrets.token_hex(4)
        #: called with the address of another broker when it can be reached, or not any more
        self.on_reachable: Callable[[str, bool], None] | None = None
        #: called with each map that a broker tells; None: nobody wants to know
        self.on_other_map: Callable[[SlotMap], None] | None = None
        self._router: Router | None = None
        #: sent to no router yet, and those that have no answer
        self._waiting: list[SlotCommand] = []
        self._unanswered: dict[int, SlotCommand] = {}
        self._answers: list[tuple[SlotCommand, Answer]] = []
        #: why this broker must not go on; None: it may
        self._conflict: SlotConflictError | None = None
        #: links that are being replaced, because slots have moved
        self._rejoining: set[Link] = set()

    # The broker's loop ---------------------------------------------------------------------------

    def send(self, commands: Iterable[SlotCommand]) -> None:
        """Send commands; each is answered once."""
        self._waiting += commands
        if self._waiting and self._router is not None:
            self._send_waiting(self._router)

    def take_answers(self) -> list[tuple[SlotCommand, Answer]]:
        """Return the commands that were answered since the last call, with their answers.

        Raises
        ------
        SlotConflictError
            Another broker has slots that this one has.
        """
        if self._conflict is not None:
            raise self._conflict
        answers, self._answers = self._answers, []
        return answers

    # The links -----------------------------------------------------------------------------------

    async def run(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Keep the links open, for ever."""
        while True:
            try:
                async with open_router(self._url, self, context=context, way=self._way) as router:
                    self._router = router
                    self._send_waiting(router)
                    await trio.sleep_forever()
            except* LinkError as refused:
                text = "the links to the brokers of this deployment have ended; opening them again"
                self._log("error", text, {"reason": str(refused.exceptions[0])})
            finally:
                self._router = None
                self._give_up()
            await trio.sleep(REOPEN_S)

    def _send_waiting(self, router: Router) -> None:
        waiting, self._waiting = self._waiting, []
        router.cork()
        for command in waiting:
            self._unanswered[id(command)] = command
            try:
                router.request(command, partial(self._take, command))
            except LinkFullError as error:
                self._take(command, Refused(429, str(error)))
        router.uncork()

    def _take(self, command: SlotCommand, answer: Answer) -> None:
        if self._unanswered.pop(id(command), None) is not None:
            self._answers.append((command, answer))
            self._wake()

    def _give_up(self) -> None:
        """Answer what the links that have ended will not answer any more."""
        for command in list(self._unanswered.values()):
            self._take(command, Refused(503, "the links to the brokers have ended"))

    # The peer, as its router calls it ------------------------------------------------------------

    def hello(self, _link: Link) -> Hello:
        """Introduce this broker. The name is new at each start, so that nobody else has it."""
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind="broker",
            group=GROUP,
            name=f"{self._config.name}.{self._boot}",
            boot=self._boot,
            os_pid=os.getpid(),
            host=socket.gethostname()[:255],
            sdk="broker",
        )

    def on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        """Do nothing: brokers tell one another nothing unasked."""

    def on_connected(self, link: Link, welcome: Welcome) -> None:
        """Log that another broker is there."""
        if welcome.broker != self._config.name:
            if self.on_reachable is not None:
                self.on_reachable(link.url, True)
            level = "debug" if link in self._rejoining else "info"
            self._rejoining.discard(link)
            self._log(level, "linked with a broker", {"broker": welcome.broker, "url": link.url})
            self._compare(welcome)

    def _compare(self, welcome: Welcome) -> None:
        """Have this broker stop if another one says that slots of this one are not its own."""
        mine, theirs, name = self._config.slots, welcome.slots, self._config.name
        if not self._config.slots_are_stored or mine is None or theirs is None:
            return
        if welcome.deployment != self._config.deployment:
            return
        if taken := conflict(mine, name, theirs):
            others = sorted({owners(theirs)[slot] or "nobody" for slot in taken})
            self._conflict = SlotConflictError(
                f"the store of this broker, {name!r}, has the slots {runs_text(taken)}, but the "
                f"broker {welcome.broker!r} knows that {' and '.join(others)} has them since the "
                "same time or a later one. This broker stops, so that no call is made twice: was "
                "its store put back from a copy, or is it that of a single broker, beside others?"
            )
            self._wake()

    def on_disconnected(self, link: Link, why: str) -> None:
        """Log that a link to another broker has ended; it is opened again by itself."""
        # While this broker itself stops, in the last moments of a task that is canceled, all end.
        stopping = trio.current_effective_deadline() == -math.inf
        if link.url != self._url and not stopping:
            if self.on_reachable is not None:
                self.on_reachable(link.url, False)
            # A broker that says goodbye was told to stop. A move of slots may replace links.
            level = "info" if link.broker_left else "warning"
            if link.rejoins and not link.broker_left:
                level = "debug"
                self._rejoining.add(link)
            self._log(level, "a link to a broker has ended", {"url": link.url, "reason": why})

    def on_link(self, link: Link) -> None:
        """Do nothing: all links are the router's."""

    def on_gone(self, link: Link) -> None:
        """Forget a link."""
        self._rejoining.discard(link)

    def is_busy(self) -> bool:
        """Return False: only unanswered requests are at stake, and a link knows of those."""
        return False

    def on_map(self, _link: Link, slots: SlotMap) -> None:
        """Pass on the map that another broker tells."""
        if self.on_other_map is not None:
            self.on_other_map(slots)

    def minds_moves(self) -> bool:
        """Return False: a broker holds no tasks of others, and watches nothing."""
        return False

    def leaves(self) -> bool:
        """Return False: other brokers need not be told, and this one answers no goodbye by now."""
        return False
