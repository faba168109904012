"""The node core's view of the world: a link to the broker, threads for functions, and a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from understudy_actors.activation import Run
from understudy_broker.protocol.messages import AnyCommand, Refused, Response, ToBroker

OnReply: TypeAlias = Callable[[Response | Refused], None]
#: takes a line that a person should see
Log: TypeAlias = Callable[[str], None]
#: takes a line and the exception that a function ended with
LogFailure: TypeAlias = Callable[[str, BaseException, bool], None]


class BrokerPort(Protocol):
    """The way to the brokers, of which there is often only one.

    Requests about one task are sent in order, and again after a reconnect, until they are answered.
    """

    def request(self, command: AnyCommand, on_reply: OnReply) -> object: ...
    def cork(self) -> None:
        """Hold back requests and messages until `uncork`, because more will follow."""

    def uncork(self) -> None: ...


class SessionPort(Protocol):
    """The session with one broker."""

    @property
    def connected(self) -> bool:
        """True from the broker's welcome to the end of the connection."""

    def send(self, message: ToBroker) -> object:
        """Send a message that is not answered; False: there is no session, so it is lost."""


class ExecutorPort(Protocol):
    """The place where routines are stepped; results come back through `NodeCore.stepped`."""

    def submit(self, run: Run) -> None: ...
    def withdraw(self, run: Run) -> bool:
        """Take back a run that has not begun; False: too late."""

    def close(self, run: Run) -> None:
        """Let go of a run's function, on the thread that it belongs to."""
