"""What pages read is bounded, however much there is in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
import trio

from tests.unit.sdk.ui.records import promise, report
from understudy.ui import reading
from understudy.ui.reading import read_call
from understudy_broker.protocol.messages import GroupsReport, OwnCommand
from understudy_store.commands import PromiseGet, PromiseSearch, Reply, TaskGet
from understudy_store.records import PromiseRecord, origin_of


class FakePort:
    """Promises in memory, and the searches that were made."""

    kind: Final = "broker"
    name = "memory"

    def __init__(self, *records: PromiseRecord) -> None:
        self._records = sorted(records, key=lambda each: each.id)
        self.searches: list[PromiseSearch] = []

    def now_ms(self) -> int:
        return 10

    async def groups(self) -> GroupsReport:
        await trio.lowlevel.checkpoint()
        return report()

    async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        await trio.lowlevel.checkpoint()
        return [self._answer(command) for command in commands]

    def _answer(self, command: OwnCommand) -> Reply:
        if isinstance(command, PromiseSearch):
            return self._search(command)
        assert isinstance(command, PromiseGet | TaskGet)
        found = [each for each in self._records if each.id == command.id]
        return Reply(200, promise=found[0]) if found else Reply(404)

    def _search(self, search: PromiseSearch) -> Reply:
        self.searches.append(search)
        found = [
            each
            for each in self._records
            if each.id.startswith(search.prefix)
            and search.origin in (None, origin_of(each))
            and search.state in (None, each.state)
            and search.tags.items() <= each.tags.items()
        ]
        cursor = found[search.limit - 1].id if len(found) > search.limit else None
        return Reply(200, promises=found[: search.limit], cursor=cursor)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page have room for ten promises."""
    monkeypatch.setattr(reading, "GRAPH_MAX", 10)


def test_a_large_graph_is_never_searched_as_a_whole() -> None:
    children = [promise(f"a.{n}", 0, 5) for n in range(10, 60)]
    port = FakePort(promise("a"), *children, promise("a.77", state="rejected"), promise("a.78"))
    for id_ in ("a", "a.10"):
        found = trio.run(read_call, port, id_)
        assert found is not None
        assert not found.is_whole
        assert all(search.prefix and search.origin is None for search in port.searches)
    found = trio.run(read_call, port, "a")
    assert found is not None
    assert {"a", "a.10", "a.19", "a.77", "a.78"} <= found.records.keys()


def test_calls_whose_ids_begin_alike_are_not_taken_for_children() -> None:
    others = [promise(f"a.{n}", 0, 5, origin=f"a.{n}") for n in range(10, 60)]
    own = promise("chosen", origin="a")
    detached = promise("a.70", origin="a.70", scope="detached")
    port = FakePort(promise("a"), promise("a.9"), own, detached, *others)
    found = trio.run(read_call, port, "a")
    assert found is not None
    assert found.records.keys() == {"a", "a.9", "a.70", "chosen"}


def test_a_small_graph_is_read_whole() -> None:
    own = promise("chosen", origin="a")
    port = FakePort(promise("a"), promise("a.1"), promise("a.1.1"), own)
    for id_ in ("a", "a.1"):
        found = trio.run(read_call, port, id_)
        assert found is not None
        assert found.is_whole
        assert found.records.keys() == {"a", "a.1", "a.1.1", "chosen"}
