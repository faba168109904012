"""Mistakes of users: each is reported at once, with a message that says what to do."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from tests.support import eventually, free_url
from understudy import Context, Runtime
from understudy.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    EncodingError,
    NameInUseError,
    PayloadTooLargeError,
    RemoteError,
)
from understudy.retry import Constant, Never
from understudy_actors.errors import CommandError
from understudy_actors.node.core import NodeCore
from understudy_broker.core.config import BrokerConfig
from understudy_broker.protocol.messages import GroupsGet
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.commands import PromiseGet, TaskGet
from understudy_store.limits import Limits


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker("memory", "tcp://127.0.0.1:0") as broker:
        yield broker


@pytest.fixture
def runtime(broker: EmbeddedBroker) -> Iterator[Runtime]:
    """A node of group `g`."""
    with Runtime("g", url=broker.endpoint) as runtime:
        yield runtime


@pytest.fixture
def client(broker: EmbeddedBroker) -> Iterator[Runtime]:
    """A caller that has no functions registered."""
    runtime = Runtime("clients", url=broker.endpoint)
    yield runtime.options(target="g")
    runtime.stop()


def result(client: Runtime, id: str, name: str, *args: Any, **kwargs: Any) -> Any:
    return client.rpc(id, name, *args, **kwargs).result(timeout=10)


def cause_of(client: Runtime, id: str) -> str:
    """Wait until a call is parked, and return why."""

    def halted() -> bool:
        task = client.session.command(TaskGet(id)).task
        return task is not None and task.state == "halted"

    eventually(halted)
    task = client.session.command(TaskGet(id)).task
    assert task is not None
    return task.cause or ""


def unserved(client: Runtime) -> list[tuple[str, str | None, int]]:
    """Return the functions that calls wait for, and no node has."""
    report = client.session.connected().command(GroupsGet()).result().report
    assert report is not None
    return [each for group in report.groups for each in group.unserved]


class Odd(Exception):
    def __init__(self, a: int, b: object) -> None:
        super().__init__(f"{a}")
        self.b = b


class TestFunctions:
    def test_an_unknown_function_waits_for_a_node_that_has_it(
        self, runtime: Runtime, client: Runtime
    ) -> None:
        runtime.register(lambda ctx: 1, name="charge")
        handle = client.rpc("x", "chrage")
        report = eventually(lambda: unserved(client))
        assert report == [("chrage", None, 1)]
        assert client.promises.get("x").state == "pending"
        runtime.register(lambda ctx: 2, name="chrage")
        assert handle.result(timeout=10) == 2
        assert unserved(client) == []

    def test_an_unknown_version(self, runtime: Runtime, client: Runtime) -> None:
        runtime.register(lambda ctx: 1, name="f", version=2)
        handle = client.options(version=7).rpc("x", "f")
        assert eventually(lambda: unserved(client)) == [("f", "7", 1)]
        runtime.register(lambda ctx: 7, name="f", version=7)
        assert handle.result(timeout=10) == 7

    def test_a_node_that_is_asked_for_what_it_does_not_know_parks_it(
        self, runtime: Runtime, client: Runtime
    ) -> None:
        """It alone was named, so nobody else could perform the call."""
        runtime.register(lambda ctx: 1, name="charge")
        client.options(target=f"poll://uni@g/{runtime.id}").rpc("x", "chrage")
        assert re.search(r"no function 'chrage'.*'charge'", cause_of(client, "x"))
        assert client.promises.get("x").state == "pending", "it is parked, and has not failed"

    def test_wrong_arguments_found_on_the_node_are_not_retried(
        self, runtime: Runtime, client: Runtime
    ) -> None:
        ran: list[int] = []
        runtime.register(lambda ctx, a: ran.append(a), name="f")
        with pytest.raises(TypeError, match="argument"):
            result(client, "x", "f", 1, 2)
        assert ran == []

    def test_wrong_arguments_of_a_known_function(self, runtime: Runtime) -> None:
        @runtime.register
        def f(ctx: Context, a: int) -> int:
            return a

        with pytest.raises(TypeError, match="f"):
            runtime.rpc("x", "f")
        with pytest.raises(TypeError, match="f"):
            runtime.run("x", f, 1, b=2)  # type: ignore[arg-type, call-arg]
        assert list(runtime.promises.search()) == []

    def test_a_function_that_is_not_registered(self, runtime: Runtime) -> None:
        def stray(ctx: Context) -> None: ...

        with pytest.raises(ConfigurationError, match=r"stray is not registered.*@runtime.register"):
            runtime.rpc("x", stray)
        for nothing in (None, "", 7):
            with pytest.raises(ConfigurationError, match="pass the function itself or its name"):
                runtime.rpc("x", nothing)  # type: ignore[arg-type]

    def test_a_yield_of_something_else_than_a_request(self, runtime: Runtime) -> None:
        @runtime.register
        def f(ctx: Context) -> Any:
            yield 7

        with pytest.raises(TypeError, match="f yielded 7, which is not a request: yield a call"):
            runtime.rpc("x", f).result(10)

    def test_a_promise_that_is_never_yielded_is_waited_for(self, runtime: Runtime) -> None:
        @runtime.register
        def f(ctx: Context) -> str:
            ctx.rfi("g")
            return "end"

        go: list[int] = []
        runtime.register(lambda ctx: eventually(lambda: go), name="g")
        handle = runtime.rpc("x", f)
        eventually(lambda: list(runtime.promises.search(prefix="x.1")))
        assert not handle.done()
        go.append(1)
        assert handle.result(10) == "end"


class TestValues:
    def test_an_argument_that_cannot_be_encoded(self, runtime: Runtime, client: Runtime) -> None:
        @runtime.register
        def f(ctx: Context, when: Any) -> None: ...

        with pytest.raises(EncodingError, match=r"argument 1 \('when'\)"):
            runtime.rpc("x", f, object())
        with pytest.raises(EncodingError, match="argument 'when'"):
            client.rpc("x", "f", when=object())
        assert list(runtime.promises.search()) == []

    def test_a_result_that_cannot_be_encoded_is_not_retried(self, runtime: Runtime) -> None:
        ran: list[int] = []

        @runtime.register
        def f(ctx: Context) -> Any:
            ran.append(1)
            return object()

        with pytest.raises(EncodingError, match="the result of f"):
            runtime.rpc("x", f).result(10)
        assert ran == [1]

    def test_payloads_over_the_limit(self, runtime: Runtime) -> None:
        @runtime.register
        def big(ctx: Context, data: bytes) -> bytes:
            return b"x" * 5_000_000

        with pytest.raises(PayloadTooLargeError, match="the arguments: 5,000,008 bytes"):
            runtime.rpc("x", big, b"x" * 5_000_000)
        with pytest.raises(PayloadTooLargeError, match="the result of big"):
            runtime.rpc("x", big, b"").result(10)

    def test_payloads_over_the_brokers_smaller_limit(self) -> None:
        config = BrokerConfig(limits=Limits(payload_bytes_max=2000))
        with (
            EmbeddedBroker("memory", "tcp://127.0.0.1:0", config=config) as broker,
            Runtime("g", url=broker.endpoint) as runtime,
        ):

            @runtime.register
            def big(ctx: Context, data: bytes) -> bytes:
                return b"x" * 3000

            @runtime.register
            def calls(ctx: Context, local: bool) -> Any:
                call = ctx.lfc(big, b"") if local else ctx.rfc(big, b"x" * 3000)
                return len((yield call))

            # The broker's limit is known here since the welcome, so the call itself fails.
            with pytest.raises(PayloadTooLargeError, match="2,000"):
                runtime.rpc("a", big, b"x" * 3000)
            with pytest.raises(PayloadTooLargeError, match="2,000"):
                runtime.rpc("b", big, b"").result(10)
            # If an SDK ignores the limit, the broker still refuses.
            runtime.session.env.values.codec.payload_bytes_max = 10_000
            with pytest.raises(PayloadTooLargeError, match="2000"):
                runtime.rpc("c", big, b"x" * 3000)
            for n, call in enumerate([(big, b""), (calls, True), (calls, False)]):
                with pytest.raises(CommandError, match="at most 2000"):
                    runtime.rpc(f"x{n}", *call).result(10)  # type: ignore[call-overload]

    def test_exceptions_arrive_with_their_class(self, runtime: Runtime, client: Runtime) -> None:
        @runtime.register
        def f(ctx: Context, kind: str) -> Any:
            yield ctx.sleep(0)
            if kind == "known":
                raise KeyError("k", 3)
            raise Odd(3, object())

        with pytest.raises(KeyError) as known:
            result(client, "x", "f", "known")
        assert known.value.args == ("k", 3)
        with pytest.raises(Odd) as odd:
            result(client, "y", "f", "odd")
        assert str(odd.value) == "3"
        assert odd.value.__notes__ == ["b did not travel: object of type object is not plain data"]
        assert "raise Odd(3, object())" in str(odd.value.__cause__)

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    @pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
    def test_an_exception_that_would_end_a_process_fails_the_call(
        self, runtime: Runtime, error: type[BaseException], kind: str
    ) -> None:
        def plain(ctx: Context) -> None:
            raise error(3)

        def generator(ctx: Context) -> Any:
            yield ctx.sleep(0)
            raise error(3)

        async def coroutine(ctx: Context) -> None:
            await trio.sleep(0)
            raise error(3)

        fn: Any = {"plain": plain, "generator": generator, "coroutine": coroutine}[kind]
        runtime.register(fn)
        runtime.register(lambda ctx: "alive", name="other")
        with pytest.raises(RemoteError, match=error.__name__):
            runtime.rpc("x", fn).result(10)
        assert result(runtime, "y", "other") == "alive"

    def test_recursion_without_end_is_an_error_of_the_call(self, runtime: Runtime) -> None:
        def deeper(n: int) -> int:
            return deeper(n + 1)

        @runtime.register
        def f(ctx: Context) -> Any:
            yield ctx.sleep(0)
            return deeper(0)

        with pytest.raises(RecursionError):
            runtime.rpc("x", f).result(20)

    def test_deep_durable_recursion(self, runtime: Runtime) -> None:
        @runtime.register
        def down(ctx: Context, n: int) -> Any:
            return (yield ctx.rfc(down, n - 1)) + 1 if n else 0

        # An id grows by two characters with each level, until it is shortened.
        assert runtime.rpc("x", down, 400).result(60) == 400
        assert sum(1 for _ in runtime.promises.search(prefix="x")) == 401

    def test_a_chain_without_end(self, runtime: Runtime) -> None:
        """A function that hands over to itself, as long as it likes."""

        @runtime.register
        def tick(ctx: Context, n: int) -> Any:
            if n < 400:
                yield ctx.detached(tick, n + 1)
            return n

        runtime.rpc("tick", tick, 0)

        def states() -> list[str]:
            return [found.state for found in runtime.promises.search(prefix="tick")]

        eventually(lambda: states() == ["resolved"] * 401, 60)


class TestIds:
    def test_an_id_of_another_function(self, runtime: Runtime) -> None:
        runtime.register(lambda ctx: 1, name="one")
        runtime.register(lambda ctx: 2, name="two")
        assert result(runtime, "x", "one") == 1
        for call in (runtime.rpc, runtime.run):
            with pytest.raises(CommandError, match="'x' belongs to a call of 'one', so 'two'"):
                call("x", "two")

    def test_an_id_called_with_other_arguments(
        self, client: Runtime, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        runtime.register(lambda ctx, x=0, *, y=frozenset(): x, name="one")
        assert result(client, "x", "one", 1, y={"a", "b"}) == 1
        # With the same arguments, or none, it only attaches.
        assert result(client, "x", "one", 1, y={"b", "a"}) == 1
        assert result(client, "x", "one") == 1
        assert caplog.messages == []
        for _ in range(2):
            assert result(client, "x", "one", 2, y={"a"}) == 1
        [message] = caplog.messages
        assert message.startswith("the call 'x' was made before, with other arguments")

    def test_an_id_of_a_promise(self, runtime: Runtime) -> None:
        runtime.register(lambda ctx: 1, name="one")
        runtime.promises.create("x")
        with pytest.raises(CommandError, match="'x' belongs to a promise that calls no function"):
            runtime.rpc("x", "one")

    def test_invalid_ids(self, runtime: Runtime) -> None:
        runtime.register(lambda ctx: 1, name="one")
        for id in ("", None, 7):
            with pytest.raises(ConfigurationError, match="needs an id"):
                runtime.rpc(id, "one")  # type: ignore[arg-type]
        with pytest.raises(CommandError, match="512"):
            runtime.rpc("x" * 513, "one")
        with pytest.raises(CommandError, match="control character"):
            runtime.rpc("a\nb", "one")

    def test_ids_that_do_not_exist(self, runtime: Runtime) -> None:
        for attempt in (
            lambda: runtime.get("nope").result(10),
            lambda: runtime.promises.get("nope"),
            lambda: runtime.promises.resolve("nope"),
            lambda: runtime.cancel("nope"),
            lambda: runtime.schedules.get("nope"),
        ):
            with pytest.raises(CommandError, match="'nope' does not exist") as caught:
                attempt()
            assert caught.value.status == 404


class TestSettings:
    @pytest.mark.parametrize(
        "options",
        [
            {"target": "poll://"},
            {"target": "nats://g"},
            {"timeout": 0},
            {"timeout": "soon"},
            {"version": 0},
            {"tags": {"a": 1}},
            {"priority": 1000},
            {"delay": -1},
            {"retry": "often"},
        ],
    )
    def test_options(self, options: dict[str, Any]) -> None:
        (name,) = options
        with pytest.raises(ConfigurationError, match=name):
            Runtime().options(**options)

    @pytest.mark.parametrize("url", ["localhost:5577", "http://x:1", "tcp://x", "tcp://", "ipc://"])
    def test_addresses(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"looks like tcp://127\.0\.0\.1:5577"):
            Runtime(url=url)

    @pytest.mark.parametrize(
        "settings", [{"group": "a b"}, {"id": "a/b"}, {"concurrency": 0}, {"timeout": -1}]
    )
    def test_settings_of_a_runtime(self, settings: dict[str, Any]) -> None:
        (name,) = settings
        with pytest.raises(ValueError, match=name):
            Runtime(**settings)

    @pytest.mark.parametrize("cron", ["", "often", "61 * * * *", "* * * *"])
    def test_cron(self, runtime: Runtime, cron: str) -> None:
        runtime.register(lambda ctx: 1, name="one")
        with pytest.raises(CommandError, match="cron"):
            runtime.schedules.create("s", cron, "one")


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


@pytest.mark.parametrize("loop", [trio.run, lambda main: asyncio.run(main())])
def test_a_refused_call_whose_handle_nobody_awaits_is_logged(
    client: Runtime, loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """On an event loop `rpc` does not wait, so the refusal would go unheard."""

    async def main() -> None:
        client.rpc("a\nb", "f")

    with client:
        client.promises.create("connected")
        loop(main)
        eventually(lambda: "the call 'a\\nb' was refused" in caplog.text)
    assert "contains a control character" in caplog.text


class Answered(Exception):
    """An error whose attributes are those of an answer, so that any other raises KeyError."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__("answered")
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["fields"][name]


class Unprinted(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Unpickled:
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


class TestCodeOfValues:
    """What a class does when its instance is encoded harms no other call."""

    def test_errors_and_results_that_raise(self) -> None:
        def fails(ctx: Context, name: str) -> Any:
            raise {"answered": Answered({"code": 3}), "unprinted": Unprinted()}[name]

        async def fails_later(ctx: Context, name: str) -> Any:
            raise {"answered": Answered({"code": 3}), "unprinted": Unprinted()}[name]

        def gives(ctx: Context) -> Any:
            return Unpickled()

        with Runtime.local(retry=Never(), pickle=True) as runtime:
            for function in (fails, fails_later, gives, double):
                runtime.register(function)
            for number, function in enumerate((fails, fails_later)):
                with pytest.raises(Answered) as caught:
                    runtime.rpc(f"answered{number}", function, "answered").result(10)
                assert caught.value.code == 3
                with pytest.raises(Unprinted):
                    runtime.rpc(f"unprinted{number}", function, "unprinted").result(10)
            with pytest.raises(RemoteError, match="KeyboardInterrupt"):
                runtime.rpc("gives", gives).result(10)
            assert runtime.rpc("next", double, 4).result(10) == 8

    def test_a_node_that_ends_by_an_error_of_its_own_has_crashed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So a task that ends each node is parked."""

        def broken(*args: Any) -> None:
            raise AssertionError("a mistake of the node")

        config = BrokerConfig(deaths_max=1, reconnect_grace_ms=10)
        with EmbeddedBroker("memory", "tcp://127.0.0.1:0", config=config) as broker:
            client = Runtime("clients", url=broker.endpoint)
            node = Runtime("g", url=broker.endpoint)
            node.register(double)
            node.start()
            monkeypatch.setattr(NodeCore, "_end", broken)
            client.options(target="g").rpc("killer", "double", 4)
            assert "its holder vanished once" in cause_of(client, "killer")
            client.stop()

    def test_a_log_filter_that_raises(
        self, runtime: Runtime, client: Runtime, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Broken(logging.Filter):
            def filter(self, record: logging.LogRecord) -> bool:
                raise RuntimeError("the filter")

        def fails(ctx: Context) -> None:
            raise LookupError("the reason")

        runtime.register(double)
        runtime.register(fails, retry=Constant(0.01, max_attempts=2))
        runtime.start()
        broken, log = Broken(), logging.getLogger("understudy")
        log.addFilter(broken)
        try:
            with pytest.raises(LookupError, match="the reason"):
                result(client, "fails", "fails")
            assert result(client, "next", "double", 4) == 8
        finally:
            log.removeFilter(broken)
        assert "RuntimeError: the filter" in capsys.readouterr().err


def double(ctx: Context, number: int) -> int:
    return 2 * number
