"""Webhooks at an edge: signed events become calls and settle promises, once each."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.system import until
from tests.integration.sdk.edge.rig import Rig, client_of, open_rig, port_of

HOOKS = """
[[hook]]
name = "repository"
scheme = "github"
secret_env = "GITHUB_SECRET"
group = "shop"
function = "add"

[[hook]]
name = "payments"
scheme = "stripe"
secret_env = "STRIPE_SECRET"
promise = "payment-{data.object.order}"

[[hook]]
name = "chat"
scheme = "slack"
secret_env = "SLACK_SECRET"
group = "shop"
function = "echo"
"""


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("edge")
    (folder / "hooks.toml").write_text(HOOKS)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GITHUB", "STRIPE", "SLACK"):
            patch.setenv(f"{name}_SECRET", "secret")
        patch.setenv("UNDERSTUDY_HOOKS", str(folder / "hooks.toml"))
        with open_rig(folder) as rig:
            yield rig


def digest(text: bytes) -> str:
    return hmac.new(b"secret", text, "sha256").hexdigest()


def send(rig: Rig, name: str, payload: Any, **headers: str) -> httpx.Response:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    at = str(int(time.time()))
    signatures = {
        "repository": {"X-Hub-Signature-256": f"sha256={digest(body)}"},
        "payments": {"Stripe-Signature": f"t={at},v1={digest(f'{at}.'.encode() + body)}"},
        "chat": {
            "X-Slack-Request-Timestamp": at,
            "X-Slack-Signature": f"v0={digest(f'v0:{at}:'.encode() + body)}",
        },
    }
    sent = {"content-type": "application/json", **signatures.get(name, {}), **headers}
    return rig.http.post(f"/hooks/{name}", content=body, headers=sent)


def test_an_event_is_one_call_however_often_it_comes(hooked: Rig) -> None:
    first = send(hooked, "repository", {"ref": "main"}, **{"X-GitHub-Event": "push"})
    assert first.status_code in (200, 202)
    again = send(hooked, "repository", {"ref": "main"}, **{"X-GitHub-Delivery": "other"})
    assert first.json()["id"] == again.json()["id"]
    call = hooked.http.get(first.headers["location"]).json()
    payload, headers = call["param"]["data"][0]
    assert payload == {"ref": "main"}
    assert headers["x-github-event"] == "push"
    assert "x-hub-signature-256" not in headers


def test_an_event_resolves_a_promise_also_before_it_is_made(hooked: Rig) -> None:
    hooked.http.put("/promises/payment-7")
    event = {"id": "evt_7", "data": {"object": {"order": "7"}}}
    assert send(hooked, "payments", event).json() == {"id": "payment-7", "state": "resolved"}
    assert send(hooked, "payments", event).status_code == 200
    assert hooked.http.get("/promises/payment-7/result").json() == event
    early = {"id": "evt_8", "data": {"object": {"order": 8}}}
    assert send(hooked, "payments", early).json()["state"] == "resolved"
    assert hooked.http.get("/promises/payment-8/result").json() == early
    assert send(hooked, "payments", {"id": "evt_9"}).status_code == 422


def test_slack(hooked: Rig) -> None:
    asked = send(hooked, "chat", {"type": "url_verification", "challenge": "abc"})
    assert asked.json() == {"challenge": "abc"}
    form = {"content-type": "application/x-www-form-urlencoded"}
    command = send(hooked, "chat", b"command=%2Fdeploy&text=now", **form)
    call = hooked.http.get(command.headers["location"]).json()
    assert call["param"]["data"][0][0] == {"command": "/deploy", "text": "now"}


def test_what_is_not_signed_is_refused(hooked: Rig) -> None:
    unsigned = hooked.post("/hooks/repository", {"ref": "main"})
    assert unsigned.status_code == 401
    assert unsigned.json()["detail"].startswith("the header x-hub-signature-256 is missing")
    other = send(hooked, "repository", {}, **{"X-Hub-Signature-256": f"sha256={'0' * 64}"})
    assert other.status_code == 401
    old = int(time.time()) - 400
    late = send(
        hooked,
        "payments",
        b"{}",
        **{"Stripe-Signature": f"t={old},v1={digest(f'{old}.'.encode() + b'{}')}"},
    )
    assert late.status_code == 401
    assert "it is an old request" in late.json()["detail"]
    assert send(hooked, "unknown", {}).status_code == 404
    assert send(hooked, "repository", b"{").status_code == 400


def test_a_file_of_hooks_that_makes_no_sense(hooked: Rig) -> None:
    (hooked.system.folder / "bad.toml").write_text('[[hook]]\nname = "x"\n')
    edge = hooked.system.command("edge", "--listen", "127.0.0.1:0", "--hooks", "bad.toml")
    assert edge.wait() == 2
    assert "hook 'x', scheme='': it must be one of github, stripe, slack" in edge.output
    absent = hooked.system.command("edge", "--listen", "127.0.0.1:0", "--hooks", "absent.toml")
    assert absent.wait() == 2


def test_an_edge_without_hooks(hooked: Rig) -> None:
    plain = hooked.system.command("edge", "--listen", "127.0.0.1:0", "--hooks", "/dev/null")
    with client_of(port_of(plain)) as http:
        until("it is ready", lambda: http.get("/ready").status_code == 200)
        assert http.post("/hooks/repository").status_code == 404
