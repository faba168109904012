"""The PostgreSQL engine as one of several over the same schema: a `SharedEngine`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import Measures, Opening, Read
from understudy_store.engines.postgres.begun import BegunCommit, BegunFind
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.engines.shared import Holdings
from understudy_store.errors import StoreError
from understudy_store.records import Row


class SharedPostgresEngine:
    """An engine over one schema, beside those of other brokers.

    Parameters
    ----------
    url, opening
        As for `PostgresEngine`; the opening has a share.

    Raises
    ------
    StoreError
        As for `PostgresEngine`.
    """

    def __init__(self, url: str, opening: Opening) -> None:
        assert opening.share is not None
        #: public for tests, as is its journaled table
        self.engine = PostgresEngine(url, opening)
        keeper = self.engine.keeper
        assert keeper is not None
        self._keeper = keeper
        self.description = self.engine.description
        self.inline = self.engine.inline
        self.writer = self.engine.writer

    def load(self) -> Snapshot:
        return self.engine.load()

    @property
    def identity(self) -> str:
        return self.engine.identity

    def fact(self, key: str) -> str | None:
        return self.engine.fact(key)

    def put_fact(self, key: str, text: str) -> None:
        self.engine.put_fact(key, text)

    def find(self, ids: Collection[str]) -> list[Row]:
        return self.engine.find(ids)

    def find_known(self, ids: Collection[str]) -> list[Row] | None:
        return self.engine.find_known(ids)

    def begin_find(self, ids: Collection[str]) -> BegunFind | None:
        return self.engine.begin_find(ids)

    def begin(self, changes: Changes, epoch: int) -> BegunCommit | None:
        return self.engine.begin(changes, epoch)

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        return self.engine.commit(changes, reads, epoch)

    def holdings(self) -> Holdings:
        return self._keeper.holdings

    def watch_holdings(self, on_change: Callable[[Holdings], None]) -> None:
        self._keeper.watch_holdings(on_change)

    def look(self) -> None:
        self._keeper.look_soon()

    def load_slots(self, slots: Collection[int]) -> Snapshot:
        return self.engine.load_slots(slots)

    def hand_over(self, slots: Mapping[int, int], *, leaving: bool = False) -> Holdings:
        holdings, gone = self.engine.hand_over(slots, leaving=leaving)
        self._keeper.learn(holdings)
        back = [slot for slot in gone if holdings.slots[slot] == self.writer]
        if not back:
            return holdings
        # They have left and come back already, and are to be loaded anew. The caller hears of that
        # by the holdings that it is told next, which are later than these.
        owners = list(holdings.slots)
        for slot in back:
            owners[slot] = slots[slot]
        return Holdings(holdings.version - 1, holdings.brokers, tuple(owners))

    def numbers(self) -> dict[str, int]:
        rows = self.engine.journaled.rows_in_log
        return {"journal_rows": rows, "beat_age_ms": self._keeper.beat_age_ms()}

    def suspect(self, writer: int) -> None:
        self._keeper.suspect(writer)

    def trust(self, writer: int) -> None:
        self._keeper.trust(writer)

    def wall_ns(self) -> int:
        return self._keeper.wall_ns()

    def is_fresh(self) -> bool:
        return self._keeper.is_fresh

    def search(self, read: Read, time_limit_s: float) -> Reply:
        return self.engine.search(read, time_limit_s)

    def measures(self) -> Measures:
        return self.engine.measures()

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        self.engine.watch(on_failure)

    def stop_waiting(self) -> None:
        self.engine.stop_waiting()

    def close(self) -> None:
        self.engine.close()
