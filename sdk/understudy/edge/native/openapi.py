"""The OpenAPI document of an edge: its own paths, and one for each function that nodes have now.

The document describes what `handlers` and `operations` do. The parts that do not change are written
below as data; those of functions are made of the schemas that nodes announce.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from understudy._version import __version__
from understudy.edge.native.paths import path_of
from understudy.edge.native.problems import MEDIA_TYPE
from understudy.options import VERSION_MAX
from understudy.schedules import TIMES_MAX
from understudy.states import CALL_STATES
from understudy_store.records import CATCH_UPS, OVERLAPS

#: functions that are described, by group and name; beyond them there is the general path
FUNCTIONS_MAX: Final = 1_000

_COMPONENTS: Final = "#/components/schemas/"
_DEFINITIONS: Final = "#/$defs/"
_JSON: Final = "application/json"


class Described(NamedTuple):
    """A function to describe: its group and name, and the schema of its highest version."""

    group: str
    name: str
    schema: Mapping[str, Any]


def document(functions: Iterable[Described]) -> dict[str, Any]:
    """Return the OpenAPI document.

    Parameters
    ----------
    functions
        The functions that nodes have now, in the order in which they are to be described.
    """
    schemas: dict[str, Any] = {name: dict(schema) for name, schema in _SCHEMAS.items()}
    paths: dict[str, Any] = {path: dict(item) for path, item in _PATHS.items()}
    for number, each in enumerate(functions):
        if number >= FUNCTIONS_MAX:
            break
        paths[path_of("calls", each.group, each.name)] = {"post": _described(each, schemas)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "understudy",
            "version": __version__,
            "description": "Durable calls over HTTP. The functions are those that nodes have now.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "parameters": _PARAMETERS},
    }


def _described(function: Described, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the operation of a function; one whose schema makes no sense takes anything."""
    try:
        return _operation(function, schemas)
    except (AttributeError, TypeError, RecursionError):
        return _operation(function._replace(schema={}), schemas)


def _operation(function: Described, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the operation that starts a call of a function; its classes go to `schemas`."""
    schema = function.schema
    names = _component_names(f"{function.group}.{function.name}", schema, schemas)
    for name, definition in _items(schema.get("$defs")):
        schemas[names[name]] = _renamed(definition, names)
    arguments = _renamed(schema.get("arguments", {}), names)
    result = _renamed(schema.get("result", {}), names)
    body: Any = {"description": "arguments by name, or by position"}
    required = bool(arguments.get("required"))
    if arguments:
        body["oneOf"] = [arguments, _by_position(schema, arguments, names)]
    else:
        body["type"] = ["object", "array"]
    return {
        "operationId": f"{function.group}.{function.name}",
        "summary": f"Call {function.name}, by a node of group {function.group}",
        **({"description": text} if (text := schema.get("description")) else {}),
        "tags": [function.group],
        "parameters": _CALL_PARAMETERS,
        "requestBody": {"required": required, "content": {_JSON: {"schema": body}}},
        "responses": _call_responses(result),
    }


def _by_position(
    schema: Mapping[str, Any], arguments: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    positional = [str(each) for each in schema.get("positional", ())]
    required = set(arguments.get("required", ()))
    properties = arguments.get("properties", {})
    items = [properties.get(name, {}) for name in positional]
    least = sum(name in required for name in positional)
    made: dict[str, Any] = {"type": "array", "minItems": least}
    if items:
        made["prefixItems"] = items
    if "rest" in schema:
        made["items"] = _renamed(schema["rest"], names)
    else:
        made["maxItems"] = len(items)
    if required - set(positional):
        # An argument that must be given by name is missing in every array.
        made["not"] = {}
    return made


def _call_responses(result: Any) -> dict[str, Any]:
    """Return the responses to the start of a call, with a typed value."""
    value = {
        "type": "object",
        "properties": {
            "headers": {"type": "object"},
            "data": {"anyOf": [result, {"type": "null"}]} if result else {},
        },
    }
    typed = {"allOf": [_ref("Promise"), {"properties": {"value": value}}]}
    location = {"Location": {"schema": {"type": "string"}, "description": "the path of the call"}}
    return {
        "200": _response("The call has settled; see `state`.", typed, location),
        "202": _response("The call is stored.", _ref("Promise"), location),
        **_problems(400, 404, 408, 409, 413, 415, 422, 429, 503, 504),
    }


# Schemas of functions ----------------------------------------------------------------------------


def _component_names(
    owner: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]
) -> dict[str, str]:
    """Return the name that each class of a function has among all schemas."""
    definitions = dict(_items(schema.get("$defs")))
    plain = {name: _safe(name) for name in definitions}
    are_free = all(
        name not in schemas or schemas[name] == _renamed(definitions[original], plain)
        for original, name in plain.items()
    )
    # Functions of one program share their classes. Classes of other programs may have the same
    # names, and then their functions' names tell them apart.
    return plain if are_free else {name: _safe(f"{owner}.{name}") for name in definitions}


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _items(data: Any) -> list[tuple[str, Any]]:
    return list(data.items()) if isinstance(data, dict) else []


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """Return a schema whose references lead to the components of the document."""
    if isinstance(schema, list):
        return [_renamed(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _renamed(each, names) for name, each in schema.items()}
    reference = made.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix(_DEFINITIONS)
        made["$ref"] = f"{_COMPONENTS}{names.get(name, name)}"
    return made


# Parts that do not change ------------------------------------------------------------------------


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"{_COMPONENTS}{name}"}


def _parameter(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def _query(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": schema or {"type": "string"},
    }


def _path(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": ID_TEXT,
    }


def _response(
    description: str, schema: Any, headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "description": description,
        "content": {_JSON: {"schema": schema}},
    }
    return made | ({"headers": headers} if headers else {})


def _problems(*statuses: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": _ref("Problem")}}
    return {
        str(status): {"description": _DESCRIPTIONS[status], "content": content}
        for status in statuses
    }


_DESCRIPTIONS: Final = {
    400: "The request is malformed, or a parameter is wrong.",
    401: "The request is not signed as it must be.",
    404: "There is nothing of that name.",
    408: "The body has not arrived in time.",
    409: "The id belongs to something else, or what it names has settled in another way.",
    413: "The body, or what would be stored, is too large.",
    415: "The body is not JSON.",
    422: "The body does not suit the request.",
    429: "Too much waits at the broker.",
    503: "Too much waits at this edge.",
    504: "No broker has answered; the request may be performed yet.",
}
#: what any request may be told
_ANY: Final = (400, 429, 503, 504)

_DURATION: Final = {"type": "string", "pattern": r"^[0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h|d)?$"}
_POSITIVE: Final = {
    "type": "string",
    "pattern": r"^([1-9][0-9]{0,4}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])(ms|s|m|h|d)?$",
}
#: What no id has, for the inside of a bracket: control characters, those that are not seen, and
#: separators of lines. Those beyond U+FFFF are as they are: patterns have no escape for them.
_UNSEEN: Final = (
    r"\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f"
)
ID_TEXT: Final = {"type": "string", "pattern": f"^[^{_UNSEEN}]{{1,512}}$"}
_GROUP: Final = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:~+-]{0,127}$"}
_TEMPLATE: Final = {
    "type": "string",
    "pattern": f"^([^{_UNSEEN}{{}}]" + r"|\{id\}|\{timestamp\}){1,20}$",
}
_TAG: Final = {"type": "string", "pattern": r"^[a-z][a-z0-9]{0,30}=[^\x00]*$"}
_PARAMETERS: Final[dict[str, Any]] = {
    "id": _path("id", "the id, with each / written as %2F"),
    "wait": _query("wait", "how long to wait for the settlement: 30s, 500ms, 2m", _DURATION),
    "timeout": _query("timeout", "the deadline, from now: 90, 10m, 2h, 7d", _POSITIVE),
    "delay": _query("delay", "the time after which the call starts", _DURATION),
    "version": _query(
        "version",
        "the version of the function",
        {"type": "integer", "minimum": 1, "maximum": VERSION_MAX},
    ),
    "priority": _query(
        "priority",
        "queued calls of a higher priority start first",
        {"type": "integer", "minimum": -100, "maximum": 100},
    ),
    "tag": _query("tag", "a tag, as NAME=TEXT; may be repeated", {"type": "array", "items": _TAG}),
    "unknown": _query(
        "unknown", "what to do if no node has the function", {"enum": ["wait", "refuse"]}
    ),
    "state": _query(
        "state",
        "only those in this state",
        {"enum": ["pending", "resolved", "rejected", "canceled", "timedout"]},
    ),
    "prefix": _query("prefix", "the beginning of the id"),
    "origin": _query("origin", "only the call graph with this root"),
    "limit": _query(
        "limit", "the most to list", {"type": "integer", "minimum": 1, "maximum": 1000}
    ),
    "cursor": _query("cursor", "the cursor of the page before"),
    "key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "a text that is made for each call: the same key is the same call",
        "schema": {"type": "string", "minLength": 1},
    },
    "last": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "the id of the last event that was received",
        "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    },
}
_CALL_PARAMETERS: Final = [
    _query("id", "the id of the call", ID_TEXT),
    *map(_parameter, ("wait", "timeout", "delay", "version", "priority", "tag", "unknown", "key")),
]
_CALL_STATE: Final = _query(
    "state",
    "only those in this state; failed is rejected or timedout, and is for order=newest",
    {"enum": list(CALL_STATES)},
)
#: the parameters of lists of calls from the newest on
_NEWEST: Final = [
    _query(
        "order",
        "newest: only calls that begin a call graph, the newest first; any of the parameters "
        "below asks for that",
        {"enum": ["id", "newest"]},
    ),
    _query("since", "only calls from so long ago on: 1h, 7d", _DURATION),
    _query("until", "only calls from before so long ago", _DURATION),
    _query("error", "only calls that failed with this class of exception"),
    _query("slow", "only calls that have taken so long", _DURATION),
    _query("counts", "also count them by state, the newest 10,000", {"enum": ["true", "false"]}),
]
_TIME: Final = {"type": "integer", "description": "milliseconds since 1970"}
_TIME_OR_NULL: Final = {"type": ["integer", "null"], "description": "milliseconds since 1970"}
_VALUE: Final = {
    "type": "object",
    "properties": {"headers": {"type": "object"}, "data": {}},
    "required": ["headers", "data"],
}
_ERROR: Final = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "message": {},
        "traceback": {"type": "string"},
        "notes": {"type": "array"},
    },
    "required": ["type", "message"],
}
_SCHEMAS: Final[dict[str, Any]] = {
    "Promise": {
        "type": "object",
        "description": "A promise, as `understudy promises get --json` shows it.",
        "properties": {
            "id": {"type": "string"},
            "state": {"enum": ["pending", "resolved", "rejected", "canceled", "timedout"]},
            "function": {"type": ["string", "null"]},
            "param": _VALUE,
            "value": _VALUE,
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "created_at": _TIME,
            "timeout_at": _TIME,
            "settled_at": _TIME_OR_NULL,
            "error": _ERROR,
            "task": {"type": "object"},
            "progress": {
                "type": "object",
                "properties": {
                    "fraction": {"type": ["number", "null"]},
                    "text": {"type": "string"},
                    "at": _TIME,
                },
                "required": ["fraction", "text", "at"],
            },
            "trouble": {"type": "string"},
        },
        "required": [
            "id",
            "state",
            "function",
            "param",
            "value",
            "tags",
            "created_at",
            "timeout_at",
            "settled_at",
        ],
    },
    "Call": {
        "type": "object",
        "description": "A call that begins a call graph, as `understudy calls --json` shows it.",
        "properties": {
            "id": {"type": "string"},
            "function": {"type": ["string", "null"]},
            "group": {"type": "string"},
            "state": {"enum": ["pending", "resolved", "rejected", "canceled", "timedout"]},
            "status": {"type": "string"},
            "created_at": _TIME,
            "started_at": _TIME_OR_NULL,
            "settled_at": _TIME_OR_NULL,
            "timeout_at": _TIME,
            "duration_ms": {"type": "integer"},
            "attempts": {"type": "integer"},
            "deaths": {"type": "integer"},
            "suspensions": {"type": "integer"},
            "error_class": {"type": ["string", "null"]},
            "cause": {"type": ["string", "null"]},
            "node": {"type": ["string", "null"]},
            "logged_attempts": {"type": "integer"},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["id", "function", "group", "state", "created_at", "duration_ms"],
    },
    "Attempt": {
        "type": "object",
        "description": "An attempt at a call that ended badly.",
        "properties": {
            "number": {"type": "integer"},
            "version": {"type": "integer"},
            "end": {"enum": ["raised", "released", "died", "parked"]},
            "node": {"type": ["string", "null"]},
            "host": {"type": ["string", "null"]},
            "queued_at": _TIME_OR_NULL,
            "started_at": _TIME_OR_NULL,
            "ended_at": _TIME,
            "error_class": {"type": ["string", "null"]},
            "text": {"type": ["string", "null"]},
        },
        "required": ["number", "end", "ended_at"],
    },
    "Schedule": {
        "type": "object",
        "description": "A schedule, as `understudy schedules get --json` shows it.",
        "properties": {
            "id": {"type": "string"},
            "cron": {"type": "string"},
            "function": {"type": ["string", "null"]},
            "promise_id": {"type": "string"},
            "promise_timeout": {"type": "integer", "description": "milliseconds"},
            "promise_param": _VALUE,
            "promise_tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "created_at": _TIME,
            "next_run_at": _TIME,
            "last_run_at": _TIME_OR_NULL,
            "zone": {"type": "string", "description": "the time zone of `cron`"},
            "overlap": {"enum": list(OVERLAPS)},
            "catch_up": {
                "description": f"one of {', '.join(CATCH_UPS)}, or milliseconds",
                "type": ["string", "integer"],
            },
            "jitter": {"type": "integer", "description": "milliseconds"},
            "paused_at": _TIME_OR_NULL,
            "paused_until": _TIME_OR_NULL,
            "pause_reason": {"type": "string"},
            "last_id": {"type": ["string", "null"], "description": "the id of its last call"},
            "waiting": _TIME_OR_NULL
            | {"description": "the timestamp of a call that waits for the last one"},
            "skipped_at": _TIME_OR_NULL,
            "skipped_why": {"enum": ["", "overlap", "missed", "paused"]},
        },
        "required": ["id", "cron", "promise_id"],
    },
    "Groups": {
        "type": "object",
        "properties": {
            "groups": {"type": "array", "items": {"type": "object"}},
            "counters": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["groups", "counters"],
    },
    "Tree": {
        "type": "object",
        "description": "A call graph, as `understudy tree --json` shows it.",
        "properties": {
            "id": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": f"{_COMPONENTS}Tree"}},
        },
        "required": ["id", "children"],
    },
    "Problem": {
        "type": "object",
        "description": "A problem (RFC 9457).",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "parameter": {"type": "string", "description": "the parameter that is wrong"},
            "field": {
                "type": "string",
                "description": "a JSON pointer to what is wrong in the body",
            },
        },
        "required": ["type", "title", "status", "detail"],
    },
}
_ARGUMENTS: Final = {
    "required": False,
    "content": {_JSON: {"schema": {"type": ["object", "array"]}}},
}
_ID: Final = [_parameter("id")]


def _page(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": _ref(name)},
            "cursor": {"type": ["string", "null"]},
        },
        "required": ["items", "cursor"],
    }


def _calls_page() -> dict[str, Any]:
    """Return a page of promises, or of calls with their number by state."""
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    newest = _page("Call")
    newest["properties"] = {**newest["properties"], "counts": counts}
    return {"anyOf": [_page("Promise"), newest]}


def _operation_of(
    operation_id: str, summary: str, responses: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    return {"operationId": operation_id, "summary": summary, "responses": responses, **more}


_EVENTS: Final = {
    "200": {
        "description": "Events `promise`, each with a promise, and `end`.",
        "content": {"text/event-stream": {}},
    },
    "204": {"description": "There was nothing more to tell."},
}


def _reads(kind: str, what: str) -> dict[str, dict[str, Any]]:
    """Return the paths by which a promise is read, waited for and canceled."""
    promise = _response("The promise as it is now.", _ref("Promise"))
    absent = _problems(404, *_ANY)
    return {
        f"/{kind}/{{id}}": {
            "get": _operation_of(
                f"{kind}.get", f"Read a {what}", {"200": promise, **absent}, parameters=_ID
            )
        },
        f"/{kind}/{{id}}/result": {
            "get": _operation_of(
                f"{kind}.result",
                f"Wait for the value of a {what}",
                {
                    "200": _response("The value.", {}),
                    "202": _response("It has not settled.", _ref("Promise")),
                    **_problems(404, 409, *_ANY),
                },
                parameters=[*_ID, _parameter("wait")],
            )
        },
        f"/{kind}/{{id}}/events": {
            "get": _operation_of(
                f"{kind}.events",
                f"Follow a {what} until it has settled",
                {**_EVENTS, **absent},
                parameters=[*_ID, _parameter("last")],
            )
        },
        f"/{kind}/{{id}}/cancel": {
            "post": _operation_of(
                f"{kind}.cancel",
                f"Cancel a {what} and its call graph",
                {"200": promise, **_problems(404, 409, *_ANY)},
                parameters=_ID,
            )
        },
    }


def _settles(how: str, summary: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    body = {"required": False, "content": {_JSON: {"schema": schema}}}
    return {
        "post": _operation_of(
            f"promises.{how}",
            summary,
            {
                "200": _response("The settled promise.", _ref("Promise")),
                **_problems(404, 408, 409, 413, 415, 422, *_ANY),
            },
            parameters=_ID,
            requestBody=body,
        )
    }


def _paths() -> dict[str, dict[str, Any]]:
    calls, promises = _reads("calls", "call"), _reads("promises", "promise")
    calls["/calls/{id}/tree"] = {
        "get": _operation_of(
            "calls.tree",
            "Read a call graph",
            {"200": _response("The call graph.", _ref("Tree")), **_problems(404, 413, *_ANY)},
            parameters=_ID,
        )
    }
    calls["/calls/{id}/attempts"] = {
        "get": _operation_of(
            "calls.attempts",
            "Read the attempts at a call that ended badly",
            {
                "200": _response("The first three and the last twenty.", _page("Attempt")),
                **_problems(404, 413, *_ANY),
            },
            parameters=_ID,
        )
    }
    calls["/calls/{id}/tree/events"] = {
        "get": _operation_of(
            "calls.tree_events",
            "Follow a call graph until its root has settled",
            {**_EVENTS, **_problems(404, *_ANY)},
            parameters=[*_ID, _parameter("last")],
        )
    }
    promises["/promises/{id}"]["put"] = _operation_of(
        "promises.create",
        "Create a promise that is settled from outside",
        {
            "200": _response("It existed.", _ref("Promise")),
            "201": _response("It was created.", _ref("Promise")),
            **_problems(408, 409, 413, 415, 422, *_ANY),
        },
        parameters=[*_ID, _parameter("timeout"), _parameter("tag")],
        requestBody={"required": False, "content": {_JSON: {"schema": {}}}},
    )
    message = {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {"message": {"type": "string"}},
                "additionalProperties": False,
            },
        ]
    }
    searches = [*map(_parameter, ("state", "prefix", "origin", "tag", "limit", "cursor"))]
    group = _query("group", "the group that performs the calls", _GROUP)
    function = _query("function", "the name of the function")
    return {
        "/calls": {
            "get": _operation_of(
                "calls.list",
                "List calls, in the order of their ids or from the newest on",
                {"200": _response("A page.", _calls_page()), **_problems(413, *_ANY)},
                parameters=[_CALL_STATE, *searches[1:], group, function, *_NEWEST],
            )
        },
        "/promises": {
            "get": _operation_of(
                "promises.list",
                "List promises, in the order of their ids",
                {"200": _response("A page.", _page("Promise")), **_problems(*_ANY)},
                parameters=searches,
            )
        },
        **calls,
        **promises,
        "/promises/{id}/resolve": _settles("resolve", "Settle a promise with a value", {}),
        "/promises/{id}/reject": _settles("reject", "Settle a promise with a failure", message),
        "/calls/{group}/{function}": {
            "post": _operation_of(
                "calls.start",
                "Call a function by its name",
                _call_responses({}),
                parameters=[
                    _path("group", "the group that performs the call") | {"schema": _GROUP},
                    _path("function", "the name of the function"),
                    *_CALL_PARAMETERS,
                ],
                requestBody=_ARGUMENTS,
            )
        },
        **_schedule_paths(),
        "/hooks/{name}": _hook_path(),
        "/groups": {
            "get": _operation_of(
                "groups.list",
                "Read the groups, their nodes and their queues",
                {"200": _response("The groups.", _ref("Groups")), **_problems(*_ANY)},
            )
        },
        **_pause_paths(),
    }


def _pause_paths() -> dict[str, dict[str, Any]]:
    state = {
        "type": "object",
        "properties": {
            "group": _GROUP,
            "function": {"type": ["string", "null"]},
            "paused": {"type": "boolean"},
        },
        "required": ["group", "function", "paused"],
    }
    answers = {"200": _response("It is so.", state), **_problems(*_ANY)}
    name = {"type": "string", "minLength": 1, "maxLength": 256}
    parameters = [
        _path("group", "the group") | {"schema": _GROUP},
        _query("function", "the function; without it, the whole group", name),
    ]
    reason = _query("reason", "why, for people", {"type": "string", "maxLength": 200})
    return {
        "/groups/{group}/pause": {
            "post": _operation_of(
                "groups.pause",
                "Give no more calls of a group, or of one of its functions, to nodes",
                answers,
                parameters=[*parameters, reason],
            )
        },
        "/groups/{group}/resume": {
            "post": _operation_of(
                "groups.resume",
                "Let a group, or one of its functions, go on",
                answers,
                parameters=parameters,
            )
        },
    }


def _hook_path() -> dict[str, Any]:
    taken = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "state": {"type": "string"}},
    }
    return {
        "post": _operation_of(
            "hooks.take",
            "Take a signed event of another system",
            {
                "200": _response("It is taken.", taken),
                "202": _response("It is taken, and its call goes on.", taken),
                **_problems(401, 404, 408, 413, 415, 422, *_ANY),
            },
            parameters=[_path("name", "the name of the hook")],
            requestBody={"required": False, "content": {_JSON: {"schema": {}}}},
        )
    }


def _schedule_paths() -> dict[str, dict[str, Any]]:
    schedule = _response("The schedule.", _ref("Schedule"))
    cron = _query(
        "cron", "when to call, in its time zone: 0 3 * * *", {"type": "string", "format": "cron"}
    )
    group = _query("group", "the group that performs the calls", _GROUP) | {"required": True}
    name: dict[str, Any] = {"type": "string", "minLength": 1}
    function = _query("function", "the name of the function", name) | {"required": True}
    ids = _query("promise_id", "the id of each call; {timestamp} is when it was due", _TEMPLATE)
    options = map(_parameter, ("timeout", "version", "priority", "tag", "unknown"))
    rules = _schedule_rules()
    replace_ = _query("replace", "true: change a schedule that exists", {"enum": ["true", "false"]})
    times = {
        "type": "object",
        "properties": {"times": {"type": "array", "items": _TIME}},
        "required": ["times"],
    }
    made = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    return {
        "/schedules": {
            "get": _operation_of(
                "schedules.list",
                "List schedules, in the order of their ids",
                {"200": _response("A page.", _page("Schedule")), **_problems(*_ANY)},
                parameters=[*map(_parameter, ("prefix", "limit", "cursor"))],
            )
        },
        "/schedules/{id}": {
            "get": _operation_of(
                "schedules.get",
                "Read a schedule",
                {"200": schedule, **_problems(404, *_ANY)},
                parameters=_ID,
            ),
            "put": _operation_of(
                "schedules.create",
                "Call a function by the clock",
                {
                    "200": schedule,
                    "201": schedule,
                    **_problems(404, 408, 409, 413, 415, 422, *_ANY),
                },
                parameters=[
                    *_ID,
                    cron | {"required": True},
                    group,
                    function,
                    *options,
                    ids,
                    *rules,
                    replace_,
                ],
                requestBody=_ARGUMENTS,
            ),
            "patch": _operation_of(
                "schedules.update",
                "Change when a schedule is due, and its rules",
                {"200": schedule, **_problems(404, *_ANY)},
                parameters=[*_ID, cron, _parameter("timeout"), *rules],
            ),
            "delete": _operation_of(
                "schedules.delete",
                "Delete a schedule",
                {"204": {"description": "It is deleted."}, **_problems(404, *_ANY)},
                parameters=_ID,
            ),
        },
        "/schedules/{id}/next": {
            "get": _operation_of(
                "schedules.next",
                "Read when a schedule is due next",
                {"200": _response("The times.", times), **_problems(404, *_ANY)},
                parameters=[
                    *_ID,
                    _query(
                        "count",
                        "how many times",
                        {"type": "integer", "minimum": 1, "maximum": TIMES_MAX, "default": 10},
                    ),
                ],
            )
        },
        "/schedules/{id}/pause": {
            "post": _operation_of(
                "schedules.pause",
                "Let a schedule make no more calls",
                {"200": schedule, **_problems(404, *_ANY)},
                parameters=[
                    *_ID,
                    _query("reason", "why, for people", {"type": "string", "maxLength": 500}),
                    _query(
                        "until",
                        "when it goes on by itself, milliseconds since 1970",
                        {"type": "integer", "minimum": 2**42, "maximum": 2**52},
                    ),
                ],
            )
        },
        "/schedules/{id}/resume": {
            "post": _operation_of(
                "schedules.resume",
                "Let a schedule go on",
                {"200": schedule, **_problems(404, *_ANY)},
                parameters=_ID,
            )
        },
        "/schedules/{id}/trigger": {
            "post": _operation_of(
                "schedules.trigger",
                "Make a call of a schedule now",
                {
                    "201": _response("The call.", made),
                    "202": _response("It is made soon.", made),
                    **_problems(404, 409, *_ANY),
                },
                parameters=_ID,
            )
        },
    }


def _schedule_rules() -> list[dict[str, Any]]:
    catch_ups = {"anyOf": [{"enum": list(CATCH_UPS)}, _DURATION]}
    return [
        _query(
            "zone", "the time zone of cron: Europe/Vienna", {"type": "string", "format": "zone"}
        ),
        _query("overlap", "what to do if the last call has not ended", {"enum": list(OVERLAPS)}),
        _query("catch_up", "what to make of what was missed, or how late it may be", catch_ups),
        _query("jitter", "how long each call is put off at most", _DURATION),
    ]


_PATHS: Final = _paths()
