"""The table of the calls of the older REST. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias
from urllib.parse import parse_qs, unquote

import msgspec

from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.legacy import promises, schedules, tasks
from understudy.edge.resonate.legacy.calls import Call, Plan
from understudy.edge.resonate.legacy.clients import Clients

_Make: TypeAlias = Callable[[Call, Clients], Plan]

#: calls by method and path; a path that ends with a slash is followed by an id
_CALLS: Final[tuple[tuple[str, str, _Make], ...]] = (
    ("POST", "/promises", promises.create),
    ("POST", "/promises/task", promises.create_with_task),
    ("POST", "/promises/callback/", promises.callback),
    ("POST", "/promises/subscribe/", promises.subscribe),
    ("POST", "/callbacks", promises.callback),
    ("POST", "/subscriptions", promises.subscribe),
    ("GET", "/promises", promises.search),
    ("GET", "/promises/", promises.get),
    ("PATCH", "/promises/", promises.complete),
    ("POST", "/tasks/claim", tasks.claim),
    ("POST", "/tasks/complete", tasks.complete),
    ("POST", "/tasks/drop", tasks.drop),
    ("POST", "/tasks/heartbeat", tasks.heartbeat),
    ("POST", "/schedules", schedules.create),
    ("GET", "/schedules", schedules.search),
    ("GET", "/schedules/", schedules.get),
    ("DELETE", "/schedules/", schedules.delete),
)
#: beginnings of paths that are this protocol's
PATHS: Final = ("/promises", "/tasks", "/schedules", "/callbacks", "/subscriptions")


def process_of(body: bytes) -> str | None:
    """Return the process that asks for a promise with its task; None if the body does not say."""
    try:
        return msgspec.json.decode(body, type=promises.CreateTask).task.process_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def plan_of(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, clients: Clients
) -> Plan:
    """Return the plan of a request.

    Parameters
    ----------
    path, query
        As they came, with what is quoted in them; ids may hold slashes.

    Raises
    ------
    Refusal
        There is no such call.
    """
    for its_method, its_path, make in _CALLS:
        is_it = path.startswith(its_path) if its_path.endswith("/") else path == its_path
        if its_method == method and is_it:
            id_ = unquote(path[len(its_path) :])
            return make(Call(id_, parse_qs(query), headers, body), clients)
    raise Refusal(404, f"There is no {method} {path}")
