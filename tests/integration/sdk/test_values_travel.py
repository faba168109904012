"""Values of any type, as arguments, results of steps and results, over a socket and in a replay."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import eventually, free_url
from tests.unit.sdk.values.typed_values import same_types, types_and_values
from understudy import Context, Runtime
from understudy_broker.server.embedded import EmbeddedBroker

#: numbers that make names of functions and calls
NUMBERS = count()


class Keeper:
    """A durable function with one parameter of a type, which returns what it was given.

    In between it makes a step and waits, and notes what it sees in each of its runs.
    """

    def __init__(self, hint: Any) -> None:
        self.id = f"keep-{next(NUMBERS)}"
        self.argument: list[Any] = []
        self.step: list[Any] = []

        def echo(_: Context, value: Any) -> Any:
            return value

        def keep(ctx: Context, value: Any) -> Generator[Any, Any, Any]:
            self.argument.append(value)
            seen = yield ctx.run(echo, value)
            self.step.append(seen)
            gate = yield from ctx.promise(id=f"{self.id}/gate")
            yield from gate
            return seen

        echo.__annotations__ = {"value": hint, "return": hint}
        keep.__annotations__ = {"value": hint, "return": Generator[Any, Any, hint]}
        self.echo: Callable[..., Any] = echo
        self.keep: Callable[..., Any] = keep


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedBroker("memory", free_url()) as broker:
        yield broker.endpoint


@contextmanager
def node(url: str, keepers: list[Keeper]) -> Iterator[None]:
    """A node with the functions, which keeps nothing from an earlier one."""
    runtime = Runtime("keepers", url=url)
    for keeper in keepers:
        runtime.register(keeper.echo, name=f"{keeper.id}-echo")
        runtime.register(keeper.keep, name=keeper.id)
    runtime.session.connection.serve()
    try:
        yield
    finally:
        runtime.stop()


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(types_and_values, min_size=10, max_size=30))
def test_any_value_of_any_type(url: str, drawn: list[tuple[Any, Any]]) -> None:
    keepers = [Keeper(hint) for hint, _ in drawn]
    with Runtime(url=url).options(target="keepers") as client:
        with node(url, keepers):
            handles = [
                client.rpc(keeper.id, keeper.keep, value)
                for keeper, (_, value) in zip(keepers, drawn, strict=True)
            ]
            eventually(lambda: all(keeper.step for keeper in keepers))
        with node(url, keepers):
            for keeper in keepers:
                eventually(partial(gate_is_there, client, keeper))
                client.promises.resolve(f"{keeper.id}/gate")
            results = [handle.result(timeout=30) for handle in handles]
    for keeper, (_, value), result in zip(keepers, drawn, results, strict=True):
        assert len(keeper.step) >= 2, "the second node has replayed"
        for got in (*keeper.argument, *keeper.step, result):
            assert got == value
            assert same_types(got, value)


def gate_is_there(client: Runtime, keeper: Keeper) -> bool:
    return any(client.promises.search(prefix=f"{keeper.id}/gate"))
