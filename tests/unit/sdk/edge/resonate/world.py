"""A store in memory that is asked by envelopes: no socket, and a clock set by hand."""

from __future__ import annotations

import base64
import json
from typing import Any

from understudy.edge.resonate.debug import DebugPerformer
from understudy.edge.resonate.envelope import VERSION, render

T0 = 1_000_000
#: a deadline that is far away
LATER = T0 + 60_000


def b64(value: Any) -> str:
    """Return a value as the SDKs of the protocol send it."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def envelope(kind: str, data: Any, corr: str = "c-1", version: str = VERSION) -> bytes:
    return json.dumps(
        {"kind": kind, "head": {"corrId": corr, "version": version}, "data": data}
    ).encode()


class World:
    """Performs envelopes at `now`."""

    def __init__(self, *, strict: bool = False) -> None:
        self.debug = DebugPerformer(strict=strict, server_url="http://edge")
        self.now = T0

    def send(self, body: bytes) -> dict[str, Any]:
        """Send bytes; return the response as a client reads it."""
        response: dict[str, Any] = json.loads(render(*self.debug.perform(body, self.now)))
        return response

    def ask(self, kind: str, **data: Any) -> tuple[int, Any]:
        """Send a request; return status and data."""
        response = self.send(envelope(kind, data))
        assert response["kind"] == kind
        assert response["head"]["corrId"] == "c-1"
        assert response["head"]["version"] == VERSION
        status = response["head"]["status"]
        assert isinstance(response["data"], str) == (status >= 400), response
        return status, response["data"]

    def ok(self, kind: str, **data: Any) -> Any:
        """Send a request that is performed; return its data."""
        status, found = self.ask(kind, **data)
        assert status == 200, (status, found)
        return found

    # Shorter ------------------------------------------------------------------------------------

    def create(self, id_: str, target: str | None = None, **more: Any) -> dict[str, Any]:
        tags = {**({"resonate:target": target} if target else {}), **more.pop("tags", {})}
        data = {"id": id_, "timeoutAt": LATER, "tags": tags, **more}
        promise: dict[str, Any] = self.ok("promise.create", **data)["promise"]
        return promise

    def get(self, id_: str) -> dict[str, Any]:
        promise: dict[str, Any] = self.ok("promise.get", id=id_)["promise"]
        return promise

    def task(self, id_: str) -> dict[str, Any]:
        task: dict[str, Any] = self.ok("task.get", id=id_)["task"]
        return task

    def hold(self, id_: str, **more: Any) -> int:
        """Create a task and acquire it; return its version."""
        self.create(id_, "poll://any@g", **more)
        found = self.ok("task.acquire", id=id_, version=0, pid="p", ttl=10_000)
        version: int = found["task"]["version"]
        return version

    def settle(self, id_: str, state: str = "resolved") -> dict[str, Any]:
        promise: dict[str, Any] = self.ok("promise.settle", id=id_, state=state)["promise"]
        return promise

    def suspend(self, id_: str, *awaited: str) -> tuple[int, Any]:
        actions = [
            {"kind": "promise.register_callback", "data": {"awaited": each, "awaiter": id_}}
            for each in awaited
        ]
        return self.ask("task.suspend", id=id_, version=1, actions=actions)

    def fence(self, id_: str, kind: str, version: int = 1, **data: Any) -> tuple[int, Any]:
        action = {"kind": kind, "head": {"corrId": "i", "version": VERSION}, "data": data}
        return self.ask("task.fence", id=id_, version=version, action=action)
