"""The PostgreSQL engine as one of several over the same schema: a `SharedEngine`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import Opening, Read
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

    @property
    def description(self) -> str:
        return self.engine.description

    @property
    def inline(self) -> bool:
        return self.engine.inline

    @property
    def writer(self) -> int:
        return self.engine.writer

    def load(self) -> Snapshot:
        return self.engine.load()

    def find(self, ids: Collection[str]) -> list[Row]:
        return self.engine.find(ids)

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
        holdings = self.engine.hand_over(slots, leaving=leaving)
        self._keeper.learn(holdings)
        return holdings

    def is_fresh(self) -> bool:
        return self._keeper.is_fresh

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        self.engine.watch(on_failure)

    def stop_waiting(self) -> None:
        self.engine.stop_waiting()

    def close(self) -> None:
        self.engine.close()
