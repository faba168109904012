"""The slots of this broker, and the map of slots that its peers are told. Pure."""

from __future__ import annotations

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import AnyCommand
from understudy_broker.protocol.placement import owners, slots_concerned
from understudy_store.slots import slot_of


class OwnSlots:
    """Says which slots are this broker's, and which map its peers are told.

    Attributes
    ----------
    map
        The map that peers are told; None: this broker owns all slots, for good.
    mine
        The slots whose requests are performed here; to be read only.
    came_at
        When slots have come to this broker last; None: never.
    """

    def __init__(self, config: BrokerConfig) -> None:
        self.map = config.slots
        self.mine: set[int] = set()
        self.came_at: int | None = None
        if config.slots is not None:
            names = owners(config.slots)
            self.mine = {slot for slot, name in enumerate(names) if name == config.name}

    def has(self, command: AnyCommand) -> bool:
        """Return whether a command concerns slots of this broker only, or all brokers."""
        return self.map is None or self.mine.issuperset(slots_concerned(command))

    def has_id(self, id_: str) -> bool:
        """Return whether the slot of an id is performed here."""
        return self.map is None or slot_of(id_) in self.mine

    def refuses(self, session: Session, command: AnyCommand) -> bool:
        """Return whether a command is to be refused because of its slots.

        Once one was, all later ones of the session about the same slot are, even if the slot has
        come meanwhile: or a later one would be performed before that one, which is sent again.
        """
        if self.map is None:
            return False
        slots = slots_concerned(command)
        refused = session.refused_slots
        if self.mine.issuperset(slots) and (refused is None or refused.isdisjoint(slots)):
            return False
        session.refused_slots = {*(refused or ()), *slots}
        return True
