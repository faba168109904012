"""Every refusal of the older REST."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sdk.edge.resonate.legacy.rest import World, code, world

__all__ = ["world"]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/promises/absent", None, (404, 40400)),
        ("PATCH", "/promises/absent", {"state": "RESOLVED"}, (404, 40400)),
        ("PATCH", "/promises/a", {"state": "PENDING"}, (400, 40000)),
        ("PATCH", "/promises/a", {}, (400, 40000)),
        ("POST", "/promises", {"id": "x"}, (400, 40000)),
        ("POST", "/promises", {"id": "", "timeout": 1}, (400, 40000)),
        ("POST", "/promises", {"id": "x", "timeout": -1}, (400, 40000)),
        ("POST", "/promises", {"id": "x", "timeout": 1, "tags": {"resonate:invoke": "a b"}},
         (400, 40000)),
        ("POST", "/promises", {"id": "x", "timeout": 1, "tags": {"understudy:x": "1"}},
         (400, 40000)),
        ("POST", "/promises", None, (400, 40000)),
        ("POST", "/promises/task", {"promise": {"id": "x", "timeout": 1}}, (400, 40000)),
        ("POST", "/promises/callback/absent",
         {"rootPromiseId": "t", "recv": "poll://g"}, (404, 40400)),
        ("POST", "/promises/callback/a", {"rootPromiseId": "a", "recv": "poll://g"}, (400, 40000)),
        ("POST", "/promises/callback/a", {"rootPromiseId": "b", "recv": "poll://g"}, (400, 40000)),
        ("POST", "/promises/callback/a", {"rootPromiseId": "t", "recv": {}}, (400, 40000)),
        ("POST", "/promises/subscribe/absent", {"id": "s", "recv": "poll://g"}, (404, 40400)),
        ("POST", "/promises/subscribe/a", {"id": "s", "recv": "no://g"}, (400, 40000)),
        ("GET", "/promises?id=*&state=gone", None, (400, 40000)),
        ("GET", "/promises?id=*&limit=0", None, (400, 40000)),
        ("POST", "/tasks/claim", {"id": "__invoke:t", "counter": 0, "processId": "p", "ttl": 1},
         (400, 40000)),
        ("POST", "/tasks/heartbeat", {}, (400, 40000)),
        ("POST", "/schedules", {"id": "s", "cron": "no", "promiseId": "p", "promiseTimeout": 1},
         (400, 40000)),
        ("DELETE", "/schedules/absent", None, (404, 40400)),
        ("PUT", "/promises", None, (404, 40400)),
        ("POST", "/tasks/other", None, (404, 40400)),
    ],
)  # fmt: skip
def test_it_is_refused(
    world: World, method: str, path: str, body: Any, expected: tuple[int, int]
) -> None:
    world.create("a")
    world.create("t", "poll://g")
    assert code(world.ask(method, path, body)) == expected
