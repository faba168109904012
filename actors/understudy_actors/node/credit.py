"""Credit: a node asks for as much work as keeps it busy while a frame travels, and no more."""

from __future__ import annotations

from typing import Final

from understudy_actors.node.ports import SessionPort
from understudy_actors.node.state import NodeState
from understudy_broker.protocol.messages import Credit

#: weight of the newest batch in the running mean of service time
_WEIGHT: Final = 0.2
#: weight of what was before in the mean of what a broker has sent lately, at each announcement
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

    __slots__ = ("granted", "lively", "received")

    def __init__(self, granted: int) -> None:
        self.received = 0
        self.granted = granted
        #: the tasks of this session among the last ones, in a mean that fades
        self.lively = 0.0

    @property
    def left(self) -> int:
        """Tasks that the broker may still send."""
        return self.granted - self.received


class CreditAccounts:
    """The credit of a node at its brokers, of which there is often only one.

    What there is room for is announced to the only broker, or shared out: each broker may send one
    task at least, since otherwise its tasks would wait for those of others, and the rest goes to
    them as they have sent tasks lately. So with n brokers a node may get n - 1 tasks more than it
    has room for.
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
        account = self._accounts[session] = CreditAccount(0)
        if self._state.serving:
            account.granted = self._shares()[session]
        return account.granted

    def end_session(self, session: SessionPort) -> None:
        """Forget the session of a broker that is gone for good."""
        self._accounts.pop(session, None)

    def use(self, session: SessionPort) -> None:
        """Count a task that a broker has handed over."""
        account = self._accounts[session]
        account.received += 1
        account.lively += 1.0

    def grant(self) -> None:
        """Announce room for more tasks, if there is more of it."""
        if not self._state.serving:
            return
        for session, share in self._shares().items():
            account = self._accounts[session]
            total = account.received + share
            # Without a session the announcement is lost, and the next session counts anew.
            if total > account.granted and session.send(Credit(total)) is not False:
                account.granted = total

    def _shares(self) -> dict[SessionPort, int]:
        """Return the tasks that each broker may send now."""
        accounts = self._accounts
        if len(accounts) < 2:
            return dict.fromkeys(accounts, self._room)
        # What was announced cannot be taken back, so only the rest is shared out.
        weights = {session: 1.0 + account.lively for session, account in accounts.items()}
        for account in accounts.values():
            account.lively *= _FADING
        total = sum(weights.values())
        room = self._room
        return {session: max(1, int(room * weight / total)) for session, weight in weights.items()}

    @property
    def _room(self) -> int:
        return max(0, self.policy.target + self.lent - self._state.running)

    @property
    def left(self) -> int:
        """Tasks that the brokers may still send."""
        return sum(account.left for account in self._accounts.values())
