"""Credit: a node asks for as much work as keeps it busy while a frame travels, and no more."""

from __future__ import annotations

from typing import Final

from understudy_actors.node.ports import SessionPort
from understudy_actors.node.state import NodeState
from understudy_broker.protocol.messages import Credit

#: weight of the newest batch in the running mean of service time
_WEIGHT: Final = 0.2
#: what remains of the tasks sent lately at each announcement
_FADING: Final = 0.9
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

    __slots__ = ("granted", "received", "recent")

    def __init__(self) -> None:
        self.received = 0
        self.granted = 0
        #: how many tasks the broker has sent lately: a sum that fades
        self.recent = 0.0

    @property
    def left(self) -> int:
        """Tasks that the broker may still send."""
        return self.granted - self.received


class CreditAccounts:
    """The credit of a node at its brokers, of which there is often only one.

    A single broker is told of all the room there is. Several share it, as they have sent tasks
    lately. Each may always send one task, because otherwise its tasks would wait for those of
    others.

    What is not perfect: an announcement cannot be taken back. If the tasks come from other brokers
    than before, more of them may arrive than there is room for, up to the whole room from each.
    Those that have to wait are then offered to other nodes (`NodeCore.give_back`). To count what is
    promised to quiet brokers as taken would be worse, because the busy ones could not send.
    """

    def __init__(self, state: NodeState) -> None:
        config = state.config
        self.policy = CreditPolicy(config.concurrency, config.ahead_ms, config.ahead_max)
        self._state = state
        #: slots of functions that wait for other calls: so many more may run
        self.lent = 0
        self._accounts: dict[SessionPort, CreditAccount] = {}

    def new_session(self, session: SessionPort) -> int:
        """Count anew; return the credit to be announced at the join."""
        account = self._accounts[session] = CreditAccount()
        if self._state.serving:
            account.granted = self._totals(joining=session)[session]
        return account.granted

    def end_session(self, session: SessionPort) -> None:
        """Forget the session of a broker that is gone for good."""
        self._accounts.pop(session, None)

    def use(self, session: SessionPort) -> None:
        """Count a task that a broker has handed over."""
        account = self._accounts[session]
        account.received += 1
        account.recent += 1.0

    def grant(self) -> None:
        """Announce room for more tasks, if there is more of it."""
        if not self._state.serving:
            return
        for session, total in self._totals().items():
            account = self._accounts[session]
            # Without a session the announcement is lost, and the next session counts anew.
            if total > account.granted and session.send(Credit(total)) is not False:
                account.granted = total

    def _totals(self, joining: SessionPort | None = None) -> dict[SessionPort, int]:
        """Return the total to announce in each session, `joining` included."""
        accounts = {
            session: account
            for session, account in self._accounts.items()
            if session.connected or session is joining
        }
        if len(accounts) < 2:
            return {session: each.received + self.room for session, each in accounts.items()}
        sum_of_weights = sum(1.0 + account.recent for account in accounts.values())
        totals: dict[SessionPort, int] = {}
        for session, account in accounts.items():
            share = self.room * (1.0 + account.recent) / sum_of_weights
            account.recent *= _FADING
            totals[session] = account.received + max(1, round(share))
        return totals

    @property
    def room(self) -> int:
        """The number of tasks that there is room for."""
        return max(0, self.policy.target + self.lent - self._state.running)

    def left_of(self, session: SessionPort) -> int:
        """Return how many tasks the broker of a session may still send."""
        account = self._accounts.get(session)
        return 0 if account is None else account.left

    @property
    def left(self) -> int:
        """Tasks that the brokers may still send."""
        return sum(account.left for account in self._accounts.values())
