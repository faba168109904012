"""Values that cannot travel, and code that raises or recurses: each harms its own call only."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from tests.integration.sdk.calls import cause_of, result
from tests.support import eventually
from understudy import Context, Runtime
from understudy.errors import EncodingError, PayloadTooLargeError, RemoteError
from understudy.retry import Constant, Never
from understudy_actors.errors import CommandError
from understudy_actors.node.core import NodeCore
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.limits import Limits


class Odd(Exception):
    def __init__(self, a: int, b: object) -> None:
        super().__init__(f"{a}")
        self.b = b


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
