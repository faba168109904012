"""Requests: the commands that messages of the service ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from understudy.edge.grpc.answers import STATES
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native import bodies, calls, promises
from understudy.edge.native.parameters import LIMIT, LIMIT_MAX
from understudy.edge.native.problems import Problem
from understudy.edge.native.schemas import Arguments
from understudy.errors import ConfigurationError
from understudy.options import Options, check_int, check_tags, seconds
from understudy.runtime import DEFAULT_TIMEOUT_S
from understudy_actors.interpreter.child_commands import create_command, outside
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.addresses import poll
from understudy_store.commands import PromiseCreate, PromiseSearch, PromiseSettle
from understudy_store.records import TAG_TARGET

_OUTSIDE: Final = outside(int(DEFAULT_TIMEOUT_S * 1000))
_STATE_NAMES: Final = {number: name for name, number in STATES.items()}


# Calls ------------------------------------------------------------------------------------------


def arguments(request: v1.StartRequest) -> Arguments:
    """Return the arguments of a call as they were sent; raises `Problem`."""
    with _named("json"):
        return calls.arguments_of(bodies.parse(request.json.encode(), _JSON))


def call_spec(request: v1.StartRequest, new_id: str) -> CallSpec:
    """Return what is asked of a function, without the arguments.

    Parameters
    ----------
    new_id
        The id of a call for which the client has chosen none.

    Raises
    ------
    Problem
        A field has a value that it may not have.
    """
    if not request.function:
        raise Problem(400, "the function is missing: give its name", parameter="function")
    spec = CallSpec("rpc", calls.checked_id(request.id or new_id), request.function, "")
    spec.target = poll(calls.group_name(request.group))
    with _told():
        options = Options().merge(
            timeout=request.timeout if request.HasField("timeout") else None,
            version=request.version if request.HasField("version") else None,
            delay=request.delay,
            priority=request.priority,
            tags=dict(request.tags),
        )
    spec.version = options.version
    spec.priority = options.priority
    spec.tags = options.tags or None
    if options.timeout_s is not None:
        spec.timeout_ms = int(options.timeout_s * 1000)
    if options.delay_s:
        spec.delay_ms = int(options.delay_s * 1000)
    return spec


def create(spec: CallSpec, arguments: Arguments, now_ms: int) -> PromiseCreate:
    """Return the command that begins a call.

    Parameters
    ----------
    arguments
        As the function is meant to get them.
    now_ms
        The brokers' time.

    Raises
    ------
    Problem
        The arguments are too large.
    """
    spec.data = calls.encoded_arguments(*arguments)
    return create_command(_OUTSIDE, spec, now_ms)


def awaits_function(request: v1.StartRequest) -> bool:
    """Return whether a call waits for a node that has its function; raises `Problem`."""
    if request.unknown not in v1.Unknown.values():
        raise Problem(400, f"unknown={request.unknown}: it must be refuse or wait")
    return request.unknown == v1.UNKNOWN_WAIT


def wait_s(request: v1.StartRequest | v1.WaitRequest) -> float:
    """Return how long to wait for a settlement, in seconds; raises `Problem`."""
    if isinstance(request, v1.WaitRequest) and not request.HasField("wait"):
        return float("inf")
    with _told():
        return seconds("wait", request.wait, zero=True)


def id_of(
    request: v1.GetRequest | v1.WaitRequest | v1.SettleRequest | v1.CancelRequest | v1.WatchRequest,
) -> str:
    """Return the id of the promise that a request is about; raises `Problem`."""
    return calls.checked_id(request.id)


# Promises ---------------------------------------------------------------------------------------


def settle(request: v1.SettleRequest) -> PromiseSettle:
    """Return the command that settles a promise; raises `Problem`."""
    id_ = id_of(request)
    match request.WhichOneof("outcome"):
        case "json":
            with _named("json"):
                return promises.resolve(id_, bodies.parse(request.json.encode(), _JSON))
        case "error":
            return promises.reject(id_, request.error)
        case _:
            raise Problem(400, "give an outcome: json resolves the promise, error rejects it")


def search(request: v1.ListRequest) -> PromiseSearch:
    """Return the command that reads a page of promises; raises `Problem`."""
    if request.state != v1.STATE_UNSPECIFIED and request.state not in _STATE_NAMES:
        raise Problem(400, f"state={request.state}: there is no such state", parameter="state")
    with _told():
        limit = check_int("page_size", request.page_size or LIMIT, 1, LIMIT_MAX)
        tags = check_tags(dict(request.tags), reserved=True)
    if request.group:
        tags[TAG_TARGET] = poll(calls.group_name(request.group))
    return PromiseSearch(
        _STATE_NAMES.get(request.state),
        tags,
        request.prefix,
        request.origin or None,
        limit,
        request.page_token or None,
    )


# Refusals ---------------------------------------------------------------------------------------

_JSON: Final = "application/json"


@contextmanager
def _told() -> Iterator[None]:
    """Make problems of options that cannot be used."""
    try:
        yield
    except ConfigurationError as error:
        raise Problem(400, str(error).removeprefix("option ")) from None


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Name the field of a message in problems of what is the body of a request over HTTP."""
    try:
        yield
    except Problem as problem:
        detail = problem.detail.replace("the body", field, 1)
        raise Problem(problem.status, detail, **problem.more) from None
