"""What is pushed: body, headers, and what the status of an answer means."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import pytest

from understudy import ConfigurationError
from understudy.edge.options import EdgeOptions
from understudy.edge.push.posts import flaw_of, make_post, message_id, retry_after_s
from understudy.edge.push.settings import push_settings
from understudy.signatures import KEY_VARIABLE, parse_keys, verify
from understudy_broker.protocol.messages import Forward
from understudy_store.records import EMPTY, PromiseRecord, Value

KEY = base64.b64encode(b"k" * 32).decode()
KEYS = parse_keys(KEY, "a test")
EDGE = "https://edge.example"
URL = "https://pay.example/hook?a=b"
SETTLED = PromiseRecord("p", "resolved", EMPTY, Value({}, b"x"), {}, 9, 1, 2)
NOW = 1_700_000_000.9


def test_the_offer_of_a_task() -> None:
    post = make_post(Forward(URL, "order 7/ä", 3), KEYS, EDGE, NOW)
    assert json.loads(post.body) == {
        "kind": "execute",
        "head": {"serverUrl": EDGE},
        "data": {"task": {"id": "order 7/ä", "version": 3}},
    }
    assert post.headers["content-type"] == "application/json"
    verify(KEYS, post.headers, post.body, NOW)
    assert (post.url, post.scheme, post.host, post.port) == (URL, "https", "pay.example", 443)


def test_a_settlement() -> None:
    post = make_post(Forward(URL, "p", 0, SETTLED), KEYS, EDGE, NOW)
    message = json.loads(post.body)
    assert (message["kind"], message["data"]["promise"]["state"]) == ("unblock", "resolved")
    verify(KEYS, post.headers, post.body, NOW)


@pytest.mark.parametrize(
    ("address", "url", "host", "port"),
    [
        ("http://x", "http://x/", "x", 80),
        ("http://x:8080/a#b", "http://x:8080/a", "x", 8080),
        ("https://[::1]/", "https://[::1]/", "::1", 443),
        ("http://x?a", "http://x/?a", "x", 80),
    ],
)
def test_where_it_goes(address: str, url: str, host: str, port: int) -> None:
    post = make_post(Forward(address, "a", 0), KEYS, EDGE, NOW)
    assert (post.url, post.host, post.port) == (url, host, port)


def test_the_same_thing_has_the_same_id_and_another_has_another() -> None:
    things = [
        Forward(URL, "a", 0), Forward(URL, "a", 1), Forward(URL, "b", 0),
        Forward("http://x", "a", 0),
        Forward(URL, "a", 0, SETTLED),
    ]  # fmt: skip
    assert len({message_id(each) for each in things}) == len(things)
    assert message_id(Forward(URL, "a", 0)) == message_id(things[0])


@pytest.mark.parametrize(
    ("status", "flaw"),
    [
        (200, None), (202, None), (299, None),
        (199, "status 199"), (300, "redirects"), (307, "redirects"), (404, "status 404"),
        (500, "status 500"),
    ],
)  # fmt: skip
def test_only_2xx_is_taken(status: int, flaw: str | None) -> None:
    found = flaw_of(status)
    assert (found is None) if flaw is None else (flaw in (found or ""))


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert push_settings(EdgeOptions()) is None
    with pytest.raises(ConfigurationError, match=r"there is no key: .*--push-key-file.*openssl"):
        push_settings(EdgeOptions(push="pay.example"))
    file = tmp_path / "key"
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        push_settings(EdgeOptions(push="pay.example", push_key_file=file))
    file.write_text(f"{KEY}\n")
    settings = push_settings(
        EdgeOptions(
            push="pay.example", push_key_file=file, push_url=EDGE, push_max=5, push_timeout=60
        )
    )
    assert settings is not None
    assert (settings.keys, settings.server_url) == (KEYS, EDGE)
    assert (settings.host_max, settings.answer_s) == (2, 60)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    settings = push_settings(EdgeOptions(push="pay.example"))
    assert settings is not None
    assert settings.keys == KEYS


@pytest.mark.parametrize(
    ("status", "text", "rest_s"),
    [
        (503, "0", 0.0),
        (429, " 12 ", 12.0),
        (503, None, None),
        (500, "12", None),
        (302, "12", None),
        (503, "-3", None),
        (503, "soon", None),
        (503, "1e9", None),
        (503, "9" * 400, math.inf),
        (503, "Thu, 01 Jan 1970 00:00:40 GMT", 30.0),
        (503, "Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        (503, "Thu, 99 Jan 1970 00:00:01 GMT", None),
        (503, "²", None),
    ],
)
def test_how_long_a_receiver_wants_to_be_left_alone(
    status: int, text: str | None, rest_s: float | None
) -> None:
    assert retry_after_s(status, text, 10.0) == rest_s
