"""A store in memory that is asked by method and path: no socket, and a clock set by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.legacy.calls import Answer, error
from understudy.edge.resonate.legacy.clients import Clients
from understudy.edge.resonate.legacy.table import plan_of
from understudy.edge.resonate.legacy.tasks import message_of
from understudy.edge.resonate.own_store import OwnStore
from understudy_store.commands import TaskGet

T0 = 1_000_000
LATER = T0 + 60_000


class World:
    """A store in memory that is asked by method and path."""

    def __init__(self) -> None:
        self.store = OwnStore()
        self.now = T0
        self.addresses: dict[str, str] = {}
        self.clients = Clients(self.addresses.get)

    def ask(
        self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request; return status and body."""
        path, _, query = path.partition("?")
        if key is not None:
            headers["idempotency-key"] = key
        data = b"" if body is None else json.dumps(body).encode()
        answer: Answer
        try:
            plan = plan_of(method, path, query, headers, data, self.clients)
            commands = next(plan)
            while True:
                commands = plan.send(self.store.ask_all(commands, self.now))
        except StopIteration as end:
            answer = end.value
        except Refusal as refusal:
            answer = error(refusal.status, refusal.message)
        return answer.status, json.loads(json.dumps(answer.body))

    def create(self, id_: str, target: str | None = None, key: str | None = None) -> Any:
        tags = {"resonate:invoke": target} if target else {}
        body = {"id": id_, "timeout": LATER, "tags": tags}
        status, found = self.ask("POST", "/promises", body, key)
        assert status == 201, found
        return found

    def settle(self, id_: str, state: str = "RESOLVED", **more: Any) -> tuple[int, Any]:
        return self.ask("PATCH", f"/promises/{id_}", {"state": state}, **more)

    def claim(self, id_: str, counter: int = 1, pid: str = "p", ttl: int = 5_000) -> Any:
        body = {"id": id_, "counter": counter, "processId": pid, "ttl": ttl}
        return self.ask("POST", "/tasks/claim", body)

    def held(self, what: str, id_: str, counter: int = 1) -> int:
        return self.ask("POST", f"/tasks/{what}", {"id": id_, "counter": counter})[0]

    def callback(self, leaf: str, root: str) -> tuple[int, Any]:
        body = {"rootPromiseId": root, "timeout": LATER, "recv": "poll://any@g/p"}
        return self.ask("POST", f"/promises/callback/{leaf}", body)

    def message(self, id_: str) -> Any:
        """Return the message that offers a task now."""
        (reply,) = self.store.ask_all((TaskGet(id_),), self.now)
        assert reply.task is not None
        assert reply.task.state == "pending"
        return message_of(reply.task, self.clients)


@pytest.fixture
def world() -> World:
    return World()


def code(answer: tuple[int, Any]) -> tuple[int, int]:
    return answer[0], answer[1]["error"]["code"]
