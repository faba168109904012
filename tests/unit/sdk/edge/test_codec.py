"""The codec endpoint: what it opens, and for whom."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from understudy.edge.codec import VALUES_MAX, make_codec_app
from understudy.values.codec import Codec
from understudy.values.seals import PARAM, Place, Sealer, SealKey

SEALER = Sealer([SealKey("k1", bytes(32))])
SEALED = base64.b64encode(
    SEALER.seal(Codec().encode_value({"card": 4711}), Place("pay-1", "resolved"))
).decode()
VALUE = {"id": "pay-1", "part": "resolved", "data": SEALED}
PAGE = "https://dashboard.example"


async def ask(
    body: Any,
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    host: str = "127.0.0.1",
) -> httpx.Response:
    app: Any = make_codec_app(SEALER, host, [PAGE])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8090") as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.request(method, "/open", content=content, headers=headers)


async def test_values_are_opened_or_it_is_said_why_not() -> None:
    schedule = SEALER.seal(Codec().encode_call((1,), {}), Place("", PARAM, "pay"))
    asked = [
        VALUE,
        {**VALUE, "id": "pay-2"},
        {**VALUE, "data": "?"},
        {**VALUE, "data": "AQ=="},
        {
            "id": "pay.1",
            "part": "param",
            "function": "pay",
            "data": base64.b64encode(schedule).decode(),
        },
    ]
    answer = await ask({"values": asked})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    first, moved, damaged, plain, scheduled = answer.json()["values"]
    assert first == {"value": {"card": 4711}}
    assert "moved here" in moved["problem"]
    assert damaged == {"problem": "data is not base64"}
    assert plain == {"problem": "it is not sealed"}
    assert scheduled == {"value": [[1], {}]}


@pytest.mark.parametrize(
    "body", [b"", b"{", [], {}, {"values": [{}]}, {"values": [VALUE] * (VALUES_MAX + 1)}]
)
async def test_other_bodies_are_refused(body: Any) -> None:
    answer = await ask(body)
    assert answer.status_code == 400
    assert "cannot be used" in answer.json()["detail"]


async def test_a_large_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.edge.codec.BODY_BYTES_MAX", 100)
    assert (await ask({"values": [VALUE]})).status_code == 413


async def test_pages_of_other_sites_are_refused() -> None:
    assert (await ask({"values": [VALUE]}, {"origin": "https://evil.example"})).status_code == 403
    allowed = await ask({"values": [VALUE]}, {"origin": PAGE, "sec-fetch-site": "cross-site"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE


async def test_a_browser_may_ask_beforehand() -> None:
    wish = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
        "sec-fetch-site": "cross-site",
    }
    assert (await ask(b"", {**wish, "origin": PAGE}, method="OPTIONS")).status_code == 200
    other = {**wish, "origin": "https://evil.example"}
    assert (await ask(b"", other, method="OPTIONS")).status_code == 403


async def test_another_name_of_this_machine_is_refused() -> None:
    headers = {"host": "evil.example"}
    assert (await ask({"values": [VALUE]}, headers)).status_code == 421
    assert (await ask({"values": [VALUE]}, headers, host="0.0.0.0")).status_code == 200
