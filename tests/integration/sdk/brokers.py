"""Two brokers that share the slots, each with a store of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from understudy_broker.core.config import BrokerConfig
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import owners
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.slots import slot_of


class Two(NamedTuple):
    """Two brokers, and ids that live at each."""

    slots: SlotMap
    directory: Path
    running: dict[str, EmbeddedBroker]

    def start(self, name: str, deployment: str = "shop", **more: Any) -> EmbeddedBroker:
        config = BrokerConfig(name=name, deployment=deployment, slots=self.slots, **more)
        store = f"sqlite:///{self.directory}/{name}.db"
        broker = self.running[name] = EmbeddedBroker(store, self.url(name), config=config)
        broker.start()
        return broker

    def url(self, name: str) -> str:
        return dict(self.slots.brokers)[name]

    def ids(self, name: str, count: int, prefix: str = "call") -> list[str]:
        """Return ids whose slots a broker owns."""
        names = owners(self.slots)
        found = (f"{prefix}-{number}" for number in range(10_000))
        mine = (id_ for id_ in found if names[slot_of(id_)] == name)
        return [next(mine) for _ in range(count)]
