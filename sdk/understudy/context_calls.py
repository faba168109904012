"""The calls of a context: how they are made, and which options mean something for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from understudy.errors import ConfigurationError, RequestError
from understudy.options import UNSET, check_home
from understudy.retry import to_wire
from understudy_actors.interpreter.child_ids import id_at
from understudy_actors.interpreter.requests import Call, CallSpec, Request, Sleep, method_of

if TYPE_CHECKING:
    from understudy.node_view import NodeView
    from understudy_actors.interpreter.environment import RunView


def remote_call(
    run: RunView,
    env: NodeView,
    kind: str,
    f: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    site: str,
) -> Call[Any]:
    """Return the request for a call to another node, which is sent with the next yield."""
    _check_yielded(kind, args, kwargs, Request)
    known = None if isinstance(f, str) and f else env.registered(f)
    spec = run.calls.new_call(kind, f if known is None else known.name, site)
    if spec.id not in run.replay.known:
        spec.data = env.values.encode_call(known, args, kwargs)
    hint = None
    if known is None:
        spec.target = env.targets.get(f, env.target)
    else:
        spec.target = known.target or env.target
        hint = known.result_hint
        spec.passed_version = known.version
        if known.timeout_s is not None:
            spec.timeout_ms = int(known.timeout_s * 1000)
    run.calls.defer(spec)
    return Call(spec, apply_options, wait=kind == "rfc", hint=hint)


def local_call(
    run: RunView,
    env: NodeView,
    kind: str,
    f: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    site: str,
) -> Call[Any]:
    """Return the request for a call in this process."""
    # A step gets its arguments as they are, so it may be given a promise to wait for.
    _check_yielded(kind, args, kwargs, (Call, Sleep))
    function = env.local_function(f)
    function.check_arguments(args, kwargs)
    calls = run.calls
    spec = calls.new_call(kind, function.name, site)
    spec.function, spec.args, spec.kwargs = function, args, kwargs
    spec.variables = copy_context()
    calls.defer(spec)
    return Call(spec, apply_options, wait=kind == "lfc", hint=function.result_hint)


def _check_yielded(
    kind: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wrong: type[Request[Any]] | tuple[type[Request[Any]], ...],
) -> None:
    """Refuse an argument that is a request: its author forgot the yield."""
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, wrong):
            raise RequestError(f"an argument of ctx.{method_of(kind)}: {argument.not_yielded()}")


_MEANINGLESS_FOR_LOCAL_CALLS: Final = (
    {"home", "target", "send_to", "delay", "priority", "retention"},
    "it runs here and now: use ctx.begin_rpc or ctx.rpc",
)
_WHOLE_GRAPH: Final = (
    "a call graph is kept as a whole: say it for the call that begins it, or for a detached one"
)
#: options that mean nothing for some kinds of calls, with what to do instead
_MEANINGLESS: Final[dict[str, tuple[set[str], str]]] = {
    "rfi": ({"retention"}, _WHOLE_GRAPH),
    "rfc": ({"retention"}, _WHOLE_GRAPH),
    "lfi": _MEANINGLESS_FOR_LOCAL_CALLS,
    "lfc": _MEANINGLESS_FOR_LOCAL_CALLS,
    "sleep": (
        {
            "home",
            "target",
            "send_to",
            "timeout",
            "version",
            "retry",
            "delay",
            "priority",
            "retention",
        },
        "it is a part of this function, and its length is the argument of ctx.sleep",
    ),
    "promise": (
        {"target", "send_to", "version", "retry", "delay", "priority", "retention"},
        "it is settled from outside, not by a function",
    ),
}
_ALL_MEANINGFUL: Final[tuple[set[str], str]] = (set(), "")


def apply_options(spec: CallSpec, given: Mapping[str, Any]) -> None:
    """Check the options of one call, and write them into its spec."""
    meaningless, advice = _MEANINGLESS.get(spec.kind, _ALL_MEANINGFUL)
    for name in meaningless:
        if given.get(name) is not None:
            raise ConfigurationError(f"option {name}={given[name]!r} of {spec.label}: {advice}")
    options = UNSET.merge(**given)
    if options.version is not None and spec.function is not None:
        raise ConfigurationError(
            f"option version={options.version!r} of {spec.label}: pass the function of that version"
        )
    if options.id is not None or options.home is not None:
        _place(spec, options.id, options.home)
    if options.target is not None:
        spec.target = options.target
    if options.timeout_s is not None:
        spec.timeout_ms = int(options.timeout_s * 1000)
    if options.delay_s is not None:
        spec.delay_ms = int(options.delay_s * 1000)
    if options.retry is not None:
        spec.retry = to_wire(options.retry)
    spec.version = options.version or spec.version
    spec.tags = options.tags or spec.tags
    spec.priority = options.priority or spec.priority
    spec.retention = options.retention or spec.retention


def _place(spec: CallSpec, id: str | None, home: str | None) -> None:
    """Give a call an id of its own, or the one of its place at another home."""
    place, before = spec.place or spec.id, spec.home
    home = home or before
    if id is None and spec.id not in (place, before and id_at(before, place)):
        # An earlier `options` of this call has chosen it.
        id = spec.id
    if id is not None:
        if home is not None:
            check_home(home, id)
        spec.place, spec.id = place, id
    elif home is not None:
        spec.id = id_at(home, place)
        spec.place = None if spec.id == place else place
    spec.home = home
