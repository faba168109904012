"""An edge in front of two brokers: functions, lists and graphs are those of both."""

from __future__ import annotations

import trio

from tests.acceptance.system import until
from tests.integration.sdk.brokers import Two
from understudy import Context, Runtime
from understudy.edge.brokers import open_brokers
from understudy_store.commands import PromiseSearch


def test_functions_of_a_group_at_two_brokers(two: Two) -> None:
    runtime = Runtime("g", url=two.url("a"))

    @runtime.register
    def add(ctx: Context, a: int, b: int) -> int:
        return a + b

    @runtime.register(version=2, name="add")
    def add_all(ctx: Context, *numbers: int) -> int:
        return sum(numbers)

    with runtime:
        until("the node is there", lambda: any(each.nodes for each in runtime.groups().groups))
        ids = two.ids("a", 2) + two.ids("b", 2)
        for id_ in ids:
            runtime.promises.create(id_)
        trio.run(_look, two.url("b"), sorted(ids))


async def _look(url: str, ids: list[str]) -> None:
    async with open_brokers(url) as brokers:
        await brokers.wait_clock()
        functions = await brokers.functions("g")
        assert [(each.name, each.version) for each in functions] == [("add", 1), ("add", 2)]
        assert '"rest":{"type":"integer"}' in functions[1].schema
        assert await brokers.functions("nobody") == []
        found = await brokers.ask(PromiseSearch(prefix="call-"))
        assert [each.id for each in found.promises or ()] == ids
