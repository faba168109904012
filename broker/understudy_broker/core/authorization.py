"""Authorization: the one rule that says which peer may ask for which command.

`RequestHandlers.perform` asks the rule before it performs anything; nothing else does. The rule is
a pure function, given as `BrokerConfig.authorize`. The default permits everything: to anyone who
can reach the broker, or, if it asks for keys, to anyone whose key it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from understudy_broker.protocol.messages import AnyCommand, PeerKind


class Identity(Protocol):
    """A peer as it introduced itself in its `Hello`; `core.sessions.Session` is one.

    Only `identity` is proven, by the peer's key; it is None if the broker asks for no keys.
    """

    @property
    def kind(self) -> PeerKind: ...
    @property
    def group(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> str: ...
    @property
    def identity(self) -> str | None: ...


#: Returns None to permit a command, or the text of the refusal: the reply has status 403 then.
Authorize: TypeAlias = Callable[[Identity, AnyCommand], str | None]


def permit_all(_identity: Identity, _command: AnyCommand) -> str | None:
    """Permit every command to every peer."""
    return None
