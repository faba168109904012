"""``ctx``: what a durable function may do.

Every method makes a request; nothing happens until the function yields it (``yield ctx.rfc(...)``
in a generator, ``await ctx.rfc(...)`` in an ``async def``). Calls that are made but not yielded are
sent with the next yield, or when the function returns.
"""

from __future__ import annotations

import logging
import random
import sys
import uuid
from collections.abc import (
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from datetime import timedelta
from functools import lru_cache
from types import CodeType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    NamedTuple,
    ParamSpec,
    TypeAlias,
    TypeVar,
    overload,
)

from understudy.errors import ConfigurationError, RequestError
from understudy.options import Options, seconds
from understudy.retry import Retry, to_wire
from understudy_actors.interpreter.requests import (
    All,
    Call,
    CallSpec,
    Gather,
    Promise,
    Race,
    Request,
    Sleep,
    Subroutine,
)

if TYPE_CHECKING:
    from understudy.client.node_environment import NodeEnvironment
    from understudy_actors.interpreter.environment import RunView

P = ParamSpec("P")
T = TypeVar("T")

# The first parameter is the context.
GeneratorFn: TypeAlias = Callable[Concatenate[Any, P], Generator[Any, Any, T]]
CoroutineFn: TypeAlias = Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]
PlainFn: TypeAlias = Callable[Concatenate[Any, P], T]

_LOG: Final = logging.getLogger("understudy.function")
_NO_OPTIONS: Final = Options()
_NO_NAMES: Final[set[str]] = set()


class Info(NamedTuple):
    """About this run of the function."""

    #: from 1; one more with every failure that was retried (a crash is none)
    attempt: int
    #: the deadline, epoch seconds
    timeout: float
    tags: dict[str, str]
    #: version of the function
    version: int


class Context:
    """The first argument of every durable function."""

    __slots__ = ("_env", "_log", "_random", "_run")

    def __init__(self, run: RunView, env: NodeEnvironment) -> None:
        self._run = run
        self._env = env
        # made when they are asked for: most functions never do
        self._random: random.Random | None = None
        self._log: FunctionLog | None = None

    # About this run ------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of this run's promise."""
        return self._run.id

    @property
    def log(self) -> FunctionLog:
        """A logger that names this run, silent while the function is replayed."""
        if self._log is None:
            self._log = FunctionLog(_LOG, self._run)
        return self._log

    @property
    def info(self) -> Info:
        run = self._run
        record = run.record
        return Info(run.attempt, record.timeout_at / 1000, record.tags, run.function.version)

    @property
    def time(self) -> float:
        """Epoch seconds, the same in every replay: when the call was made, or the latest result
        that this function has seen settled."""
        return self._run.replay.time_ms / 1000

    @property
    def random(self) -> random.Random:
        """Random numbers, the same in every replay: seeded with the id."""
        if self._random is None:
            self._random = random.Random(self._run.id)
        return self._random

    def uuid(self) -> uuid.UUID:
        """A random UUID, the same in every replay."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def get_dependency(self, name: str) -> Any:
        """What `Runtime.set_dependency` was given under that name in this process."""
        return self._env.dependency(name)

    # Calls ---------------------------------------------------------------------------------------

    @overload
    def rfi(
        self,
        f: GeneratorFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[Promise[T]]: ...
    @overload
    def rfi(
        self,
        f: CoroutineFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[Promise[T]]: ...
    @overload
    def rfi(self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[Promise[T]]: ...
    @overload
    def rfi(self, f: str, /, *args: Any, **kwargs: Any) -> Call[Promise[Any]]: ...
    def rfi(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Remote invocation: call `f` in its group and get a promise, to yield later."""
        return self._call("rfi", f, args, kwargs)

    @overload
    def rfc(
        self,
        f: GeneratorFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[T]: ...
    @overload
    def rfc(
        self,
        f: CoroutineFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[T]: ...
    @overload
    def rfc(self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    @overload
    def rfc(self, f: str, /, *args: Any, **kwargs: Any) -> Call[Any]: ...
    def rfc(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Remote call: call `f` in its group and wait for its value."""
        return self._call("rfc", f, args, kwargs)

    @overload
    def detached(
        self,
        f: GeneratorFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[Promise[T]]: ...
    @overload
    def detached(
        self,
        f: CoroutineFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[Promise[T]]: ...
    @overload
    def detached(
        self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def detached(self, f: str, /, *args: Any, **kwargs: Any) -> Call[Promise[Any]]: ...
    def detached(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Start a call graph of its own: this function ends without waiting for it."""
        return self._call("detached", f, args, kwargs)

    @overload
    def lfi(
        self,
        f: GeneratorFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[Promise[T]]: ...
    @overload
    def lfi(
        self,
        f: CoroutineFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[Promise[T]]: ...
    @overload
    def lfi(self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[Promise[T]]: ...
    def lfi(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Local invocation: a step here, whose result is stored once; gives a promise."""
        return self._call("lfi", f, args, kwargs)

    @overload
    def lfc(
        self,
        f: GeneratorFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[T]: ...
    @overload
    def lfc(
        self,
        f: CoroutineFn[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Call[T]: ...
    @overload
    def lfc(self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    def lfc(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Local call: a step here, whose result is stored once; waits for its value."""
        return self._call("lfc", f, args, kwargs)

    begin_rpc = rfi
    rpc = rfc
    begin_run = lfi
    run = lfc

    # Waiting -------------------------------------------------------------------------------------

    def sleep(self, duration: float | timedelta) -> Sleep:
        """A durable pause of so many seconds: survives every crash and holds no process."""
        run, calls = self._run, self._run.calls
        spec = calls.new_call("sleep", "", _site(sys._getframe(1)))
        spec.timeout_ms = int(seconds("duration", duration, zero=True) * 1000)
        calls.defer(spec)
        ends_at = calls.now_ms + spec.timeout_ms
        if ends_at > run.record.timeout_at and not run.replay.replaying:
            self._env.warn(
                f"{run.function.name} {self.id}: a sleep of {spec.timeout_ms / 1000:g} s ends "
                "after the deadline of the call that sleeps: call it with .options(timeout=...)"
            )
        return Sleep(spec, _apply_options)

    def promise(
        self, *, id: str | None = None, timeout: float | timedelta | None = None
    ) -> Call[Promise[Any]]:
        """A promise that the outside settles: a person, a webhook (`Runtime.promises.resolve`)."""
        spec = self._run.calls.new_call("promise", "", _site(sys._getframe(1)))
        if id is not None or timeout is not None:
            _apply_options(spec, {"id": id, "timeout": timeout})
        return Call(spec, _apply_options, wait=False)

    def all(self, promises: Iterable[Request[Any]]) -> All[Any]:
        """Wait for all of them; the values in order, or the first failure in that order."""
        return All(list(promises))

    def race(self, promises: Sequence[Request[Any]], *, cancel: bool = False) -> Race[Any]:
        """The value, or failure, of whichever settles first; the others go on unless `cancel`."""
        spec = self._run.calls.new_call("race", "", _site(sys._getframe(1)))
        items = list(promises)
        if not items:
            raise ConfigurationError("ctx.race needs at least one promise")
        return Race(spec, items, cancel=cancel)

    @overload
    def map(
        self,
        f: Callable[[Any, T], Any],
        items: Iterable[T],
        *,
        window: int | None = None,
        target: str | None = None,
    ) -> Subroutine[list[Any]]: ...
    @overload
    def map(
        self, f: str, items: Iterable[Any], *, window: int | None = None, target: str | None = None
    ) -> Subroutine[list[Any]]: ...
    def map(
        self,
        f: Any,
        items: Iterable[Any],
        *,
        window: int | None = None,
        target: str | None = None,
    ) -> Subroutine[list[Any]]:
        """Call `f` remotely for each item, at most `window` at a time; the values in order."""
        if window is not None and window < 1:
            raise ConfigurationError(f"window={window}: it must be 1 or more")
        site = _site(sys._getframe(1))
        return Subroutine(lambda: self._map(f, items, window, target, site))

    def _map(
        self, f: Any, items: Iterable[Any], window: int | None, target: str | None, site: str
    ) -> Generator[Any, Any, list[Any]]:
        promises: list[Promise[Any]] = []
        settled = 0
        for item in items:
            if window is not None and len(promises) - settled >= window:
                settled = len(promises) - window + 1
                yield Gather(promises, settled)
            call = self._call("rfi", f, (item,), {}, site)
            if target is not None:
                call.options(target=target)
            promises.append((yield call))
        values: list[Any] = yield All(promises)
        return values

    # Inside --------------------------------------------------------------------------------------

    def _call(
        self, kind: str, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any], site: str = ""
    ) -> Call[Any]:
        run, env = self._run, self._env
        calls = run.calls
        # a step here may be given a promise to wait for; elsewhere it means nothing
        wrong = (Call, Sleep) if kind in ("lfi", "lfc") else Request
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, wrong):
                raise RequestError(f"an argument of {kind}: {argument.not_yielded()}")
        site = site or _site(sys._getframe(2))
        if kind in ("lfi", "lfc"):
            function = env.local_function(f)
            function.check_arguments(args, kwargs)
            spec = calls.new_call(kind, function.name, site)
            spec.function, spec.args, spec.kwargs = function, args, kwargs
            hint = function.result_hint
        else:
            known = None if isinstance(f, str) else env.registered(f)
            name = f if known is None else known.name
            spec = calls.new_call(kind, name, site)
            if spec.id not in run.replay.known:
                spec.data = env.values.encode_call(known, args, kwargs)
            hint = None if known is None else known.result_hint
            spec.target = env.target
            if known is not None:
                spec.passed_version = known.version
                if known.timeout_s is not None:
                    spec.timeout_ms = int(known.timeout_s * 1000)
        calls.defer(spec)
        return Call(spec, _apply_options, wait=kind in ("rfc", "lfc"), hint=hint)


class FunctionLog(logging.LoggerAdapter[logging.Logger]):
    """``ctx.log``: names the run, and says nothing during a replay."""

    def __init__(self, logger: logging.Logger, run: RunView) -> None:
        super().__init__(logger, None)
        self._run = run

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's own name
        return not self._run.replay.replaying and self.logger.isEnabledFor(level)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{self._run.function.name} {self._run.id}: {msg}", kwargs


#: options that say nothing for some kinds of calls, with what to do instead
_SENSELESS: Final = {
    "lfi": ({"target", "send_to", "delay", "priority"}, "it runs here and now: use ctx.rfi or rfc"),
    "sleep": (
        {"target", "send_to", "timeout", "version", "retry", "delay", "priority"},
        "its length is the argument of ctx.sleep",
    ),
    "promise": (
        {"target", "send_to", "version", "retry", "delay", "priority"},
        "the outside settles it, no function does",
    ),
}
_SENSELESS["lfc"] = _SENSELESS["lfi"]


def _apply_options(spec: CallSpec, given: Mapping[str, Any]) -> None:
    """Read and check per-call options into a call."""
    senseless, advice = _SENSELESS.get(spec.kind, (_NO_NAMES, ""))
    for name in senseless:
        if given.get(name) is not None:
            raise ConfigurationError(f"option {name}={given[name]!r} of {spec.label}: {advice}")
    options = _NO_OPTIONS.merge(**given)
    if options.version is not None and spec.function is not None:
        raise ConfigurationError(
            f"option version={options.version!r} of {spec.label}: pass the function of that version"
        )
    if options.id is not None:
        spec.place, spec.id = spec.place or spec.id, options.id
    if options.target is not None:
        spec.target = options.target
    if options.timeout_s is not None:
        spec.timeout_ms = int(options.timeout_s * 1000)
    if options.delay_s is not None:
        spec.delay_ms = int(options.delay_s * 1000)
    if options.retry is not None:
        _set_retry(spec, options.retry)
    spec.version = options.version or spec.version
    spec.tags = options.tags or spec.tags
    spec.priority = options.priority or spec.priority


def _set_retry(spec: CallSpec, retry: Retry) -> None:
    spec.retry = to_wire(retry)


def _site(frame: Any) -> str:
    """Where in the user's code a call stands: ``folder/file.py:12``."""
    return f"{_file(frame.f_code)}:{frame.f_lineno}"


@lru_cache(maxsize=4096)
def _file(code: CodeType) -> str:
    return "/".join(code.co_filename.replace("\\", "/").rsplit("/", 2)[-2:])
