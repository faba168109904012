"""A broker that is not there or refuses, a group without nodes, an id that is taken."""

from __future__ import annotations

import logging
import random
import re
import threading

import pytest
import trio

from tests.integration.sdk.calls import result
from tests.support import eventually, free_url
from understudy import Runtime
from understudy.errors import BrokerUnavailableError, NameInUseError
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.commands import PromiseGet


class TestNodes:
    def test_a_call_to_a_group_without_nodes_waits_for_one(
        self, broker: EmbeddedBroker, client: Runtime
    ) -> None:
        handle = client.options(target="late").rpc("x", "f")
        with pytest.raises(TimeoutError, match=r"'x' is still pending after 0\.05 s"):
            handle.result(timeout=0.05)
        late = Runtime("late", url=broker.endpoint)
        late.register(lambda ctx: "served", name="f")
        with late:
            assert handle.result(timeout=10) == "served"

    def test_two_living_nodes_of_one_id(self, broker: EmbeddedBroker) -> None:
        with Runtime("g", "one", url=broker.endpoint):
            second = Runtime("g", "one", url=broker.endpoint)
            with pytest.raises(NameInUseError, match="'one' in group 'g' belongs to a node"):
                second.start()
            second.stop()

    def test_the_id_is_free_again_after_a_stop(self, broker: EmbeddedBroker) -> None:
        for _ in range(2):
            with Runtime("g", "one", url=broker.endpoint):
                pass


class TestNoBroker:
    def test_the_message_says_how_to_start_one(self) -> None:
        url = free_url()
        runtime = Runtime(url=url, connect_timeout=0.2)
        with pytest.raises(BrokerUnavailableError, match=f"{url}.*understudy broker"):
            runtime.rpc("x", "f")
        runtime.stop()

    def test_the_reason_of_a_refusal_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "understudy")
        refusal = (
            r"refuses this peer for now: it takes no more than 1 peers \(its setting peers_max"
        )
        with EmbeddedBroker(config=BrokerConfig(peers_max=1)) as broker:
            first = Runtime(url=broker.endpoint)
            second = Runtime(url=broker.endpoint, connect_timeout=1.5)
            with first:
                first.promises.create("p")
                with pytest.raises(BrokerUnavailableError, match=refusal):
                    second.promises.create("q")
                assert re.search(refusal + r".*Still trying", caplog.text)
            # There is room now.
            second.promises.create("q")
            second.stop()

    async def test_also_on_an_event_loop(self) -> None:
        runtime = Runtime(url=free_url(), connect_timeout=0.2)
        handle = runtime.rpc("x", "f")
        with trio.fail_after(10), pytest.raises(BrokerUnavailableError):
            await handle
        await trio.to_thread.run_sync(runtime.stop)

    def test_it_connects_when_the_broker_starts(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "understudy")
        url = free_url()
        runtime = Runtime("g", url=url, connect_timeout=20)
        runtime.register(lambda ctx: "late", name="f")
        runtime.session.connection.serve()
        eventually(lambda: "no broker answers at" in caplog.text)
        with EmbeddedBroker("memory", url):
            assert result(runtime, "x", "f") == "late"
            runtime.stop()

    def test_a_stop_fails_all_waiting_calls(self) -> None:
        runtime = Runtime(url=free_url())
        connection = runtime.session.connection
        future = connection.command(PromiseGet("x"))
        watched = connection.watch("y")
        runtime.stop()
        for each in (future, watched):
            with pytest.raises(RuntimeError, match="stopped"):
                each.result(5)
        with pytest.raises(RuntimeError, match="stopped"):
            connection.command(PromiseGet("x"))


def test_a_block_that_cannot_begin_leaves_nothing_behind() -> None:
    """Otherwise a node would join as soon as a broker answers, though nobody has its functions."""
    runtime = Runtime("g", url=free_url(), connect_timeout=0.2)
    before = set(threading.enumerate())
    with pytest.raises(BrokerUnavailableError), runtime:
        raise AssertionError
    assert set(threading.enumerate()) <= before


def test_the_random_numbers_of_a_program_are_its_own() -> None:
    """Also while a connection waits by chance until it tries again."""
    runtime = Runtime("g", url=free_url(), connect_timeout=0.5)
    random.seed(7)
    expected = random.random()
    random.seed(7)
    with pytest.raises(BrokerUnavailableError), runtime:
        raise AssertionError
    assert random.random() == expected
