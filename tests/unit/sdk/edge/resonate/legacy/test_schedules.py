"""Schedules by the older REST."""

from __future__ import annotations

from tests.unit.sdk.edge.resonate.legacy.rest import World, code, world

__all__ = ["world"]


def test_schedules(world: World) -> None:
    body = {
        "id": "s", "cron": "* * * * *", "promiseId": "p.{{.timestamp}}", "promiseTimeout": 5,
        "promiseTags": {"resonate:invoke": "poll://g"}, "description": "d", "tags": {},
    }  # fmt: skip
    status, made = world.ask("POST", "/schedules", body, "k")
    assert status == 201
    assert (made["promiseId"], made["idempotencyKey"]) == ("p.{{.timestamp}}", "k")
    assert made["promiseTags"] == {"resonate:invoke": "poll://g"}
    assert world.ask("POST", "/schedules", body, "k") == (200, made)
    assert code(world.ask("POST", "/schedules", body)) == (409, 40900)
    assert world.ask("GET", "/schedules/s") == (200, made)
    assert world.ask("GET", "/schedules?id=*")[1] == {"schedules": [made]}
    assert world.ask("DELETE", "/schedules/s") == (204, None)
    assert world.ask("GET", "/schedules/s")[0] == 404
