"""The listener answers what it knows, and survives what strangers send."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection

import pytest

from understudy_broker.monitoring.address import Place
from understudy_broker.monitoring.listener import (
    Answer,
    Listener,
    MonitoringListenError,
    bind,
    text_answer,
)


def _fail() -> Answer:
    raise ZeroDivisionError("not today")


@pytest.fixture
def listener() -> Iterator[Listener]:
    pages = {"/health": lambda: text_answer(200, "healthy"), "/fault": _fail}
    listener = Listener(bind(Place("127.0.0.1", 0)), pages)
    yield listener
    listener.stop()


def ask(listener: Listener, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection(*listener.place, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def raw(listener: Listener, data: bytes) -> bytes:
    with socket.create_connection(listener.place, timeout=10) as sock:
        sock.sendall(data)
        with suppress(OSError):  # The listener may have hung up by now.
            sock.shutdown(socket.SHUT_WR)
        try:
            return sock.makefile("rb").read()
        except ConnectionResetError:
            return b""


def test_what_is_known_is_answered(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(listener, "/health?verbose=1") == (200, "healthy\n")
    assert ask(listener, "/health", "HEAD") == (200, "")
    assert ask(listener, "/health", "POST")[0] == 405
    assert ask(listener, "/x") == (404, "there is nothing here; there are /fault, /health\n")
    assert ask(listener, "/fault")[0] == 500
    assert "not today" in caplog.text
    assert raw(listener, b"\x16\x03\x01 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    # A request that never ends, and one that is too long, get no answer and do no harm.
    assert raw(listener, b"GET /health HTTP/1.1\r\n") == b""
    with pytest.raises((ConnectionError, AssertionError)):
        assert raw(listener, b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000) != b""
    assert ask(listener, "/health")[0] == 200


def test_a_place_that_is_taken_is_an_error(listener: Listener) -> None:
    with pytest.raises(MonitoringListenError, match=r"cannot show metrics at 127\.0\.0\.1:"):
        bind(listener.place)


def test_a_forked_child_does_not_keep_the_port() -> None:
    listener = Listener(bind(Place("127.0.0.1", 0)), {})
    reader, writer = os.pipe()
    begun, begins = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads: this is what the test is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(writer)
        os.write(begins, b"x")
        os.read(reader, 1)
        os._exit(0)
    try:
        os.read(begun, 1)
        listener.stop()
        bind(listener.place).close()
    finally:
        for end in (writer, reader, begun, begins):
            os.close(end)
        os.waitpid(child, 0)


def test_nobody_is_answered_after_the_end(listener: Listener) -> None:
    listener.stop()
    with pytest.raises(ConnectionError):
        ask(listener, "/health")
    listener.stop()
