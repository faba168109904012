"""A broker as a peer of all brokers: `understudy_broker.server.slot_link`, in one thread."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.linked import Linked
from tests.simulation.links import Link
from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    SlotCommand,
    SlotMap,
    Welcome,
)
from understudy_broker.server.sharing import Sharing

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost
    from tests.simulation.world import World

#: The group of all brokers.
GROUP = "understudy.brokers"


class SlotPeer(Linked):
    """Sends the requests of a broker to the owners of slots, and keeps the answers for its loop."""

    knows_all = False

    def __init__(self, world: World, broker: BrokerHost) -> None:
        super().__init__(world, broker.name)
        self.broker = broker
        self._answers: list[tuple[SlotCommand, Answer]] = []
        #: What the broker of a shared store does about its slots; None: it shares none.
        self.sharing: Sharing | None = None

    def start(self) -> None:
        """Connect the broker's new process."""
        self.epoch += 1
        self.alive = True
        # The name is new at each start, so that nobody else has it.
        self.name = f"{self.broker.name}.{self.broker.epoch}"
        self.frozen_until = self.broker.frozen_until
        self._answers = []
        self.open_links(self.broker)

    def end(self) -> None:
        """Close the connections, because the broker's process has ended."""
        self.alive = False
        self.sharing = None
        self.epoch += 1
        for link in self.links:
            connection = link.end()
            if connection is not None:
                connection.left_by_peer()

    def send(self, commands: Iterable[SlotCommand]) -> None:
        """Send commands; each is answered once."""
        for command in commands:
            self.world.counts["requests between slots"] += 1
            self.request(command, partial(self._take, command))
        self.flush()

    def _take(self, command: SlotCommand, answer: Answer) -> None:
        self._answers.append((command, answer))
        self.broker.wake(0)

    def take_answers(self) -> list[tuple[SlotCommand, Answer]]:
        """Return the commands that were answered since the last call, with their answers."""
        answers, self._answers = self._answers, []
        return answers

    @property
    def idle(self) -> bool:
        """True if everything that was sent is answered, and the answers were taken."""
        return not self.unanswered and not self._answers

    # The links -----------------------------------------------------------------------------------

    def hello(self, link: Link) -> Hello:
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind="broker",
            group=GROUP,
            name=self.name,
            boot=str(self.broker.epoch),
            os_pid=1,
            host="sim",
            sdk="broker",
        )

    def is_busy(self) -> bool:
        return False

    def on_other_map(self, slots: SlotMap) -> None:
        if self.sharing is not None:
            self.sharing.on_other_map(slots)

    def on_welcome(self, link: Link, welcome: Welcome, reconnected: bool) -> None:
        self._reachable(link, is_reachable=True)

    def on_disconnected(self, link: Link) -> None:
        self._reachable(link, is_reachable=False)

    def _reachable(self, link: Link, *, is_reachable: bool) -> None:
        if self.sharing is not None and link.broker is not self.broker:
            self.sharing.on_reachable(f"inproc://{link.broker.name}", is_reachable)
