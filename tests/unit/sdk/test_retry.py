"""Retry policies: pauses, ends, and the form in which they travel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import urlopen

import aiohttp
import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import (
    CommandError,
    ConfigurationError,
    DecodingError,
    EncodingError,
    InvalidArgumentsError,
    NonRetryableError,
    RemoteError,
    RequestError,
)
from understudy.retry import Constant, Exponential, Linear, Never, Retry, from_wire, to_wire

ERROR = RuntimeError("x")


def pauses(policy: Retry, attempts: int = 20) -> list[float]:
    """Delays until the policy gives up."""
    found: list[float] = []
    for attempt in range(1, attempts + 1):
        delay_s = policy.delay_s(attempt, ERROR)
        if delay_s is None:
            break
        assert isinstance(delay_s, float)
        found.append(delay_s)
    return found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Exponential(), [0.5, 1.0, 2.0, 4.0, 8.0]),
        (Exponential(1, 10, 50, 5), [1.0, 10.0, 50.0, 50.0]),
        (Constant(2, 4), [2.0, 2.0, 2.0]),
        (Linear(1, 2.5, 5), [1.0, 2.0, 2.5, 2.5]),
        (Never(), []),
        (Constant(1, 1), []),
    ],
    ids=repr,
)
def test_pauses(policy: Retry, expected: list[float]) -> None:
    assert pauses(policy) == expected


def test_no_end_but_the_deadline() -> None:
    assert Exponential(max_attempts=None).delay_s(10**6, ERROR) == 30.0
    assert len(pauses(Constant(1, None), attempts=50)) == 50


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        Constant().delay_s(0, ERROR)


class Fatal(NonRetryableError):
    pass


@pytest.mark.parametrize("policy", [Exponential(), Constant(), Linear()], ids=repr)
def test_errors_that_are_never_retried(policy: Retry) -> None:
    assert policy.delay_s(1, Fatal()) is None
    assert policy.delay_s(1, ERROR) is not None


@pytest.mark.parametrize(
    "policy",
    [
        Constant(1, 5, non_retryable=(LookupError,)),
        Constant(1, 5, non_retryable=("builtins.LookupError",)),
        Constant(1, 5, non_retryable=("LookupError",)),
        from_wire(Constant(1, 5, non_retryable=("LookupError",)).to_wire()),
        from_wire("const:1:5;not=LookupError"),
    ],
    ids=repr,
)
def test_errors_that_this_policy_does_not_retry(policy: Retry) -> None:
    assert policy.delay_s(1, KeyError("subclass")) is None
    assert policy.delay_s(1, ERROR) == 1.0


def test_a_name_also_means_what_could_not_be_rebuilt() -> None:
    policy = from_wire("const:1:5;not=shop.stock.OutOfStock")
    assert policy.delay_s(1, RemoteError("shop.stock.OutOfStock", "")) is None
    assert policy.delay_s(1, RemoteError("shop.stock.Other", "")) == 1.0


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Exponential(), "exp:0.5:2:30:6"),
        (Exponential(max_attempts=None), "exp:0.5:2:30:inf"),
        (Constant(1, 5), "const:1:5"),
        (Linear(0.1, 30, 6), "linear:0.1:30:6"),
        (Never(), "never"),
        (
            Constant(1, 5, (KeyError, Fatal)),
            f"const:1:5;not=builtins.KeyError,{Fatal.__module__}.Fatal",
        ),
        (Constant(1, 5, ("nowhere.Bad",)), "const:1:5;not=nowhere.Bad"),
    ],
    ids=repr,
)
def test_text_form(policy: Retry, text: str) -> None:
    assert to_wire(policy) == text
    assert from_wire(text) == policy


seconds = st.floats(0, 1e9) | st.integers(0, 10**9)
attempts = st.none() | st.integers(1, 10**9)


@given(
    st.builds(Exponential, seconds, st.floats(1, 1e6), seconds, attempts)
    | st.builds(Linear, seconds, seconds, attempts)
    | st.builds(Constant, seconds, attempts),
    st.integers(1, 10**6),
)
def test_any_policy_travels(policy: Retry, attempt: int) -> None:
    again = from_wire(to_wire(policy))
    assert again == policy
    delay_s = policy.delay_s(attempt, ERROR)
    assert again.delay_s(attempt, ERROR) == delay_s
    assert delay_s is None or (isinstance(delay_s, float) and 0 <= delay_s <= 1e9)


@pytest.mark.parametrize(
    "text",
    [
        "", "exp", "exp:1", "exp:a:2:30:6", "exp:-1:2:30:6", "exp:nan:2:30:6", "exp:inf:2:30:6",
        "const:1:5:6", "const:1:1.5", "const:1:0", "never:1", "never;not=builtins.ValueError",
        "const:1:5;not=", "const:1:5;but=x", "const:1:5;not=a,,b", "fibonacci:1",
    ],
)  # fmt: skip
def test_text_that_is_no_policy(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a retry policy") as caught:
        from_wire(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        (Exponential, {"initial_s": -1}, "initial_s=-1"),
        (Exponential, {"initial_s": "1"}, "initial_s='1'"),
        (Exponential, {"factor": 0.5}, "factor=0.5"),
        (Exponential, {"max_delay_s": float("inf")}, "max_delay_s=inf"),
        (Linear, {"step_s": float("nan")}, "step_s=nan"),
        (Constant, {"pause_s": True}, "pause_s=True"),
        (Constant, {"max_attempts": 0}, "max_attempts=0"),
        (Constant, {"max_attempts": 2.0}, r"max_attempts=2\.0"),
        (Constant, {"non_retryable": KeyError}, "non_retryable="),
        (Constant, {"non_retryable": (int,)}, "non_retryable="),
        (Constant, {"non_retryable": ("a,b",)}, "non_retryable="),
        (Constant, {"non_retryable": ("a.b,c",)}, "non_retryable="),
        (Constant, {"non_retryable": ("Refused",)}, "non_retryable=.*with their module"),
        (Constant, {"non_retryable": ("print",)}, "non_retryable=.*with their module"),
        (Constant, {"non_retryable": ("",)}, "non_retryable="),
    ],
)
def test_arguments_that_make_no_sense(kind: Any, given: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\({named}"):
        kind(**given)


class Mine:
    def delay_s(self, attempt: int, error: BaseException) -> float | None:
        return 1.0


def test_a_policy_of_ones_own_stays_where_it_is_registered() -> None:
    assert isinstance(Mine(), Retry)
    with pytest.raises(ConfigurationError, match="cannot travel"):
        to_wire(Mine())


class Refused(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgumentsError("f() missing 1 argument"),
        DecodingError("the result of f", "damaged"),
        EncodingError("argument 1", "a lock"),
        RequestError("not yielded"),
        CommandError(413, "too large"),
        ExceptionGroup("several", [OSError(), Fatal()]),
        ExceptionGroup("several", [OSError(), ExceptionGroup("inner", [Refused()])]),
        ExceptionGroup("several", [DecodingError("x", "y")]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("policy", [Exponential(), Constant(), Linear()], ids=repr)
def test_errors_that_no_attempt_mends(policy: Any, error: Exception) -> None:
    policy = replace(policy, non_retryable=(Refused,))
    assert policy.delay_s(1, error) is None
    assert policy.delay_s(1, ExceptionGroup("several", [OSError()])) is not None
    assert policy.delay_s(1, CommandError(503, "later")) is not None


class Busy(BaseHTTPRequestHandler):
    """Answers that the server is busy, with the headers that the query asks for and no others."""

    def do_GET(self) -> None:
        self.send_response_only(429, "busy")
        for name, value in parse_qsl(urlsplit(self.path).query, keep_blank_values=True):
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def busy_url() -> Iterator[str]:
    """The address of a server that is always busy."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def by_urllib(url: str) -> None:
    urlopen(url)


def by_requests(url: str) -> None:
    requests.get(url, timeout=20).raise_for_status()


def by_httpx(url: str) -> None:
    httpx.get(url).raise_for_status()


def by_aiohttp(url: str) -> None:
    async def get() -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            await session.get(url)

    asyncio.run(get())


def error_of(get: Callable[[str], None], url: str) -> Exception:
    """Return the error that a library for HTTP raises."""
    try:
        get(url)
    except Exception as error:
        return error
    raise AssertionError("the server was not busy")


NOON = "Sun, 29 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "0"}, 2.0),
        ({"Retry-After": "100000"}, 600.0),
        ({"Retry-After": "Sun, 29 Nov 2026 12:01:30 GMT", "Date": NOON}, 90.0),
        ({"Retry-After": "Sun, 29 Nov 2026 11:00:00 GMT", "Date": NOON}, 2.0),
        ({"Retry-After": "Sun, 29 Nov 2026 12:01:30 -0000", "Date": NOON}, 90.0),
        ({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, 2.0),
        ({"Retry-After": "Fri, 01 Jan 2999 00:00:00 GMT"}, 600.0),
        ({"Retry-After": "soon"}, 2.0),
        ({"Retry-After": "-5"}, 2.0),
        ({"Date": NOON}, 2.0),
        ({}, 2.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("get", [by_urllib, by_requests, by_httpx, by_aiohttp])
def test_retry_after(
    get: Callable[[str], None], headers: dict[str, str], pause_s: float, busy_url: str
) -> None:
    policy = Constant(2, retry_after_max_s=600)
    error = error_of(get, f"{busy_url}?{urlencode(headers)}")
    assert "429" in str(error)
    assert policy.delay_s(1, error) == pause_s
    assert policy.delay_s(1, ExceptionGroup("several", [OSError(), error])) == pause_s
    assert Constant(2).delay_s(1, error) == 2.0
    assert policy.delay_s(6, error) is None
    if isinstance(error, HTTPError):
        error.close()


def test_errors_that_only_look_like_those_of_http() -> None:
    policy = Constant(2, retry_after_max_s=600)
    for headers in (None, 7, [("Retry-After", "9")], {"Retry-After": 9}):
        error = OSError()
        error.headers = headers  # type: ignore[attr-defined]
        assert policy.delay_s(1, error) == 2.0
    with pytest.raises(ConfigurationError, match="retry_after_max_s"):
        Constant(retry_after_max_s=-1)


def test_an_error_whose_attributes_raise_is_retried_all_the_same() -> None:
    class Answered(Exception):
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    assert Constant(2, retry_after_max_s=600).delay_s(1, Answered()) == 2.0


def test_retry_after_travels() -> None:
    policy = Linear(1, 5, None, (KeyError,), 60)
    assert to_wire(policy) == "linear:1:5:inf;not=builtins.KeyError;after=60"
    assert from_wire(to_wire(policy)) == policy
    assert from_wire("const:1:5;after=1.5") == Constant(1, 5, retry_after_max_s=1.5)
    for wrong in ("const:1:5;after=x", "const:1:5;later=1", "const:1:5;after=inf", "never;after=1"):
        with pytest.raises(ConfigurationError, match="is not a retry policy"):
            from_wire(wrong)
