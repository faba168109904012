"""Credit: a node asks for as much work as keeps it busy while a frame travels, and no more."""

from __future__ import annotations

from typing import Final

from understudy_actors.node.ports import BrokerPort
from understudy_actors.node.state import NodeState
from understudy_broker.protocol.messages import Credit

#: weight of the newest batch in the running mean of service time
_WEIGHT: Final = 0.2
#: Lower bound of the mean, so that very short steps do not ask for unlimited work.
_FLOOR_MS: Final = 0.005


class CreditPolicy:
    """The number of tasks to have in hand, from measured service time.

    Parameters
    ----------
    slots
        Tasks that may run at the same time.
    ahead_ms
        Service time that the tasks beyond those should last for.
    ahead_max
        Most tasks beyond those.
    """

    __slots__ = ("_ahead_max", "_ahead_ms", "_mean_ms", "_slots", "target")

    def __init__(self, slots: int, ahead_ms: float, ahead_max: int) -> None:
        self._slots = slots
        self._ahead_ms = ahead_ms
        self._ahead_max = ahead_max
        self._mean_ms: float | None = None
        #: tasks to have in hand, running ones included
        self.target = slots

    def observe(self, count: int, busy_ms: float) -> None:
        """Take in that `count` steps took `busy_ms` in all."""
        if count <= 0:
            return
        mean_ms = max(busy_ms / count, _FLOOR_MS)
        if self._mean_ms is not None:
            mean_ms = self._mean_ms + (mean_ms - self._mean_ms) * _WEIGHT
        self._mean_ms = mean_ms
        self.target = self._slots + min(self._ahead_max, int(self._ahead_ms / mean_ms))

    def observe_stuck(self, waited_ms: float) -> None:
        """Take in that queued work has not moved for that long: what runs is at least as slow."""
        if self._mean_ms is None or waited_ms > self._mean_ms:
            self._mean_ms = waited_ms
            self.target = self._slots + min(self._ahead_max, int(self._ahead_ms / waited_ms))


class CreditAccount:
    """The credit of one session: how much was announced, and how much is used up.

    Both sides count tasks since the session began. The broker hands out a task only while it has
    handed out fewer than the total that the node has announced, so no message that is lost or
    repeated can make it hand out too much.
    """

    def __init__(self, state: NodeState, link: BrokerPort) -> None:
        config = state.config
        self.policy = CreditPolicy(config.concurrency, config.ahead_ms, config.ahead_max)
        self._state = state
        self._link = link
        #: slots of functions that wait for other calls: so many more may run
        self.lent = 0
        self._received = 0
        self._granted = 0

    def new_session(self) -> int:
        """Count anew; return the credit to be announced at the join."""
        self._received = 0
        self._granted = self._room if self._state.serving else 0
        return self._granted

    def use(self) -> None:
        """Count a task that the broker has handed over."""
        self._received += 1

    def grant(self) -> None:
        """Announce room for more tasks, if there is more of it."""
        state = self._state
        if not state.serving:
            return
        total = self._received + self._room
        # Without a session the announcement is lost, and the next session counts anew.
        if total > self._granted and self._link.send(Credit(total)) is not False:
            self._granted = total

    @property
    def _room(self) -> int:
        return max(0, self.policy.target + self.lent - self._state.running)

    @property
    def left(self) -> int:
        """Tasks that the broker may still send."""
        return self._granted - self._received
