"""What the node's core needs of the world: a link to the broker and threads to run functions on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from understudy_actors.activation import Run
from understudy_broker.protocol.messages import AnyCommand, Refused, Response, ToBroker

OnReply: TypeAlias = Callable[[Response | Refused], None]


class BrokerPort(Protocol):
    """The link. Requests are sent in order and again after a reconnect, until they are answered."""

    def request(self, command: AnyCommand, on_reply: OnReply) -> int: ...
    def send(self, message: ToBroker) -> object: ...
    def cork(self) -> None:
        """More follows: hold back what is asked and said until `uncork`."""

    def uncork(self) -> None: ...


class ExecutorPort(Protocol):
    """Where routines are stepped; results come back through `NodeCore.stepped`."""

    def submit(self, run: Run) -> None: ...
    def withdraw(self, run: Run) -> bool:
        """Take a run back that has not begun; False: too late."""

    def close(self, run: Run) -> None:
        """Let go of a run's function, on the thread that it belongs to."""
