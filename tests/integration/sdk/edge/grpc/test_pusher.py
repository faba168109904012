"""The gRPC client of pushes and real servers: time limits, statuses, checked addresses, TLS."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trio
from grpc import aio

from understudy import Runtime
from understudy.edge.carrier import DeliveryError
from understudy.edge.grpc.pusher import open_pusher
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.push.allow_list import parse_allow_list
from understudy.edge.push.settings import PushSettings
from understudy.push import add_push_servicer
from understudy.push.rpc import NAME
from understudy.signatures import parse_keys, verify
from understudy_broker.protocol.messages import Forward
from understudy_store.records import EMPTY, PromiseRecord, Value

KEY = base64.b64encode(b"k" * 32).decode()
KEYS = parse_keys(KEY, "a test")
SETTLED = PromiseRecord("p", "resolved", EMPTY, Value({}, b"7"), {}, 9, 1, 2)

Answer = Callable[[v1.PushRequest, grpc.ServicerContext], v1.PushResponse]


class _Connection:
    """In the place of the runtime's own."""

    def __init__(self) -> None:
        self.os_pid = os.getpid()
        self.acquired: list[tuple[str, int]] = []
        self.future: Future[bool] = Future()
        self.ended: Future[None] = Future()
        self.has_room = True

    def acquire(self, id: str, version: int) -> tuple[Future[bool], Future[None]]:
        self.acquired.append((id, version))
        return self.future, self.ended


@contextmanager
def _serving(
    answer: Answer | None = None,
    runtime: Runtime | None = None,
    tls: grpc.ServerCredentials | None = None,
) -> Iterator[int]:
    """Serve on this machine; return the port."""
    server = grpc.server(ThreadPoolExecutor(4))
    if runtime is not None:
        add_push_servicer(server, runtime, key=KEY)
    if answer is not None:
        method: Any = grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=v1.PushRequest.FromString,
            response_serializer=v1.PushResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(NAME, {"Push": method})
        server.add_generic_rpc_handlers((handler,))
    if tls is not None:
        port = server.add_secure_port("127.0.0.1:0", tls)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(5)


async def _deliver(
    *forwards: Forward, allowed: str, answer_s: float = 20.0, connect_s: float = 5.0
) -> None:
    settings = PushSettings(parse_allow_list(allowed), KEYS, answer_s=answer_s, connect_s=connect_s)
    with trio.fail_after(30):
        async with open_pusher(settings, "http://edge") as pusher:
            for forward in forwards:
                await pusher.deliver(forward)


def _offer(port: int, host: str = "127.0.0.1") -> Forward:
    return Forward(f"grpc://{host}:{port}", "a", 3)


async def test_what_is_sent() -> None:
    pushes: list[v1.Push] = []
    peers: set[str] = set()

    def note(request: v1.PushRequest, context: grpc.ServicerContext) -> v1.PushResponse:
        headers: Any = dict(context.invocation_metadata())
        verify(KEYS, headers, request.push, float(headers["webhook-timestamp"]))
        pushes.append(v1.Push.FromString(request.push))
        peers.add(context.peer())
        return v1.PushResponse()

    with _serving(note) as port:
        settled = Forward(f"grpc://127.0.0.1:{port}/x", "p", 0, SETTLED)
        await _deliver(_offer(port), settled, allowed=f"private:127.0.0.1:{port}")
    offer, unblock = pushes
    assert offer.execute == v1.Push.Execute(id="a", version=3, server_url="http://edge")
    assert (unblock.unblock.promise.id, unblock.unblock.promise.state) == ("p", v1.STATE_RESOLVED)
    assert len(peers) == 1  # over one connection


async def test_our_own_receiver() -> None:
    runtime, connection = Runtime("g"), _Connection()
    runtime.session.replace_connection(connection)  # type: ignore[arg-type]
    with _serving(runtime=runtime) as port:
        allowed = f"private:127.0.0.1:{port}"
        await _deliver(Forward(f"grpc://127.0.0.1:{port}", "p", 0, SETTLED), allowed=allowed)
        assert connection.acquired == []
        await _deliver(_offer(port), allowed=allowed)
        with trio.fail_after(10):
            while connection.acquired != [("a", 3)]:
                await trio.sleep(0.01)
        connection.has_room = False
        with pytest.raises(DeliveryError, match="UNAVAILABLE: as many functions run here as may"):
            await _deliver(_offer(port), allowed=allowed)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            push: Any = channel.unary_unary(f"/{NAME}/Push")
            for body, code in ((b"", "UNAUTHENTICATED"), (b"\x0a\x01x", "UNAUTHENTICATED")):
                with pytest.raises(grpc.RpcError) as refused:
                    push(body, timeout=10)
                error: Any = refused.value
                assert error.code().name == code


def _serve_aio(runtime: Runtime, port: Future[int], is_over: threading.Event) -> None:
    """Take pushes in a server of grpc.aio that holds its answers, until it is over."""

    async def serve() -> None:
        server = aio.server()
        add_push_servicer(server, runtime, key=KEY, hold=True)
        number = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        port.set_result(number)
        await asyncio.to_thread(is_over.wait, 20)
        await server.stop(None)

    asyncio.run(serve())


async def test_our_own_receiver_on_asyncio_holds_its_answer() -> None:
    runtime, connection = Runtime("g"), _Connection()
    runtime.session.replace_connection(connection)  # type: ignore[arg-type]
    connection.future.set_result(True)
    port, is_over = Future[int](), threading.Event()
    thread = threading.Thread(target=_serve_aio, args=(runtime, port, is_over))
    thread.start()
    try:
        allowed = f"private:127.0.0.1:{port.result(20)}"
        with pytest.raises(DeliveryError, match="no answer within"):
            await _deliver(_offer(port.result()), allowed=allowed, answer_s=0.3)
        connection.ended.set_result(None)
        await _deliver(_offer(port.result()), allowed=allowed)
        assert connection.acquired == [("a", 3)] * 2
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize(
    ("code", "pushback", "rest_s"),
    [
        (grpc.StatusCode.UNAVAILABLE, "1500", 1.5),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "-1", None),
        (grpc.StatusCode.INTERNAL, "1500", None),
    ],
)
async def test_a_receiver_that_refuses(
    code: grpc.StatusCode, pushback: str, rest_s: float | None
) -> None:
    calls: list[None] = []

    def refuse(_request: v1.PushRequest, context: grpc.ServicerContext) -> v1.PushResponse:
        calls.append(None)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
        context.abort(code, "not now")
        raise AssertionError

    failing = pytest.raises(DeliveryError, match=f"{code.name}: not now")
    with _serving(refuse) as port, failing as failed:
        await _deliver(_offer(port), allowed=f"private:127.0.0.1:{port}")
    assert failed.value.retry_after_s == rest_s
    assert len(calls) == 1  # grpc itself tries nothing again


async def test_a_receiver_that_hangs() -> None:
    go_on = threading.Event()

    def hang(_request: v1.PushRequest, _context: grpc.ServicerContext) -> v1.PushResponse:
        go_on.wait(20)
        return v1.PushResponse()

    with _serving(hang) as port:
        with pytest.raises(DeliveryError, match=r"no answer within 0\.5 s"):
            await _deliver(_offer(port), allowed=f"private:127.0.0.1:{port}", answer_s=0.5)
        go_on.set()


async def test_a_receiver_that_is_not_there_or_speaks_no_grpc() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def talk(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.example ESMTP\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, [listener])
        with pytest.raises(DeliveryError):
            await _deliver(_offer(port), allowed=f"private:127.0.0.1:{port}", answer_s=3.0)
        nursery.cancel_scope.cancel()
    await listener.aclose()
    with pytest.raises(DeliveryError, match="UNAVAILABLE"):
        await _deliver(_offer(port), allowed=f"private:127.0.0.1:{port}")


async def test_a_receiver_that_comes_back_at_another_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failure the name is resolved anew, and the receiver is reached at once."""
    asked: list[str] = []
    addresses = ["127.0.0.2", "127.0.0.1"]

    async def lookup(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(None, None, None, None, (addresses[min(len(asked), 2) - 1], port))]

    monkeypatch.setattr("understudy.edge.push.resolution.getaddrinfo", lookup)
    seen: list[Any] = []

    def note(_request: v1.PushRequest, context: grpc.ServicerContext) -> v1.PushResponse:
        seen.append(context.peer())
        return v1.PushResponse()

    with _serving(note) as port, trio.fail_after(30):
        settings = PushSettings(parse_allow_list(f"private:pay.internal:{port}"), KEYS)
        async with open_pusher(settings, "http://edge") as pusher:
            with pytest.raises(DeliveryError, match="UNAVAILABLE"):
                await pusher.deliver(_offer(port, "pay.internal"))
            await pusher.deliver(_offer(port, "pay.internal"))
            await pusher.deliver(_offer(port, "pay.internal"))
    assert (len(seen), len(asked)) == (2, 2)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "*:%d"),
        ("localhost", "*:%d"),
        ("127.0.0.1", "private:127.0.0.1:1"),
        ("[::ffff:127.0.0.1]", "*:%d"),
        ("2130706433", "*:%d"),
    ],
)
async def test_what_is_not_allowed_is_not_connected_to(host: str, allowed: str) -> None:
    seen: list[None] = []

    def note(_request: v1.PushRequest, _context: grpc.ServicerContext) -> v1.PushResponse:
        seen.append(None)
        return v1.PushResponse()

    with _serving(note) as port, pytest.raises(DeliveryError, match="allow"):
        await _deliver(_offer(port, host), allowed=allowed.replace("%d", str(port)))
    assert not seen


async def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(DeliveryError, match="cannot be resolved"):
        await _deliver(Forward("grpc://nowhere.invalid:5", "a", 0), allowed="*,*:5")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of pay.internal, and its key."""
    found, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        f"-subj /CN=pay.internal -addext subjectAltName=DNS:pay.internal -out {found} -keyout {key}"
    )
    subprocess.run(words.split(), check=True, capture_output=True)
    return found, key


@pytest.mark.parametrize(
    ("host", "is_trusted"), [("pay.internal", True), ("pay.internal", False), ("127.0.0.1", True)]
)
async def test_tls(
    certificate: tuple[Path, Path], host: str, is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate must be trusted on this machine, and be that of the name in the target."""
    found, key = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(found) if is_trusted else "/dev/null")

    async def lookup(_host: str, port: int, **_: object) -> list[Any]:
        return [(None, None, None, None, ("127.0.0.1", port))]

    monkeypatch.setattr("understudy.edge.push.resolution.getaddrinfo", lookup)

    def take(_request: v1.PushRequest, _context: grpc.ServicerContext) -> v1.PushResponse:
        return v1.PushResponse()

    tls = grpc.ssl_server_credentials([(key.read_bytes(), found.read_bytes())])
    with _serving(take, tls=tls) as port:
        allowed = f"private:{host}:{port}"
        forward = Forward(f"grpcs://{host}:{port}", "a", 0)
        if host == "pay.internal" and is_trusted:
            await _deliver(forward, allowed=allowed)
        else:
            with pytest.raises(DeliveryError, match="UNAVAILABLE"):
                await _deliver(forward, allowed=allowed)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    def take(_request: v1.PushRequest, _context: grpc.ServicerContext) -> v1.PushResponse:
        return v1.PushResponse()

    with _serving(take) as port:
        await _deliver(_offer(port), allowed=f"private:127.0.0.1:{port}")
