"""Webhooks: their settings, their signatures, and what an event becomes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.edge.hooks import Hook, parse_hooks
from understudy.edge.native.hooks import (
    challenge_of,
    event_id,
    passed_headers,
    payload_of,
    promise_id,
)
from understudy.edge.native.problems import Problem
from understudy.edge.native.signatures import TOLERANCE_S, verify
from understudy.errors import ConfigurationError

SECRET = b"It's a Secret to Everybody"
NOW = 1_700_000_000.0


def digest(signed: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, signed, "sha256").hexdigest()


def signed(scheme: str, body: bytes, time: float = NOW, secret: bytes = SECRET) -> dict[str, str]:
    """Return the headers with which a sender signs a body."""
    at = f"{time:.0f}"
    if scheme == "github":
        return {"x-hub-signature-256": f"sha256={digest(body, secret)}"}
    if scheme == "stripe":
        signature = digest(f"{at}.".encode() + body, secret)
        return {"stripe-signature": f"t={at},v1={signature},v0=old"}
    signature = digest(f"v0:{at}:".encode() + body, secret)
    return {"x-slack-request-timestamp": at, "x-slack-signature": f"v0={signature}"}


def refused(scheme: str, headers: Mapping[str, str], body: bytes, now: float = NOW) -> str:
    """Return the text with which a request is refused."""
    with pytest.raises(Problem) as raised:
        verify(scheme, [SECRET], headers, body, now)
    assert raised.value.status == 401
    return raised.value.detail


def test_the_examples_of_the_senders() -> None:
    # https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    verify("github", [SECRET], {"x-hub-signature-256": github}, b"Hello, World!", 0)
    # https://api.slack.com/authentication/verifying-requests-from-slack
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&"
        b"channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&"
        b"command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
        b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    slack = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": (
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        ),
    }
    verify("slack", [b"8f742231b10e8888abcd99yyyzzz85a5"], slack, body, 1531420618)


@pytest.mark.parametrize("scheme", ["github", "stripe", "slack"])
def test_signatures(scheme: str) -> None:
    body = b'{"a":1}'
    headers = signed(scheme, body)
    verify(scheme, [SECRET], headers, body, NOW)
    verify(scheme, [b"new", SECRET], headers, body, NOW)
    assert "not made with the secret" in refused(scheme, headers, body + b" ")
    other = signed(scheme, body, secret=b"other")
    assert "not made with the secret" in refused(scheme, other, body)
    assert "is missing" in refused(scheme, {}, body)


@pytest.mark.parametrize("scheme", ["stripe", "slack"])
def test_times_in_signatures(scheme: str) -> None:
    for away in (TOLERANCE_S, -TOLERANCE_S):
        verify(scheme, [SECRET], signed(scheme, b"x", NOW - away), b"x", NOW)
    old = signed(scheme, b"x", NOW - TOLERANCE_S - 1)
    assert "is 301 s away from that of this edge" in refused(scheme, old, b"x")
    assert "an old request" in refused(scheme, signed(scheme, b"x", NOW + 301), b"x")
    # A stranger who has seen an old request cannot give it another time.
    newer = {
        name: text.replace(f"{NOW - 400:.0f}", f"{NOW:.0f}")
        for name, text in signed(scheme, b"x", NOW - 400).items()
    }
    assert "not made with the secret" in refused(scheme, newer, b"x")


@given(st.sampled_from(["github", "stripe", "slack"]), st.text(), st.text())
def test_no_nonsense_is_a_signature(scheme: str, first: str, second: str) -> None:
    headers = {
        "x-hub-signature-256": first,
        "stripe-signature": first,
        "x-slack-signature": first,
        "x-slack-request-timestamp": second,
    }
    refused(scheme, headers, b"body")


def hook(scheme: str = "github", **more: Any) -> Hook:
    return Hook("h", scheme, (SECRET,), **({"group": "g", "function": "f"} | more))


def test_the_same_event_has_the_same_id() -> None:
    assert event_id(hook("stripe"), {"id": "evt_1"}, b"{}") == "hooks/h/evt_1"
    assert event_id(hook("slack"), {"event_id": "Ev1"}, b"{}") == "hooks/h/Ev1"
    # GitHub does not sign the id of a delivery, so only the body tells one event from another.
    first, second = (event_id(hook(), {"id": 1}, body) for body in (b"a", b"b"))
    assert first != second
    assert first == event_id(hook(), {"id": 1}, b"a")
    assert event_id(hook("stripe"), {"id": 7}, b"a") == first


def test_bodies() -> None:
    form = "application/x-www-form-urlencoded"
    assert payload_of(b'{"a":1}', "application/json") == {"a": 1}
    assert payload_of(b"a=1&b=", form) == {"a": "1", "b": ""}
    assert payload_of(b"payload=%7B%22a%22%3A1%7D", form) == {"a": 1}
    for body, kind in ((b"\xff=1", form), (b"{", "application/json"), (b"1", "text/plain")):
        with pytest.raises(Problem):
            payload_of(body, kind)


def test_slack_asks_whether_this_is_its_hook() -> None:
    asked = {"type": "url_verification", "challenge": "abc"}
    assert challenge_of(hook("slack"), asked) == "abc"
    assert challenge_of(hook("github"), asked) is None
    assert challenge_of(hook("slack"), {"type": "event_callback"}) is None


def test_the_promise_of_an_event() -> None:
    payment = hook("stripe", promise="payment-{data.object.order}/{n}")
    payload = {"data": {"object": {"order": "a.7"}}, "n": 3}
    assert promise_id(payment, payload) == "payment-a.7/3"
    for bad in ({}, None, {"data": 1}, {"data": {"object": {"order": ["x"]}}, "n": 3}):
        with pytest.raises(Problem) as raised:
            promise_id(payment, bad)
        assert raised.value.more["field"] == "/data/object/order"


def test_a_function_gets_no_signature() -> None:
    headers = {
        "x-github-event": "push",
        "x-hub-signature-256": "x",
        "x-slack-signature": "x",
        "stripe-signature": "x",
        "authorization": "x",
    }
    assert passed_headers(headers) == {"x-github-event": "push"}


GOOD = {"name": "ci", "scheme": "github", "secret_env": "S", "group": "g", "function": "f"}


def test_settings() -> None:
    [made] = parse_hooks({"hook": [GOOD]}, {"S": "secret"})
    assert made == Hook("ci", "github", (b"secret",), "g", "f")
    payment = {"name": "p", "scheme": "stripe", "secret_env": ["S", "T"], "promise": "p-{id}"}
    [made] = parse_hooks({"hook": [payment]}, {"S": "1", "T": "2"})
    assert made == Hook("p", "stripe", (b"1", b"2"), promise="p-{id}")
    assert parse_hooks({}, {}) == ()


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ([GOOD | {"name": "a/b"}], "hook name='a/b'"),
        ([GOOD | {"scheme": "gitlab"}], "it must be one of github, stripe, slack"),
        ([GOOD | {"secret_env": "NONE"}], "the environment variable NONE is not set"),
        ([GOOD | {"secret_env": 7}], "secret_env must name the environment variable"),
        ([GOOD | {"secret": "x"}], "unknown key: secret"),
        ([GOOD | {"promise": "p"}], "needs group and function, for a call, or promise"),
        ([GOOD | {"function": ""}], "needs group and function, for a call, or promise"),
        ([GOOD | {"group": "a b"}], "hook 'ci': group 'a b' is not valid"),
        ([GOOD, GOOD], "hook 'ci' is there twice"),
        ([7], "a table [[hook]] for each"),
    ],
)
def test_settings_that_make_no_sense(tables: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_hooks({"hook": tables}, {"S": "secret"})
    assert text in str(raised.value)
