"""The HTTP client of pushes, over real sockets: time limits, redirects, and checked addresses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeAlias

import httpcore
import pytest
import trio

from understudy.edge.carrier import DeliveryError
from understudy.edge.push.allow_list import NotAllowedError, parse_allow_list
from understudy.edge.push.networks import reach_of
from understudy.edge.push.poster import Poster, open_poster
from understudy.edge.push.posts import make_post
from understudy.edge.push.settings import PushSettings
from understudy_broker.protocol.messages import Forward

KEYS = (b"k" * 32,)
Answer: TypeAlias = Callable[[trio.SocketStream], Awaitable[None]]
_OK = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


class _Server:
    """A server in this process, that answers as it is told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._handle, [listener], task_status=task_status)

    async def _handle(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            while request := await _read(stream):
                self.requests.append(request)
                await self.answer(stream)
        except trio.BrokenResourceError:
            return


async def _read(stream: trio.SocketStream) -> bytes:
    """Read one request, head and body."""
    request = b""
    while data := await stream.receive_some(65_536):
        request += data
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if end and length is not None and len(body) >= int(length[1]):
            return request
    return b""


async def _say(text: bytes, stream: trio.SocketStream) -> None:
    await stream.send_all(text)


async def _hang(_stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def _without_end(stream: trio.SocketStream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await stream.send_all(b"400\r\n" + b"x" * 1024 + b"\r\n")


async def _drip(stream: trio.SocketStream) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000:
        await stream.send_all(bytes([byte]))
        await trio.sleep(0.05)


@asynccontextmanager
async def _serving(answer: Answer) -> AsyncIterator[_Server]:
    server = _Server(answer)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            yield server
            nursery.cancel_scope.cancel()


async def _post(url: str, allowed: str, times: int = 1, answer_s: float = 20.0) -> int:
    settings = PushSettings(parse_allow_list(allowed), KEYS, answer_s=answer_s)
    poster, status = Poster(settings, "http://edge"), 0
    try:
        for _ in range(times):
            post = make_post(Forward(url, "a", 0), KEYS, "http://edge", 1.0)
            status = (await poster.post(post)).status
        return status
    finally:
        await poster.aclose()


async def test_one_connection_serves_several_pushes() -> None:
    async with _serving(partial(_say, _OK)) as server:
        url, allowed = f"http://127.0.0.1:{server.port}/x?y", f"private:127.0.0.1:{server.port}"
        assert await _post(url, allowed, times=3) == 202
        assert (len(server.requests), server.connections) == (3, 1)
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /x?y HTTP/1.1\r\n")
        for name in (b"host: 127.0.0.1:", b"webhook-id: msg_", b"webhook-signature: v1,"):
            assert name in head.lower()
        assert b'"execute"' in body


@pytest.mark.parametrize("status", [302, 307, 500])
async def test_a_redirect_is_not_followed(status: int) -> None:
    answer = b"HTTP/1.1 %d X\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n" % status
    async with _serving(partial(_say, answer)) as server:
        url, allowed = f"http://127.0.0.1:{server.port}/", f"private:127.0.0.1:{server.port}"
        assert await _post(url, allowed) == status
        assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "rest_s"), [(503, 7.0), (429, 7.0), (500, None)])
async def test_a_receiver_says_how_long_to_leave_it_alone(
    status: int, rest_s: float | None
) -> None:
    answer = b"HTTP/1.1 %d X\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n" % status
    async with _serving(partial(_say, answer)) as server:
        allowed = parse_allow_list(f"private:127.0.0.1:{server.port}")
        async with open_poster(PushSettings(allowed, KEYS), "http://edge") as poster:
            with pytest.raises(DeliveryError, match=f"status {status}") as failed:
                await poster.deliver(Forward(f"http://127.0.0.1:{server.port}/", "a", 0))
        assert failed.value.retry_after_s == rest_s


async def test_a_long_answer_is_not_read() -> None:
    async with _serving(_without_end) as server:
        url, allowed = f"http://127.0.0.1:{server.port}/", f"private:127.0.0.1:{server.port}"
        assert await _post(url, allowed) == 200


@pytest.mark.parametrize("answer", [_hang, _drip])
async def test_a_receiver_that_hangs_or_drips(answer: Answer) -> None:
    async with _serving(answer) as server:
        url, allowed = f"http://127.0.0.1:{server.port}/", f"private:127.0.0.1:{server.port}"
        with pytest.raises(trio.TooSlowError):
            await _post(url, allowed, answer_s=0.5)
        assert len(server.requests) == 1


async def test_a_receiver_that_speaks_no_http() -> None:
    async with _serving(partial(_say, b"220 mail.example ESMTP\r\n\r\n")) as server:
        url, allowed = f"http://127.0.0.1:{server.port}/", f"private:127.0.0.1:{server.port}"
        with pytest.raises(httpcore.ProtocolError):
            await _post(url, allowed)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "*:%d"),
        ("127.0.0.1", "*,*:%d"),
        ("localhost", "*:%d"),
        ("2130706433", "*:%d"),
        ("0x7f.1", "*:%d"),
        ("127.1", "*:%d,private:127.0.0.1:%d"),
        ("127.0.0.1", "private:127.0.0.1:1"),
        ("127.0.0.1", "private:127.0.0.2:%d"),
        ("[::ffff:127.0.0.1]", "*:%d"),
    ],
)
async def test_what_is_not_allowed_is_not_connected_to(host: str, allowed: str) -> None:
    async with _serving(partial(_say, _OK)) as server:
        with pytest.raises(NotAllowedError):
            await _post(f"http://{host}:{server.port}/", allowed.replace("%d", str(server.port)))
        assert server.connections == 0


async def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that leads elsewhere at the second question is of no use to an attacker."""
    asked: list[str] = []
    async with _serving(partial(_say, _OK)) as server:

        async def lookup(host: str, port: int, **_: object) -> list[Any]:
            asked.append(host)
            address = "10.255.255.1" if len(asked) > 1 else "127.0.0.1"
            return [(None, None, None, None, (address, port))]

        monkeypatch.setattr("understudy.edge.push.resolution.getaddrinfo", lookup)
        url = f"http://pay.internal:{server.port}/"
        assert await _post(url, f"private:pay.internal:{server.port}") == 202
        assert (asked, server.connections) == (["pay.internal"], 1)
        assert reach_of(ip_address("127.0.0.1")) == "private"


async def test_of_several_addresses_only_those_that_are_allowed_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lookup(_host: str, port: int, **_: object) -> list[Any]:
        texts = ("169.254.169.254", "fe80::1%eth0", "127.0.0.1")
        return [(None, None, None, None, (text, port)) for text in texts]

    monkeypatch.setattr("understudy.edge.push.resolution.getaddrinfo", lookup)
    async with _serving(partial(_say, _OK)) as server:
        url = f"http://pay.internal:{server.port}/"
        assert await _post(url, f"private:pay.internal:{server.port}") == 202
        with pytest.raises(NotAllowedError):
            await _post(url, f"pay.internal:{server.port}")
        assert server.connections == 1


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 64 + ".example"])
async def test_a_host_that_does_not_exist(host: str) -> None:
    with pytest.raises(httpcore.ConnectError, match="cannot be resolved"):
        await _post(f"http://{host}/", "*")
