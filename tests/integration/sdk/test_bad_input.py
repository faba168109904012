"""Mistakes of users: each is reported at once, with a message that says what to do."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import trio

from tests.integration.sdk.calls import cause_of, result
from tests.support import eventually
from understudy import Context, Runtime
from understudy.errors import ConfigurationError
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import GroupsGet


def unserved(client: Runtime) -> list[tuple[str, str | None, int]]:
    """Return the functions that calls wait for, and no node has."""
    report = client.session.connected().command(GroupsGet()).result().report
    assert report is not None
    return [each for group in report.groups for each in group.unserved]


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
            {"target": "gopher://g"},
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

    @pytest.mark.parametrize("url", ["localhost:5577", "ftp://x:1", "tcp://x", "tcp://", "ipc://"])
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
