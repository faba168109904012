"""Requests: the objects that ``ctx`` makes and a durable function yields.

There are three ways to yield one: ``x = yield request`` in a generator (type checkers see Any),
``x = yield from request`` in a generator, and ``x = await request`` in a coroutine (both typed).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextvars import Context as Variables
from contextvars import ContextVar
from typing import Any, Final, Generic, NoReturn, Protocol, Self, TypeVar, Unpack

import msgspec

from understudy_actors.errors import LateOptionsError, RequestError
from understudy_actors.interpreter.call_options import CallOptions
from understudy_actors.interpreter.ports import FunctionLike

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: how errors of trio and asyncio begin for a request that is awaited in a task of their own
_LOOP_REFUSALS: Final = ("trio.run received unrecognized yield message", "Task got bad yield")


class Tasks(Protocol):
    """The tasks of an event loop that runs durable functions."""

    def steps_of(self, request: Request[Any]) -> Generator[Any, Any, Any] | None:
        """Return what answers a request that the current task awaits.

        Returns
        -------
        Generator | None
            It yields to the loop, and returns the value. None if the task is that of a durable
            function itself, which yields the request to the interpreter.
        """


#: the methods of a context by the kinds of calls, which are older names
_METHODS: Final = {"rfi": "begin_rpc", "rfc": "rpc", "lfi": "begin_run", "lfc": "run"}


def method_of(kind: str) -> str:
    """Return the name of the method of a context that makes calls of a kind."""
    return _METHODS.get(kind, kind)


#: the tasks of the loop that runs the current function
_TASKS: ContextVar[Tasks | None] = ContextVar("_TASKS", default=None)


def answer_with(tasks: Tasks) -> None:
    """Have `tasks` answer the requests that are awaited with the current context variables."""
    _TASKS.set(tasks)


def awaited_elsewhere(request: Request[Any]) -> RequestError:
    """Return the error of a request that no durable function awaits."""
    return RequestError(
        f"{request!r} was awaited in a task that its durable function has not started (a task of "
        "another loop, of a nursery from outside, or of a callback): await it in the function "
        "itself, or in a task that the function starts"
    )


class Request(Generic[T_co]):
    """The base of everything that may be yielded; the yield gives a `T_co`."""

    __slots__ = ()

    def __iter__(self) -> Generator[Any, Any, T_co]:
        answer: T_co = yield self
        return answer

    def __await__(self) -> Generator[Any, Any, T_co]:
        tasks = _TASKS.get()
        steps = None if tasks is None else tasks.steps_of(self)
        if steps is not None:
            answer: T_co = yield from steps
            return answer
        try:
            answer = yield self
        except (TypeError, RuntimeError) as error:
            if str(error).startswith(_LOOP_REFUSALS):
                raise awaited_elsewhere(self) from None
            raise
        return answer

    def __reduce__(self) -> NoReturn:
        raise RequestError(self.not_yielded())

    def not_yielded(self) -> str:
        """Return the error text for a request that is used as if it were its value."""
        return f"{self!r} was not yielded: write `x = yield ...` (or await), which gives its value"


class Promise(Request[T_co]):
    """A durable promise inside a function: yield it, or await it, to wait for its value.

    ``ctx.begin_rpc``, ``begin_run``, ``detached`` and ``promise`` give one when they are yielded.

    Attributes
    ----------
    id : str
        The id of the promise.
    attached : bool
        Whether the function that made it does not settle before it does.

    Examples
    --------
    >>> @runtime.register
    ... def ask(ctx):
    ...     answer = yield ctx.promise()
    ...     return answer.id, (yield ctx.race([answer, ctx.sleep(60)]))
    >>> runtime.rpc("ask-1", ask).result()
    ('ask-1.1', None)
    """

    __slots__ = ("attached", "hint", "id", "local_spec")

    def __init__(self, id: str, *, attached: bool = True, hint: Any = None) -> None:
        self.id = id
        self.attached = attached
        self.hint = hint
        #: the spec of a local call, because its arguments are not in its promise
        self.local_spec: CallSpec | None = None

    def __repr__(self) -> str:
        return f"<Promise {self.id}>"


class CallSpec(msgspec.Struct, eq=False):
    """One call as it was asked for, with its place in the order of calls.

    Parameters
    ----------
    kind
        rfi, rfc, lfi, lfc (the older names of begin_rpc, rpc, begin_run, run), detached, sleep,
        promise or race; from outside rpc or schedule.
    name
        Name of the function; empty if no function is called.
    site
        Place of the call in the code (``file.py:12``); empty if it is made from outside.
    """

    kind: str
    id: str
    name: str
    site: str
    #: the id that follows from the place in the order of calls, if the call has one of its own
    place: str | None = None
    #: the home that an option asks for
    home: str | None = None
    #: its command has been made, or its promise was in the history
    made: bool = False
    #: the function of a local call, with its arguments
    function: FunctionLike | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    #: the context variables of the caller, as of a local call
    variables: Variables | None = None
    #: encoded arguments of any other call
    data: bytes | None = None
    target: str | None = None
    timeout_ms: int | None = None
    #: version that an option asks for
    version: int | None = None
    #: Version of the function that was passed. A replay need not repeat it, so that a callee may be
    #: upgraded under its callers.
    passed_version: int | None = None
    tags: dict[str, str] | None = None
    #: retry policy in its wire form
    retry: str | None = None
    #: headers by which traces go on
    trace: dict[str, str] | None = None
    delay_ms: int | None = None
    priority: int | None = None
    retention: str | None = None

    @property
    def label(self) -> str:
        """The name of the call in errors and logs: ``begin_rpc bar``."""
        method = method_of(self.kind)
        return f"{method} {self.name}" if self.name else method


#: applies the options of one call to its spec; the SDK reads and checks them
ApplyOptions = Callable[[CallSpec, Mapping[str, Any]], None]


class _WithOptions(Request[T_co]):
    """A request that makes a promise, and takes options until it is yielded."""

    __slots__ = ("_apply_options", "spec")

    def __init__(self, spec: CallSpec, apply_options: ApplyOptions) -> None:
        self.spec = spec
        self._apply_options = apply_options

    def __repr__(self) -> str:
        return f"<the request {self.spec.label} at {self.spec.site}>"

    def __bool__(self) -> NoReturn:
        raise RequestError(self.not_yielded())

    def options(self, /, **options: Unpack[CallOptions]) -> Self:
        """Set options of this one call.

        Parameters
        ----------
        id : str
            The promise's id, instead of the one that follows from its place in the order of calls.
        home : str
            Where the call lives, with everything that it calls: the id that follows from its place
            comes after the home and a dot. Spreads the calls of one function over brokers. Not for
            steps and sleeps, which are a part of the function that makes them.
        target, send_to : str
            The group or node that performs the call: ``"group"``, ``poll("group")``,
            ``"poll://uni@group/node"``.
        timeout, delay : float or timedelta
            Seconds until the call's deadline, and until it is handed out.
        version : int
            Version of the function; by default the highest that the node knows.
        tags : mapping of str to str
            Your own tags, to search by.
        retry : RetryPolicy
            The policy for this call, instead of the function's own.
        priority : int
            -100 to 100; a higher one goes first within its group.
        retention : str, float or timedelta
            How long a detached call is kept after its end: ``"7d"``, ``"never"``, seconds.

        Returns
        -------
        Self
            The same request, to be yielded.

        Raises
        ------
        LateOptionsError
            The call has been yielded already.
        ConfigurationError
            An option makes no sense for this kind of call, or its value is out of range.
        """
        if self.spec.made:
            raise LateOptionsError(f"{self.spec.label}: set options before the call is yielded")
        unknown = options.keys() - CallOptions.__annotations__
        if unknown:
            raise RequestError(
                f"{self.spec.label}: there is no option {min(unknown)!r}; the options are "
                + ", ".join(CallOptions.__annotations__)
            )
        self._apply_options(self.spec, options)
        return self


class Call(_WithOptions[T_co]):
    """A call of a function.

    Parameters
    ----------
    wait
        The yield gives the value (rpc, run); otherwise the promise, at once (begin_rpc, begin_run).
    hint
        The type to decode the value as.
    """

    __slots__ = ("hint", "wait")

    def __init__(
        self, spec: CallSpec, apply_options: ApplyOptions, *, wait: bool, hint: Any = None
    ) -> None:
        super().__init__(spec, apply_options)
        self.wait = wait
        self.hint = hint


class Sleep(_WithOptions[None]):
    """A durable pause."""

    __slots__ = ()


class All(Request[list[T]]):
    """A wait for all; gives the values in order, or raises the first failure in that order.

    Parameters
    ----------
    items
        Promises, and requests that give one or stand for several.
    return_exceptions
        Failures stand among the values instead of being raised.
    label
        The name in the notes on failures.
    """

    __slots__ = ("items", "label", "return_exceptions")

    def __init__(
        self,
        items: Sequence[Request[Any]],
        *,
        return_exceptions: bool = False,
        label: str = "ctx.all",
    ) -> None:
        self.items = items
        self.return_exceptions = return_exceptions
        self.label = label


class Race(Request[T_co]):
    """A wait for the first to settle. The winner is stored, so that a replay sees the same one."""

    __slots__ = ("cancel", "items", "spec")

    label = "ctx.race"

    def __init__(self, spec: CallSpec, items: Sequence[Request[Any]], *, cancel: bool) -> None:
        self.spec = spec
        self.items = items
        self.cancel = cancel


def specs_in(request: Request[Any]) -> Iterator[CallSpec]:
    """Yield the calls that a request makes, if they are not made yet."""
    if isinstance(request, Call | Sleep | Race):
        yield request.spec
    if isinstance(request, All | Race):
        for item in request.items:
            yield from specs_in(item)


class Gather(Request[None]):
    """A wait until `count` of the promises have settled; its value tells nothing about which."""

    __slots__ = ("count", "promises")

    def __init__(self, promises: Sequence[Promise[Any]], count: int) -> None:
        self.promises = promises
        self.count = count


class Subroutine(Request[T_co]):
    """A generator that runs in the place of the request, in the same order of calls."""

    __slots__ = ("start",)

    def __init__(self, start: Callable[[], Generator[Any, Any, T_co]]) -> None:
        self.start = start
