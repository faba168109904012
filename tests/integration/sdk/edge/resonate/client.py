"""A client of the Resonate protocol without any SDK: requests and event streams."""

from __future__ import annotations

import http.client
import json
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from understudy.edge.resonate.envelope import VERSION

PATIENCE_S = 30


def now() -> int:
    return time.time_ns() // 1_000_000


class Client:
    """A connection that is kept open."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)

    def post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Send bytes; return the status of HTTP, and the response."""
        self._connection.request("POST", "/", body)
        answer = self._connection.getresponse()
        response: dict[str, Any] = json.loads(answer.read())
        return answer.status, response

    def ask(self, kind: str, **data: Any) -> tuple[int, Any]:
        """Send a request; return status and data."""
        head = {"corrId": f"c-{kind}", "version": VERSION}
        body = json.dumps({"kind": kind, "head": head, "data": data}).encode()
        status, response = self.post(body)
        assert response["kind"] == kind
        assert response["head"] == {**head, "status": status}
        return status, response["data"]

    def ok(self, kind: str, **data: Any) -> Any:
        """Send a request that is performed; return its data."""
        status, found = self.ask(kind, **data)
        assert status == 200, (status, found)
        return found

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Ask for a path; return status and body."""
        self._connection.request(method, path)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def create(self, id_: str, target: str | None = None, **more: Any) -> Any:
        tags = {"resonate:target": target} if target else {}
        data = {"id": id_, "timeoutAt": now() + 600_000, "tags": tags, **more}
        return self.ok("promise.create", **data)["promise"]

    def settle(self, id_: str, **more: Any) -> Any:
        return self.ok("promise.settle", id=id_, **{"state": "resolved", **more})["promise"]

    def acquire(self, task: dict[str, Any], pid: str = "p", ttl: int = 60_000) -> Any:
        return self.ok("task.acquire", id=task["id"], version=task["version"], pid=pid, ttl=ttl)

    def fulfill(self, id_: str, version: int, **settle: Any) -> Any:
        data = {"id": id_, "state": "resolved", **settle}
        action = {"kind": "promise.settle", "data": data}
        return self.ok("task.fulfill", id=id_, version=version, action=action)["promise"]

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Stream:
    """An event stream of a listener."""

    def __init__(self, url: str, group: str, name: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
        self._connection.request("GET", f"/poll/{group}/{name}")
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.content_type = self._answer.headers["content-type"]

    def next(self, kind: str | None = None) -> Any:
        """Return the data of the next message; its kind must be this one."""
        line = self._answer.readline()
        assert self._answer.readline() == b"\n"
        assert line.startswith(b"data: {"), line
        message = json.loads(line[6:])
        assert kind in (None, message["kind"]), message
        return message["data"] if kind else message

    def execute(self) -> Any:
        """Return the next message's task."""
        return self.next("execute")["task"]

    def unblock(self) -> Any:
        """Return the next message's promise."""
        return self.next("unblock")["promise"]

    def ends(self) -> bool:
        """Wait for the end of the stream."""
        try:
            return self._answer.readline() == b""
        except (ConnectionError, http.client.HTTPException):
            return True

    def close(self) -> None:
        self._answer.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
