"""Celery's names over durable calls, so that an app of Celery moves here task by task.

A task is a durable function, ``delay`` makes a call, a queue is a group, and a worker is a node. A
``chain``, ``group`` or ``chord`` is one durable call that makes the others, and goes on after any
process was killed. Options that have no meaning here are refused, with a hint what to use instead.
The page *from-celery* shows both side by side.

Examples
--------
>>> app = Celery("shop", runtime=Runtime.local())
>>> @app.task
... def add(x, y):
...     return x + y
>>> with app.runtime:
...     chain(add.s(1, 2), add.s(10)).delay().get(timeout=10)
13
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, TypeAlias, overload
from uuid import uuid4

from understudy.context import Context
from understudy.errors import ConfigurationError, UnderstudyError, WaitTimeoutError
from understudy.handle import Handle
from understudy.runtime import Runtime

#: name of the function that performs chains, groups and chords
CANVAS: Final = "understudy.celery.canvas"
_STATES: Final = {
    "pending": "PENDING",
    "resolved": "SUCCESS",
    "rejected": "FAILURE",
    "canceled": "REVOKED",
    "timedout": "FAILURE",
}
#: options of Celery that are refused, and the hint
_INSTEAD: Final = {
    "acks_late": "leave it out: a call is done only when its result is stored",
    "backend": "leave it out: the broker keeps the results",
    "broker": "leave it out: UNDERSTUDY_URL, or Runtime(url=...), says where the broker is",
    "expires": "give it to apply_async, or give the task a time_limit",
    "include": "import the modules of the tasks where the app is",
    "ignore_result": "leave it out: the result is what makes a call durable",
    "link": "use chain(task, next)",
    "link_error": "let a durable function call the task and catch its exception",
    "rate_limit": "use Runtime(concurrency=...), or limits of an identity",
    "reject_on_worker_lost": "leave it out: a call whose node dies goes to another one",
    "retry_backoff": "register the function with understudy.Exponential(...)",
    "serializer": "use Runtime(pickle=True) for values that are no plain data",
    "soft_time_limit": "use time_limit, the seconds to the call's deadline",
    "track_started": "leave it out: understudy calls shows what runs",
}

Json: TypeAlias = dict[str, Any]


class Retry(UnderstudyError):
    """A task wants to be tried again (`Task.retry`)."""

    def __init__(self, countdown: float, cause: str = "") -> None:
        super().__init__(cause or "the task asked to be tried again")
        self.countdown = countdown


class MaxRetriesExceededError(UnderstudyError):
    """A task asked to be tried again once more than it may be."""


@dataclass(frozen=True, slots=True)
class Request:
    """The call that is performed, as a bound task sees it.

    Attributes
    ----------
    id
        The id of the call.
    retries
        How often it was tried before.
    """

    id: str
    retries: int


@dataclass(frozen=True)
class _Policy:
    """When a failed task is tried again."""

    errors: tuple[type[BaseException], ...]
    max_retries: int | None
    delay: float

    def delay_s(self, attempt: int, error: BaseException) -> float | None:
        """Return the pause before the next attempt; None: there is none."""
        if isinstance(error, Retry):
            return error.countdown
        left = self.max_retries is None or attempt <= self.max_retries
        return self.delay if left and isinstance(error, self.errors) else None


@dataclass(frozen=True)
class Signature:
    """A call that is not made yet, or several: ``task.s(...)``, a chain, a group or a chord.

    Parameters
    ----------
    app
        The app that makes it.
    tree
        The call as it is stored: plain data.
    """

    app: Celery
    tree: Json

    def __or__(self, other: Signature) -> Signature:
        """Return a chain of this and another one."""
        return chain(self, other)

    def set(self, **options: Any) -> Signature:
        """Return the same with options: ``queue``, ``priority``, ``countdown``."""
        _refuse(options, "queue", "priority", "countdown")
        return Signature(self.app, {**self.tree, "options": {**self.tree["options"], **options}})

    def __call__(self, *args: Any) -> Any:
        """Call the task here, as Celery does; a chain, group or chord is begun by `delay`."""
        if self.tree["kind"] != "task":
            return self.delay(*args)
        tree = _with_first(self.tree, args)
        return self.app.tasks[tree["task"]](*tree["args"], **tree["kwargs"])

    def delay(self, *args: Any) -> AsyncResult:
        """Make the call; `args` go before its own."""
        return self.apply_async(args)

    def apply_async(self, args: Sequence[Any] = (), **options: Any) -> AsyncResult:
        """Make the call with options: those of `Task.apply_async`."""
        name, own_args, kwargs = _parts_of(_with_first(self.tree, args))
        return self.app.send(name, own_args, kwargs, **{**self.tree["options"], **options})


def chain(*parts: Signature | Iterable[Signature]) -> Signature:
    """Return calls one after the other, each with the result of the one before as first argument.

    Examples
    --------
    >>> chain(add.s(1, 2), add.s(10)).delay().get()
    13
    """
    return _canvas("chain", _listed(parts))


def group(*parts: Signature | Iterable[Signature]) -> Signature:
    """Return calls beside each other; the result is the list of theirs.

    Examples
    --------
    >>> group(add.s(n, n) for n in range(3)).delay().get()
    [0, 2, 4]
    """
    return _canvas("group", _listed(parts))


def chord(header: Iterable[Signature] | Signature, body: Signature) -> Signature:
    """Return a group, and a call with the list of its results.

    Examples
    --------
    >>> chord([add.s(1, 1), add.s(2, 2)], total.s()).delay().get()
    6
    """
    parts = header if isinstance(header, Signature) else group(header)
    return chain(parts, body)


class AsyncResult:
    """The result of a call.

    Parameters
    ----------
    app
        The app that asks for it.
    id
        The id of the call.
    """

    def __init__(self, app: Celery, id: str) -> None:
        self.app = app
        self.id = id
        self.task_id = id

    @property
    def _handle(self) -> Handle[Any]:
        return self.app.runtime.get(self.id)

    @property
    def state(self) -> str:
        """``PENDING``, ``SUCCESS``, ``FAILURE`` or ``REVOKED``."""
        return _STATES[self.app.runtime.promises.get(self.id).state]

    status = state

    @property
    def result(self) -> Any:
        """The value, or the exception; None before either."""
        return self.get(propagate=False) if self.ready() else None

    def get(self, timeout: float | None = None, propagate: bool = True) -> Any:
        """Wait for the result.

        Raises
        ------
        Exception
            What the task has raised, unless `propagate` is False: then it is returned.
        WaitTimeoutError
            Nothing came within `timeout` seconds; it is a TimeoutError.
        """
        try:
            return self._handle.result(timeout)
        except WaitTimeoutError:
            raise
        except Exception as error:  # whatever the task has raised
            if propagate:
                raise
            return error

    def ready(self) -> bool:
        """Return whether it has ended."""
        return self.state != "PENDING"

    def successful(self) -> bool:
        """Return whether it has ended with a value."""
        return self.state == "SUCCESS"

    def failed(self) -> bool:
        """Return whether it has ended with an exception."""
        return self.state == "FAILURE"

    def revoke(self) -> None:
        """Cancel the call, and all that it has called."""
        self.app.runtime.promises.cancel(self.id)


class Task:
    """A task of an app: call it as the function that it is, or by ``delay`` as a durable one."""

    def __init__(self, app: Celery, fn: Callable[..., Any], name: str, policy: _Policy) -> None:
        self.app = app
        self.name = name
        self._fn = fn
        self._policy = policy

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here; nothing of that is durable."""
        return self._fn(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Make a durable call."""
        return self.app.send(self.name, args, kwargs)

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Make a durable call with options.

        Parameters
        ----------
        **options
            ``countdown`` (seconds) or ``eta`` (datetime) until it is handed out, ``task_id``,
            ``queue`` (the group), ``priority``, ``time_limit`` or ``expires`` (its deadline).
        """
        return self.app.send(self.name, args, kwargs or {}, **options)

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return the call, to be made later, or as a part of a canvas."""
        return self._signature(args, kwargs, False)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return the same, which takes no result of the call before it."""
        return self._signature(args, kwargs, True)

    def _signature(self, args: tuple[Any, ...], kwargs: Json, is_immutable: bool) -> Signature:
        tree = {"kind": "task", "task": self.name, "args": [*args], "kwargs": kwargs}
        return Signature(self.app, {**tree, "options": {}, "immutable": is_immutable})


@dataclass(frozen=True)
class BoundTask:
    """The first argument of a task with ``bind=True``."""

    task: Task
    request: Request
    _policy: _Policy = field(repr=False)

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task.name

    def retry(self, exc: BaseException | None = None, countdown: float | None = None) -> NoReturn:
        """Have this call be tried again.

        Parameters
        ----------
        exc
            What is raised when it may not be tried again.
        countdown
            Seconds until then, instead of the task's own.

        Raises
        ------
        Retry
            Always, unless it was tried too often.
        MaxRetriesExceededError
            It was, and there is no `exc`.
        """
        most = self._policy.max_retries
        if most is not None and self.request.retries >= most:
            raise exc or MaxRetriesExceededError(f"{self.name} was tried again {most} times")
        pause = self._policy.delay if countdown is None else countdown
        raise Retry(pause, "" if exc is None else f"{type(exc).__name__}: {exc}")


class Celery:
    """An app: its tasks are durable functions of a runtime.

    Parameters
    ----------
    main
        The name of the group, if there is no runtime.
    runtime
        The runtime; by default one of that group, with the broker of ``UNDERSTUDY_URL``. It is what
        nodes are started with.

    Raises
    ------
    ConfigurationError
        An option of Celery's has no meaning here; it says what to use.
    """

    def __init__(self, main: str, *, runtime: Runtime | None = None, **others: Any) -> None:
        _refuse(others)
        self.main = main
        self.runtime = runtime or Runtime(group=main)
        self.tasks: dict[str, Task] = {}
        self.runtime.register(_perform, name=CANVAS)

    @overload
    def task(self, fn: Callable[..., Any]) -> Task: ...
    @overload
    def task(
        self,
        *,
        bind: bool = False,
        name: str | None = None,
        autoretry_for: tuple[type[BaseException], ...] = (),
        max_retries: int | None = 3,
        default_retry_delay: float = 180,
        time_limit: float | None = None,
        **others: Any,
    ) -> Callable[[Callable[..., Any]], Task]: ...
    def task(
        self,
        fn: Callable[..., Any] | None = None,
        *,
        bind: bool = False,
        name: str | None = None,
        autoretry_for: tuple[type[BaseException], ...] = (),
        max_retries: int | None = 3,
        default_retry_delay: float = 180,
        time_limit: float | None = None,
        **others: Any,
    ) -> Any:
        """Make a task of a function: ``@app.task``, ``@app.task(bind=True, ...)``.

        Parameters
        ----------
        bind
            Whether the function gets the `BoundTask` as its first argument.
        autoretry_for
            Exceptions after which it is tried again, at most `max_retries` times, each
            `default_retry_delay` seconds after the failure.
        time_limit
            Seconds to the deadline of its calls.

        Raises
        ------
        ConfigurationError
            An option has no meaning here; it says what to use.
        """
        _refuse(others)
        policy = _Policy(autoretry_for, max_retries, default_retry_delay)

        def decorate(fn: Callable[..., Any]) -> Task:
            task = Task(self, fn, name or fn.__name__, policy)
            leaf = _leaf(task, fn, policy, bind)
            self.runtime.register(leaf, name=task.name, retry=policy, timeout=time_limit)
            self.tasks[task.name] = task
            return task

        return decorate if fn is None else decorate(fn)

    def send(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | datetime | None = None,
        task_id: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        time_limit: float | None = None,
        **others: Any,
    ) -> AsyncResult:
        """Make a durable call of a task by its name; see `Task.apply_async`."""
        _refuse(others)
        delay = countdown if eta is None else _seconds_to(eta)
        timeout = _seconds_to(expires) if isinstance(expires, datetime) else expires
        calls = self.runtime.options(
            target=queue,
            delay=delay,
            timeout=time_limit if timeout is None else timeout,
            priority=priority,
        )
        return AsyncResult(self, calls.rpc(task_id or str(uuid4()), name, *args, **kwargs).id)

    send_task = send


def _leaf(
    task: Task, fn: Callable[..., Any], policy: _Policy, is_bound: bool
) -> Callable[..., Any]:
    """Return the durable function of a task."""
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn):
        raise ConfigurationError(
            f"a task is a plain function: register {fn.__name__} with app.runtime.register"
        )

    @functools.wraps(fn)
    def leaf(ctx: Context, *args: Any, **kwargs: Any) -> Any:
        if not is_bound:
            return fn(*args, **kwargs)
        request = Request(ctx.id, ctx.info.attempt - 1)
        return fn(BoundTask(task, request, policy), *args, **kwargs)

    own = [*inspect.signature(fn).parameters.values()][1 if is_bound else 0 :]
    first = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_ONLY)
    leaf.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    return leaf


def _perform(ctx: Context, tree: Json) -> Generator[Any, Any, Any]:
    """Make the calls of a chain or group."""
    parts: list[Json] = tree["parts"]
    if tree["kind"] == "group":
        return (yield ctx.all([_call(ctx, part) for part in parts]))
    result = yield _call(ctx, parts[0])
    for part in parts[1:]:
        result = yield _call(ctx, _with_first(part, [result]))
    return result


def _call(ctx: Context, part: Json) -> Any:
    name, args, kwargs = _parts_of(part)
    options = part["options"]
    return ctx.rpc(name, *args, **kwargs).options(
        target=options.get("queue"),
        priority=options.get("priority"),
        delay=options.get("countdown"),
    )


def _parts_of(tree: Json) -> tuple[str, list[Any], Json]:
    """Return function, arguments and keyword arguments of the call that performs a tree."""
    if tree["kind"] == "task":
        return tree["task"], tree["args"], tree["kwargs"]
    return CANVAS, [tree], {}


def _with_first(tree: Json, args: Sequence[Any]) -> Json:
    """Return a call with arguments before its own; of a chain the first one, of a group each."""
    if not args:
        return tree
    if tree["kind"] == "task":
        return tree if tree["immutable"] else {**tree, "args": [*args, *tree["args"]]}
    parts: list[Json] = tree["parts"]
    if tree["kind"] == "group":
        return {**tree, "parts": [_with_first(part, args) for part in parts]}
    return {**tree, "parts": [_with_first(parts[0], args), *parts[1:]]}


def _canvas(kind: str, parts: Sequence[Signature]) -> Signature:
    if not parts:
        raise ConfigurationError(f"a {kind} has at least one call")
    tree = {"kind": kind, "parts": [part.tree for part in parts], "options": {}}
    return Signature(parts[0].app, tree)


def _listed(parts: Sequence[Signature | Iterable[Signature]]) -> list[Signature]:
    found: list[Signature] = []
    for part in parts:
        found += [part] if isinstance(part, Signature) else part
    return found


def _refuse(options: Mapping[str, Any], *known: str) -> None:
    for name in options:
        if name not in known:
            instead = _INSTEAD.get(name, "there is no such option")
            raise ConfigurationError(f"{name}: {instead}")


def _seconds_to(moment: float | datetime) -> float:
    if not isinstance(moment, datetime):
        return moment
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)) / timedelta(seconds=1))
