"""The middleware that takes pushes: what is taken, what is refused, and with which answer."""

from __future__ import annotations

import asyncio
import base64
import doctest
import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Any

import httpx
import pytest
import trio
from mangum import Mangum

from tests.support import eventually
from understudy import ConfigurationError, Runtime, signatures
from understudy.edge.push import allow_list, networks, posts
from understudy.push import PushASGI, PushWSGI, asgi, servicer, web, wsgi
from understudy.push.web import BODY_BYTES_MAX
from understudy.signatures import KEY_VARIABLE, parse_keys, sign
from understudy_store import addresses

KEY = base64.b64encode(b"k" * 32).decode()
KEYS = parse_keys(KEY, "a test")
EXECUTE = json.dumps({"kind": "execute", "head": {}, "data": {"task": {"id": "a", "version": 2}}})
UNBLOCK = json.dumps({"kind": "unblock", "head": {}, "data": {"promise": {"id": "a"}}})


class Connection:
    """In the place of the runtime's own."""

    def __init__(self) -> None:
        self.os_pid = __import__("os").getpid()
        self.acquired: list[tuple[str, int]] = []
        self.future: Future[bool] = Future()
        self.ended: Future[None] = Future()
        self.has_room = True

    def acquire(self, id: str, version: int) -> tuple[Future[bool], Future[None]]:
        self.acquired.append((id, version))
        return self.future, self.ended


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def runtime(connection: Connection) -> Runtime:
    runtime = Runtime("g")
    runtime.session.replace_connection(connection)  # type: ignore[arg-type]
    return runtime


def signed(body: bytes, at_s: float | None = None) -> dict[str, str]:
    return sign(KEYS, "msg_1", int(time.time() if at_s is None else at_s), body)


Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def hold() -> bool:
    return False


@pytest.fixture(params=["asgi", "asgi on trio", "wsgi"])
def ask(request: pytest.FixtureRequest, runtime: Runtime, hold: bool) -> Ask:
    """Send a request to the middleware; return status and text."""

    def inner_wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"inner " + environ["PATH_INFO"].encode()]

    async def inner_asgi(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = f"inner {scope['path']}".encode()
        await send({"type": "http.response.body", "body": body})

    async def post_asgi(method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        app: Any = PushASGI(runtime, inner_asgi, key=KEY, hold=hold)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, content=body, headers=headers)

    def ask(
        body: bytes | str, headers: dict[str, str] | None = None,
        method: str = "POST", path: str = "/understudy",
    ) -> tuple[int, str]:  # fmt: skip
        body = body.encode() if isinstance(body, str) else body
        headers = signed(body) if headers is None else headers
        if request.param == "asgi":
            answer = asyncio.run(post_asgi(method, path, body, headers))
            return answer.status_code, answer.text
        if request.param == "asgi on trio":
            answer = trio.run(post_asgi, method, path, body, headers)
            return answer.status_code, answer.text
        app: Any = PushWSGI(runtime, inner_wsgi, key=KEY, hold=hold)
        with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://x") as client:
            answer = client.request(method, path, content=body, headers=headers)
        return answer.status_code, answer.text

    return ask


def test_a_task_is_acquired_after_the_answer(ask: Ask, connection: Connection) -> None:
    assert ask(EXECUTE) == (202, "")
    eventually(lambda: connection.acquired == [("a", 2)])


def test_a_service_that_is_busy_takes_no_task(ask: Ask, connection: Connection) -> None:
    connection.has_room = False
    assert ask(EXECUTE) == (503, "as many functions run here as may")
    assert ask(UNBLOCK) == (202, "")
    assert connection.acquired == []


def test_a_settlement_is_taken(ask: Ask, connection: Connection) -> None:
    assert ask(UNBLOCK) == (202, "")
    assert connection.acquired == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "no push"),
        (b"{", 400, "no push"),
        (b"[]", 400, "no push"),
        (b'{"kind": "execute"}', 400, "no push"),
        (b'{"kind": "execute", "data": {"task": {"id": 7, "version": 0}}}', 400, "no push"),
        (b"\xff", 400, "no push"),
    ],
)
def test_what_is_no_push(ask: Ask, body: bytes, status: int, text: str) -> None:
    found = ask(body)
    assert found[0] == status
    assert text in found[1]


def test_whoever_has_not_the_key_is_refused(ask: Ask, connection: Connection) -> None:
    body = EXECUTE.encode()
    late = signed(body, time.time() - 1_000)
    others = sign(parse_keys(base64.b64encode(b"o" * 32).decode(), ""), "m", int(time.time()), body)
    for headers in ({}, late, others, signed(b"another body")):
        assert ask(body, headers)[0] == 401
    assert connection.acquired == []


def test_other_methods_and_paths(ask: Ask) -> None:
    assert ask(EXECUTE, method="PUT")[0] == 405
    assert ask(EXECUTE, path="/else") == (200, "inner /else")
    assert ask(EXECUTE, path="/understudy/") == (200, "inner /understudy/")


# httpx leaves the body that nobody has read to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_body_that_is_too_long(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.push.web.BODY_BYTES_MAX", 100)
    body = EXECUTE.encode() + b" " * 100
    assert ask(body)[0] == 413
    assert BODY_BYTES_MAX > 8 * 1024 * 1024


def test_a_task_that_cannot_be_acquired_is_logged(
    ask: Ask, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.future.set_exception(RuntimeError("no broker"))
    assert ask(EXECUTE) == (202, "")
    eventually(lambda: "task a was pushed here, and cannot be acquired: no broker" in caplog.text)


# AWS Lambda --------------------------------------------------------------------------------------


def lambda_event(kind: str, body: str, headers: dict[str, str], is_base64: bool) -> dict[str, Any]:
    """Return a request as AWS Lambda gets it from a function URL, an API Gateway, a balancer."""
    if is_base64:
        body = base64.b64encode(body.encode()).decode()
    event: dict[str, Any] = {"headers": headers, "body": body, "isBase64Encoded": is_base64}
    if kind == "function url":
        http = {"method": "POST", "path": "/understudy", "sourceIp": "203.0.113.7"}
        more = {"version": "2.0", "rawPath": "/understudy", "rawQueryString": ""}
        return {**event, **more, "requestContext": {"http": http}}
    asked = {"httpMethod": "POST", "path": "/understudy"}
    if kind == "balancer":
        return {**event, **asked, "queryStringParameters": {}, "requestContext": {"elb": {}}}
    return {
        **event, **asked, "resource": "/understudy", "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "multiValueHeaders": {name: [text] for name, text in headers.items()},
        "requestContext": {"identity": {"sourceIp": "203.0.113.7"}},
    }  # fmt: skip


@pytest.fixture
def _loop() -> Iterator[None]:
    """The loop that Mangum takes, and would leave open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("_loop")
@pytest.mark.parametrize("is_base64", [False, True])
@pytest.mark.parametrize("kind", ["function url", "gateway", "balancer"])
def test_on_aws_lambda(
    kind: str, is_base64: bool, runtime: Runtime, connection: Connection
) -> None:
    connection.future.set_result(True)
    connection.ended.set_result(None)
    app: Any = PushASGI(runtime, key=KEY, hold=True)
    handler = Mangum(app, lifespan="off")
    body = json.dumps({"kind": "execute", "data": {"task": {"id": "ä", "version": 2}}})
    context: Any = None
    headers = {"content-type": "application/json", "host": "x", **signed(body.encode())}
    answer = handler(lambda_event(kind, body, headers, is_base64), context)
    assert (answer["statusCode"], answer["body"]) == (200, "")
    assert connection.acquired == [("ä", 2)]
    forged = {**headers, "webhook-id": "msg_2"}
    assert handler(lambda_event(kind, body, forged, is_base64), context)["statusCode"] == 401


# Answers that are held ----------------------------------------------------------------------------


def later(*acts: Callable[[], object]) -> threading.Thread:
    """Do things, one after the other, while a request is answered."""

    def act() -> None:
        for each in acts:
            time.sleep(0.02)
            each()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.parametrize("hold", [True])
def test_an_answer_is_held_until_the_task_is_given_up(ask: Ask, connection: Connection) -> None:
    order: list[str] = []
    thread = later(
        lambda: connection.future.set_result(True),
        lambda: order.append("performed"),
        lambda: connection.ended.set_result(None),
    )
    assert ask(EXECUTE) == (200, "")
    assert order == ["performed"]
    thread.join()
    assert connection.acquired == [("a", 2)]


@pytest.mark.parametrize("hold", [True])
def test_nothing_is_held_for_what_is_no_task_here(ask: Ask, connection: Connection) -> None:
    assert ask(UNBLOCK) == (202, "")
    assert ask(EXECUTE, {})[0] == 401
    connection.future.set_result(False)
    assert ask(EXECUTE) == (200, "")
    connection.has_room = False
    assert ask(EXECUTE)[0] == 503


@pytest.mark.parametrize("hold", [True])
def test_an_answer_is_held_and_the_task_cannot_be_acquired(
    ask: Ask, connection: Connection
) -> None:
    connection.future.set_exception(RuntimeError("no broker"))
    status, text = ask(EXECUTE)
    assert (status, "no broker" in text) == (503, True)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_request_that_is_canceled_while_its_answer_is_held(
    library: str,
    runtime: Runtime,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app: Any = PushASGI(runtime, key=KEY, hold=True)
    body = EXECUTE.encode()
    headers = [(name.encode(), text.encode()) for name, text in signed(body).items()]
    scope = {"type": "http", "method": "POST", "path": "/understudy", "headers": headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: object) -> None:
        raise AssertionError(message)

    async def on_asyncio() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(app(scope, receive, send), 0.05)

    async def on_trio() -> None:
        with trio.move_on_after(0.05):
            await app(scope, receive, send)

    if library == "trio":
        trio.run(on_trio)
    else:
        asyncio.run(on_asyncio())
    # The task goes on, and its end disturbs nobody.
    connection.future.set_result(True)
    connection.ended.set_result(None)
    assert not caplog.records


@pytest.mark.parametrize("hold", [True])
def test_an_answer_is_held_and_the_connection_ends(ask: Ask, connection: Connection) -> None:
    connection.future.set_result(True)
    connection.ended.set_exception(RuntimeError("stopped"))
    assert ask(EXECUTE) == (503, "stopped")


@pytest.mark.parametrize("kind", [PushASGI, PushWSGI])
def test_a_key_is_needed(
    kind: type[PushASGI] | type[PushWSGI], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match="no key in the variable UNDERSTUDY_PUSH_KEY"):
        kind(runtime)
    with pytest.raises(ConfigurationError, match="the argument key"):
        kind(runtime, key="x")
    with pytest.raises(ConfigurationError, match="does not begin with"):
        kind(runtime, key=KEY, path="push")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    kind(runtime)


def test_alone_there_is_nothing_else(runtime: Runtime) -> None:
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO()}
    app = PushWSGI(runtime, key=KEY)
    assert app(environ, lambda status, _: statuses.append(status)) == [b"there is nothing here"]
    assert statuses == ["404 Not Found"]


async def test_a_request_that_is_cut_off_and_a_life_without_an_inner_application(
    runtime: Runtime,
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    def told(*messages: dict[str, Any]) -> Any:
        waiting = list(messages)

        async def receive() -> dict[str, Any]:
            return waiting.pop(0)

        return receive

    app = PushASGI(runtime, key=KEY)
    life = told({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await app({"type": "lifespan"}, life, send)
    assert [each["type"] for each in sent] == [
        "lifespan.startup.complete", "lifespan.shutdown.complete"
    ]  # fmt: skip
    sent.clear()
    scope = {"type": "http", "method": "POST", "path": "/understudy", "headers": []}
    more = {"type": "http.request", "body": b"x", "more_body": True}
    await app(scope, told(more, {"type": "http.disconnect"}), send)
    assert sent[0]["status"] == 400
    sent.clear()
    await app({**scope, "path": "/else"}, told(), send)
    assert sent[0]["status"] == 404


@pytest.mark.parametrize(
    "module", [asgi, wsgi, servicer, web, signatures, allow_list, networks, posts, addresses]
)
def test_the_examples_in_docstrings(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
