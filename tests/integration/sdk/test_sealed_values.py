"""Sealed values: the broker and its files have none of them, and a node without the key parks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually
from understudy import Constant, Context, Runtime
from understudy.client.seal_keys import add_seal_key
from understudy.errors import (
    ConfigurationError,
    DecodingError,
    PayloadTooLargeError,
    SealedValueError,
)
from understudy.values.seals import is_sealed, key_id
from understudy.views.records import promise_json
from understudy_broker.keys.key_files import new_pair, write_pair
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.commands import PromiseGet, PromiseSettle, TaskContinue, TaskGet

#: part of every value of these tests
SECRET = "tiger-lily"


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    add_seal_key(tmp_path / "seal.keys", "k1")
    return tmp_path / "seal.keys"


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker whose store is a file."""
    with EmbeddedBroker(f"sqlite:///{tmp_path}/s.db", "tcp://127.0.0.1:0") as broker:
        yield broker


def node(url: str, **options: Any) -> Runtime:
    runtime = Runtime("g", url=url, **options)

    @runtime.register
    def echo(ctx: Context, value: Any) -> Any:
        return value

    @runtime.register(retry=Constant(0.01, 2))
    def fail(ctx: Context, why: str) -> None:
        raise ValueError(why)

    @runtime.register
    def tour(ctx: Context, word: str) -> Any:
        step = yield ctx.run(lambda _: word + "-step")
        child = yield ctx.rpc("echo", [word, "child"])
        parts = [
            (yield ctx.begin_rpc("echo", f"{word}0")),
            (yield ctx.begin_rpc("echo", f"{word}1")),
        ]
        both = yield ctx.all(parts)
        yield ctx.detached("echo", word + "-detached").options(id=f"{ctx.id}.apart")
        asked = yield ctx.promise(id=f"{ctx.id}.asked")
        first = yield ctx.race([(yield ctx.begin_rpc("echo", word)), ctx.sleep(60)])
        failed = ""
        try:
            yield ctx.rpc("fail", word + "-failed")
        except ValueError as error:
            failed = str(error)
        return [step, child, both, first, failed, (yield asked)]

    return runtime


def raw(url: str, id_: str) -> Any:
    """Return a promise as the broker has it."""
    with Runtime("raw", url=url) as runtime:
        return runtime.session.connected().command(PromiseGet(id_)).result(10).reply.promise


def test_the_brokers_files_have_no_plaintext(
    stored: EmbeddedBroker, keys: Path, tmp_path: Path
) -> None:
    url = stored.endpoint
    with node(url, seal_keys=keys) as runtime:
        call = runtime.begin_rpc("tour-1", "tour", SECRET)
        eventually(lambda: any(runtime.promises.search(prefix="tour-1.asked")))
        runtime.promises.resolve("tour-1.asked", f"{SECRET}-answer")
        step, child, both, first, failed, answer = call.result(30)
        assert (step, child, both) == (
            f"{SECRET}-step",
            [SECRET, "child"],
            [f"{SECRET}0", f"{SECRET}1"],
        )
        assert (first, failed, answer) == (SECRET, f"{SECRET}-failed", f"{SECRET}-answer")
        assert runtime.get("tour-1.apart").result(10) == f"{SECRET}-detached"
        runtime.promises.create("asked-2", value=f"{SECRET}-param")
        runtime.promises.reject("asked-2", f"{SECRET}-refused")
        assert runtime.promises.get("asked-2").param() == f"{SECRET}-param"
        with pytest.raises(RuntimeError, match=f"{SECRET}-refused"):
            runtime.promises.get("asked-2").value()
        every = "*/1 * * * * *"
        runtime.schedules.create("often", every, "echo", f"{SECRET}-schedule")
        eventually(
            lambda: any(
                each.state == "resolved" for each in runtime.promises.search(prefix="often.")
            )
        )
        runtime.schedules.delete("often")
        first_of = next(iter(runtime.promises.search(prefix="often.")))
        assert first_of.arguments() == ((f"{SECRET}-schedule",), {})
        assert runtime.promises.get("tour-1").arguments() == ((SECRET,), {})
    record = raw(url, "tour-1")
    assert key_id(record.param.data) == key_id(record.value.data) == "k1"
    stored.stop()
    content = {path.name: path.read_bytes() for path in tmp_path.glob("s.db*")}
    assert len(content) > 1, "the journal is one of them"
    assert b"tour-1.apart" in b"".join(content.values())
    assert not [name for name, data in content.items() if SECRET.encode() in data]


def test_a_node_without_the_key_parks_and_another_goes_on(
    broker: EmbeddedBroker, keys: Path, tmp_path: Path
) -> None:
    add_seal_key(tmp_path / "other.keys", "k2")
    url = broker.endpoint

    def cause(asker: Runtime, id_: str) -> str:
        task = asker.session.connected().command(TaskGet(id_)).result(10).reply.task
        return (task.cause or "") if task is not None and task.state == "halted" else ""

    with Runtime("clients", url=url, seal_keys=keys) as client:
        call = client.options(target="g").begin_rpc("echo-1", "echo", SECRET)
        with node(url, seal_keys=tmp_path / "other.keys"):
            assert "key 'k1', which this process does not have" in eventually(
                lambda: cause(client, "echo-1")
            )
        with node(url):
            client.options(target="g").begin_rpc("echo-2", "echo", SECRET)
            assert "has no seal keys" in eventually(lambda: cause(client, "echo-2"))
        with node(url, seal_keys=keys):
            for id_ in ("echo-1", "echo-2"):
                client.session.connected().command(TaskContinue(id_)).result(10)
            assert call.result(20) == SECRET
            assert client.get("echo-2").result(20) == SECRET


@pytest.mark.parametrize("way", ["generator", "coroutine"])
def test_a_result_that_a_parent_cannot_open_parks_the_parent(
    broker: EmbeddedBroker, keys: Path, way: str
) -> None:
    """The node lacks the key that it is sealed with, of which the function hears nothing."""
    url = broker.endpoint
    with node(url) as runtime, Runtime("x", url=url, seal_keys=keys) as x:
        heard: list[object] = []

        @runtime.register
        def generator(ctx: Context) -> Any:
            promise = yield ctx.promise(id="outside")
            try:
                return (yield ctx.all([promise], return_exceptions=True))
            except BaseException as error:
                heard.append(error)
                raise

        @runtime.register
        async def coroutine(ctx: Context) -> Any:
            promise = await ctx.promise(id="outside")
            try:
                return await promise
            except Exception as error:
                heard.append(error)
                raise

        def task() -> Any:
            found = x.session.connected().command(TaskGet("waits-1")).result(10).reply.task
            return found if found is not None and found.state == "halted" else None

        runtime.begin_rpc("waits-1", way)
        eventually(lambda: any(runtime.promises.search(prefix="outside")))
        x.promises.resolve("outside", SECRET)
        assert "SealedValueError" in eventually(task).cause
        assert x.promises.get("waits-1").state == "pending"
        assert not heard
        with pytest.raises(SealedValueError, match="has no seal keys"):
            runtime.promises.get("outside").value()


def test_a_value_cannot_be_moved(broker: EmbeddedBroker, keys: Path) -> None:
    url = broker.endpoint
    with node(url, seal_keys=keys) as runtime:
        runtime.rpc("echo-1", "echo", SECRET).result(20)
        record = raw(url, "echo-1")
        assert is_sealed(record.value.data)
        runtime.promises.create("echo-2")
        with Runtime("thief", url=url) as thief:
            settle = PromiseSettle("echo-2", "resolved", record.value)
            thief.session.connected().command(settle).result(10)
        with pytest.raises(SealedValueError, match="moved here"):
            runtime.promises.get("echo-2").value()
        with pytest.raises(SealedValueError, match="moved here"):
            runtime.get("echo-2").result(10)


def test_unsealed_values_are_read_unless_they_are_refused(
    broker: EmbeddedBroker, keys: Path
) -> None:
    url = broker.endpoint
    with Runtime("old", url=url) as old:
        old.promises.create("plain")
        old.promises.resolve("plain", "clear")
    with Runtime("new", url=url, seal_keys=keys) as new:
        assert new.promises.get("plain").value() == "clear"
    with Runtime("strict", url=url, seal_keys=keys, seal_required=True) as strict:
        with pytest.raises(SealedValueError, match="not sealed"):
            strict.promises.get("plain").value()
        strict.promises.create("sealed")
        assert strict.promises.resolve("sealed", [1]).value() == [1]


def test_pickles_are_loaded_from_sealed_values_only(
    broker: EmbeddedBroker, keys: Path, tmp_path: Path
) -> None:
    url, mark = broker.endpoint, tmp_path / "mark"
    with Runtime("strangers", url=url, pickle=True) as stranger:
        for id_, value in (("p", Evil(mark)), ("nested", [{"a": Evil(mark)}])):
            stranger.promises.create(id_)
            stranger.promises.resolve(id_, value)
        stranger.promises.create("error")
        stranger.promises.reject("error", ValueError(Evil(mark)))
    with node(url, seal_keys=keys, pickle=True) as runtime:
        for id_ in ("p", "nested"):
            with pytest.raises(DecodingError, match="pickled and not sealed"):
                runtime.get(id_).result(10)
        with pytest.raises(ValueError, match="Evil"):
            runtime.get("error").result(10)
        assert not mark.exists()
        assert runtime.rpc("own", "echo", complex(1, 2)).result(20) == complex(1, 2)
        assert runtime.promises.get("own").value() == complex(1, 2)


def test_pickles_among_peers_with_keys_need_seal_keys(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    write_pair(tmp_path / "node.key", pair := new_pair("node"))
    options: Any = {"key": tmp_path / "node.key", "broker_key": pair.public}
    runtime = Runtime("g", url="tcp://127.0.0.1:1", pickle=True, **options)
    with pytest.raises(ConfigurationError, match="needs seal keys too"):
        runtime.start()


def test_sealing_counts_as_a_part_of_the_payload(broker: EmbeddedBroker, keys: Path) -> None:
    with node(broker.endpoint, seal_keys=keys) as runtime:
        most = runtime.session.env.values.codec.payload_bytes_max
        whole = b"x" * (most - 100)
        assert runtime.rpc("fits", "echo", whole).result(20) == whole
        with pytest.raises(PayloadTooLargeError):
            runtime.rpc("large", "echo", b"x" * most)


def test_a_store_of_ones_own_is_sealed_too(keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    for _ in range(2):
        with Runtime.local(str(path), seal_keys=keys) as runtime:

            @runtime.register
            def double(ctx: Context, word: str) -> Any:
                return word + SECRET + str(type((yield ctx.rpc(pickled))))

            @runtime.register
            def pickled(ctx: Context) -> complex:
                return complex(1, 2)

            assert runtime.rpc("d", double, "x").result(20) == f"x{SECRET}<class 'complex'>"
    assert not [p for p in tmp_path.glob("own.db*") if SECRET.encode() in p.read_bytes()]
    with pytest.raises(SealedValueError), Runtime.local(str(path)) as runtime:
        runtime.get("d").result(10)


def test_a_spawned_node_has_the_keys(keys: Path) -> None:
    with Runtime.local(seal_keys=keys) as runtime:

        @runtime.register
        def whose(ctx: Context, word: str) -> str:
            return word + SECRET

        runtime.spawn("workers")
        assert runtime.options(target="workers").rpc("w", whose, "a").result(30) == f"a{SECRET}"


def test_what_the_cli_shows_without_keys_is_not_the_value(
    broker: EmbeddedBroker, keys: Path
) -> None:
    with Runtime("new", url=broker.endpoint, seal_keys=keys) as new:
        new.promises.create("p")
        new.promises.resolve("p", SECRET)
        new.promises.create("e")
        new.promises.reject("e", SECRET)
    shown = promise_json(raw(broker.endpoint, "p"))["value"]["data"]
    assert shown["sealed"] == "k1"
    failed = promise_json(raw(broker.endpoint, "e"))
    assert failed["error"]["type"] == "SealedValueError"
    assert failed["error"]["sealed"] == "k1"
    assert SECRET not in str(failed)
