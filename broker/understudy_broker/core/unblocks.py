"""Unblocks: settled promises that are owed to addresses until these acknowledge them.

The store keeps what is owed; this part keeps it by group and finds the peer to send it to. An
address names a group (any connected peer of it will do, a preferred one first) or one peer
(semantics: Messages owed).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from understudy_broker.core.members import Members
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.messages import Unblock
from understudy_store.addresses import InvalidAddressError, parse_target
from understudy_store.records import PromiseRecord
from understudy_store.slots import slot_of


class Unblocks:
    """Owed unblocks by group, so that those for absent groups cost nothing.

    Parameters
    ----------
    hears
        Returns whether a peer may be told what is owed to its group.

    Attributes
    ----------
    owed
        Promises by id and address, by group; to be read only.
    """

    def __init__(self, hears: Callable[[Session], bool] = lambda _session: True) -> None:
        self._hears = hears
        self.owed: dict[str, dict[tuple[str, str], PromiseRecord]] = {}

    def __len__(self) -> int:
        return sum(len(owed) for owed in self.owed.values())

    def add(self, address: str, promise: PromiseRecord) -> None:
        """Owe a settled promise to an address."""
        group = parse_target(address).group
        self.owed.setdefault(group, {})[promise.id, address] = promise

    def acknowledge(self, id_: str, address: str) -> bool:
        """Owe it no longer; return whether it was owed."""
        try:
            group = parse_target(address).group
        except InvalidAddressError:
            return False
        owed = self.owed.get(group)
        if owed is None or owed.pop((id_, address), None) is None:
            return False
        if not owed:
            del self.owed[group]
        return True

    def forget(self, slots: Collection[int]) -> None:
        """Owe nothing about promises of these slots any more."""
        keys = [key for owed in self.owed.values() for key in owed if slot_of(key[0]) in slots]
        for id_, address in keys:
            self.acknowledge(id_, address)

    def route(self, address: str, sessions: Sessions, members: Members) -> Session | None:
        """Return the connected peer that an address means at this moment; None if none is.

        A member is reached through its edge.
        """
        target = parse_target(address)
        group = sessions.group(target.group)
        preferred = None if target.node is None else group.get(target.node)
        if preferred is not None and self._hears(preferred):
            return preferred
        member = members.route(target)
        if member is not None or target.cast == "uni":
            return member
        return next(filter(self._hears, group.values()), None)

    def may_go_to(self, session: Session, address: str, members: Members) -> bool:
        """Return whether an unblock for an address may have been sent to a peer."""
        try:
            target = parse_target(address)
        except InvalidAddressError:
            return False
        if target.group == session.group and self._hears(session):
            return target.cast != "uni" or target.node == session.name or session.kind == "edge"
        return session.kind == "edge" and members.carries(session, target.group)

    def for_group(
        self, name: str, sessions: Sessions, members: Members
    ) -> list[tuple[Session, Unblock]]:
        """Return all unblocks that can be sent to the peers of one group now, with their peers."""
        found: list[tuple[Session, Unblock]] = []
        for (_, address), promise in self.owed.get(name, {}).items():
            session = self.route(address, sessions, members)
            if session is not None:
                found.append((session, Unblock(address, promise)))
        return found
