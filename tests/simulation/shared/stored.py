"""The database that the brokers of a world share, and the faults that it suffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.simulation.observations import Count, Durable
from tests.simulation.shared.driver import Database
from tests.simulation.shared.ledger import Ledger
from tests.simulation.shared.patches import in_world
from tests.simulation.shared.server import Server
from tests.simulation.shared.shared_store import SharedStore
from understudy_store.records import Row
from understudy_store.slots import slot_of

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost
    from tests.simulation.world import World

#: From the fair phase until each slot has an owner that lives and has loaded it: the patience of
#: those that opened the store, a lease in which nobody is judged, one until a pulse is old, and
#: what the last connections of a machine that is gone may take.
PROGRESS_MS: Final = 20_000


class SharedDatabase:
    """All that is stored, in one database; see `stored.Stored`."""

    def __init__(self, world: World, brokers: Sequence[BrokerHost], count: Count) -> None:
        self._world = world
        self.durable = Durable(count)
        self.ledger = Ledger(world, self.durable)
        self.server = Server(world, self.ledger)
        self.database = Database(world, self.server)
        self.ledger.server = self.server
        self._stores = {
            broker.name: SharedStore(broker, self.database, self.ledger) for broker in brokers
        }
        self._brokers = brokers
        for broker in brokers:
            broker.storage = self._stores[broker.name]

    def owner(self, id_: str) -> BrokerHost | None:
        writer = self.server.tables["slot"][slot_of(id_)].writer
        if writer is None:
            return None
        for broker in self._brokers:
            if self._stores[broker.name].writer == writer:
                return broker
        return None

    def row(self, id_: str) -> Row | None:
        return self.ledger.disk.rows.get(id_)

    @property
    def rows(self) -> Mapping[str, Row]:
        return self.ledger.disk.rows

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with in_world(self.database, self._world.rng):
            try:
                yield
            finally:
                for store in self._stores.values():
                    store.end()

    def heal(self) -> None:
        self.server.start()
        self.database.cut_off.clear()
        # It notices whose machine is gone, as keepalives would have it some time later.
        for session in [each for each in self.server.sessions if each.client is None]:
            session.end()
        self._world.after(PROGRESS_MS, self._check_progress)

    def _check_progress(self) -> None:
        """Check that no slot stands still."""
        left = self.unfinished()
        for broker in self._brokers:
            if not broker.has_retired:
                left += self._stores[broker.name].misplaced()
        if left:
            self._world.fail(f"p28: slots stand still: {left}")

    def unfinished(self) -> list[str]:
        """Return which slots have no owner that lives."""
        writers = {self._stores[each.name].writer for each in self._brokers if each.alive}
        slots = self.server.tables["slot"].items()
        lost = [slot for slot, row in slots if row.writer not in writers]
        return [f"{len(lost)} slots have no broker: {lost[:3]}"] if lost else []

    # Faults --------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Cut some connections of brokers."""
        connections = list(self.database.connections)
        for _ in range(self._world.pick((1, 1, 2, 4))):
            if connections:
                place = int(self._world.rng.random() * len(connections))
                self.database.cut(connections.pop(place))

    def cut_off(self, broker: BrokerHost) -> None:
        """Cut a broker off from the database for a while."""
        world = self._world
        ms = world.pick((50, 1_500, 4_000, 9_000))
        self.database.cut_off[broker.name] = world.now + ms
        process = self._stores[broker.name].process
        if process is not None:
            process.hindered_until = max(process.hindered_until, world.now + ms)
        for connection in list(self.database.connections):
            if connection.process is process:
                self.database.cut(connection)

    def stop(self, *, fails_over: bool) -> None:
        """Stop the database for a while; a synchronous standby may take its place."""
        world, server = self._world, self.server
        if not server.is_up:
            return
        server.stop()
        world.counts["failovers" if fails_over else "outages"] += 1

        def start() -> None:
            if fails_over:
                server.skew_ms = world.pick((-300, 0, 0, 300))
            server.start()

        world.after(world.pick((5, 400, 2_500, 6_000)), start)
