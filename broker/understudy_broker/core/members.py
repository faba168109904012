"""Members: listeners of other protocols, which an edge attaches to groups. Part of the core, pure.

A member is in a group as a node with all functions and unlimited credit is, and it is given tasks
in turn with the nodes. But it acquires what it is offered itself, or does not. So the dispatcher
knows it under an address of its own (`address_of`), which is no pid and holds no lease; and what it
was offered and has not acquired when it goes is offered to others at once, because it will hardly
be acquired by somebody who is gone.

Several edges may attach the same name. It is then served by the first of them, until that one
detaches it or is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.sessions import Session, Sessions
from understudy_store.addresses import InvalidAddressError, Target, check_name
from understudy_store.machine import Execute, Machine

#: a member's credit, which is given back with each offer
_CREDIT: Final = 2**62
#: offers to one member that are remembered before those which were taken are forgotten
_OFFERED_MAX: Final = 1_024


def address_of(group: str, name: str) -> str:
    """Return the name under which the dispatcher knows a member; no pid has a slash."""
    return f"{group}/{name}"


class Member:
    """A name in a group, and the sessions that carry it; the first one does.

    Attributes
    ----------
    offered
        Versions of the tasks that were offered to it, by id; some are taken by now.
    """

    __slots__ = ("group", "name", "offered", "offered_max", "sessions")

    def __init__(self, group: str, name: str) -> None:
        self.group = group
        self.name = name
        self.sessions: list[Session] = []
        self.offered: dict[str, int] = {}
        self.offered_max = _OFFERED_MAX


class Members:
    """The register of members, and their part in the dispatcher.

    Attributes
    ----------
    by_address
        All members; to be read only.
    returned
        Tasks that were offered to members which are gone, for `PollScheme` to offer again.
    """

    def __init__(self, machine: Machine, dispatcher: Dispatcher, sessions: Sessions) -> None:
        self._machine = machine
        self._dispatcher = dispatcher
        self._sessions = sessions
        self.by_address: dict[str, Member] = {}
        self._by_group: dict[str, dict[str, Member]] = {}
        self.returned: list[Execute] = []

    def attach(self, session: Session, group: str, name: str) -> str | None:
        """Make a name a member of a group; return why that is refused, None if it is not."""
        try:
            check_name(group, "group")
            check_name(name, "name")
        except InvalidAddressError as error:
            return str(error)
        other = self._sessions.by_name.get(name)
        if other is not None and other.group == group:
            return f"the name {name!r} is in use by a {other.kind} of group {group!r}"
        address = address_of(group, name)
        member = self.by_address.get(address)
        if member is None:
            member = self.by_address[address] = Member(group, name)
            self._by_group.setdefault(group, {})[name] = member
            self._dispatcher.join(address, group, name)
            self._dispatcher.credit(address, _CREDIT)
        if session not in member.sessions:
            member.sessions.append(session)
        return None

    def detach(self, session: Session, group: str, name: str) -> None:
        """Take a name out of a group, unless another session carries it as well."""
        member = self.by_address.get(address_of(group, name))
        if member is not None and session in member.sessions:
            self._remove(member, session)

    def drop(self, session: Session) -> None:
        """Detach everything that a session carries, because it has ended."""
        for member in list(self.by_address.values()):
            if session in member.sessions:
                self._remove(member, session)

    def _remove(self, member: Member, session: Session) -> None:
        was_first = member.sessions[0] is session
        member.sessions.remove(session)
        if not member.sessions:
            address = address_of(member.group, member.name)
            del self.by_address[address]
            group = self._by_group[member.group]
            del group[member.name]
            if not group:
                del self._by_group[member.group]
            self._dispatcher.leave(address)
        if was_first:
            self.returned += self._untaken(member)
            member.offered.clear()

    # Offers --------------------------------------------------------------------------------------

    def offer(self, address: str, id_: str, version: int) -> Member | None:
        """Note that a task goes to a member; return that, None if the task is taken meanwhile."""
        self._dispatcher.refund(address)
        member = self.by_address.get(address)
        execute = self._machine.view.offer(id_)
        if member is None or execute is None or execute.version != version:
            return None
        member.offered[id_] = version
        if len(member.offered) > member.offered_max:
            member.offered = {each.id: each.version for each in self._untaken(member)}
            member.offered_max = max(_OFFERED_MAX, 2 * len(member.offered))
        return member

    def _untaken(self, member: Member) -> Iterator[Execute]:
        """Yield the offers to a member of which nothing has come yet."""
        for id_, version in list(member.offered.items()):
            execute = self._machine.view.offer(id_)
            if execute is not None and execute.version == version:
                yield execute

    # Unblocks ------------------------------------------------------------------------------------

    def groups(self) -> list[str]:
        """Return the names of the groups that have members."""
        return list(self._by_group)

    def carries(self, session: Session, group: str) -> bool:
        """Return whether a session carries a member of a group."""
        members = self._by_group.get(group, {})
        return any(session in member.sessions for member in members.values())

    def route(self, target: Target) -> Session | None:
        """Return the session that carries the member which an address means; None if none does."""
        group = self._by_group.get(target.group)
        if group is None:
            return None
        member = None if target.node is None else group.get(target.node)
        if member is None and target.cast == "any":
            member = next(iter(group.values()))
        return None if member is None else member.sessions[0]
