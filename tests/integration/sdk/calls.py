"""Calls of a client: what they return, and why they are parked."""

from __future__ import annotations

from typing import Any

from tests.support import eventually
from understudy import Runtime
from understudy_store.commands import TaskGet


def result(client: Runtime, id: str, name: str, *args: Any, **kwargs: Any) -> Any:
    return client.rpc(id, name, *args, **kwargs).result(timeout=10)


def cause_of(client: Runtime, id: str) -> str:
    """Wait until a call is parked, and return why."""

    def halted() -> bool:
        task = client.session.command(TaskGet(id)).task
        return task is not None and task.state == "halted"

    eventually(halted)
    task = client.session.command(TaskGet(id)).task
    assert task is not None
    return task.cause or ""
