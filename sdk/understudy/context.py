"""The context: what a durable function calls, waits for and knows about itself.

Every method makes a request, and nothing happens until the function yields it: ``yield
ctx.rpc(...)`` in a generator, ``await ctx.rpc(...)`` in an ``async def``. A call that is made but
not yielded is sent with the next yield, or when the function returns.
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
)
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import lru_cache, partial
from types import CodeType, FrameType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Literal,
    NoReturn,
    ParamSpec,
    TypeAlias,
    TypeVar,
    overload,
)

from understudy.cancellation import calling, signals_of, wait_canceled
from understudy.context_calls import apply_options, local_call, remote_call
from understudy.current_run import CurrentRun, OwnNode
from understudy.errors import ConfigurationError, RequestError
from understudy.info import Info
from understudy.options import check_bool, check_int, seconds
from understudy.progress import checked_progress
from understudy_actors.interpreter.requests import (
    All,
    Call,
    Gather,
    Promise,
    Race,
    Request,
    Sleep,
    Subroutine,
)

if TYPE_CHECKING:
    from understudy.node_view import NodeView
    from understudy_actors.interpreter.environment import RunView

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

# The three kinds of durable functions. The first parameter is the context.
GeneratorFn: TypeAlias = Callable[Concatenate[Any, P], Generator[Any, Any, T]]
CoroutineFn: TypeAlias = Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]
PlainFn: TypeAlias = Callable[Concatenate[Any, P], T]

_LOG: Final = logging.getLogger("understudy.function")
WINDOW_MAX: Final = 2**31 - 1


class Context:
    """The first argument of every durable function.

    It makes requests, which the function yields (or awaits): calls, sleeps, promises. It also knows
    the time, random numbers and the id of the run, which are the same in every replay.

    Examples
    --------
    >>> @runtime.register
    ... def order(ctx, number):
    ...     price = yield ctx.rpc(quote, number)  # a call to any node of the group
    ...     yield ctx.sleep(3600)  # an hour, which no process has to wait for
    ...     return price * 2
    >>> @runtime.register
    ... def quote(ctx, number):
    ...     return number * 10
    >>> runtime.rpc("order-7", order, 7).result()
    140
    """

    __slots__ = ("_env", "_log", "_run")

    def __init__(self, run: RunView, env: NodeView) -> None:
        self._run = run
        self._env = env
        # It is made on demand, because most functions never use it.
        self._log: FunctionLog | None = None

    # About this run ------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of this run's promise, the same in every attempt.

        It is a good idempotency key for other systems.

        Examples
        --------
        >>> @runtime.register
        ... def charge(ctx, amount):
        ...     return f"charged {amount} as {ctx.id}"
        >>> runtime.rpc("charge-7", charge, 120).result()
        'charged 120 as charge-7'
        """
        return self._run.id

    @property
    def log(self) -> FunctionLog:
        """A logger that names this run and is silent while the function is replayed.

        Its name is ``understudy.function``.

        Examples
        --------
        >>> @runtime.register
        ... def import_file(ctx, name):
        ...     ctx.log.info("importing %s", name)
        >>> runtime.rpc("import-1", import_file, "sales.csv").result()
        """
        if self._log is None:
            self._log = FunctionLog(_LOG, self._run, self._env)
        return self._log

    @property
    def info(self) -> Info:
        """Facts about this run: attempt, deadline, tags, version of the function.

        Examples
        --------
        >>> @runtime.register
        ... def flaky(ctx):
        ...     if ctx.info.attempt < 3:
        ...         raise ConnectionError("try again")
        ...     return f"done in attempt {ctx.info.attempt}"
        >>> runtime.rpc("flaky-1", flaky).result()
        'done in attempt 3'
        """
        run = self._run
        record = run.record
        return Info(run.attempt, record.timeout_at / 1000, record.tags, run.function.version)

    @property
    def time(self) -> float:
        """The time in seconds since the epoch, the same in every replay.

        It is the moment of the call, or of the latest result that this function has seen settled.

        Examples
        --------
        >>> @runtime.register
        ... def stopwatch(ctx):
        ...     start = ctx.time
        ...     yield ctx.sleep(60)
        ...     return ctx.time - start
        >>> runtime.rpc("stopwatch-1", stopwatch).result()
        60.0
        """
        return self._run.replay.strand.time_ms / 1000

    @property
    def random(self) -> random.Random:
        """Random numbers, the same in every replay, because the id is their seed.

        Examples
        --------
        >>> @runtime.register
        ... def dice(ctx):
        ...     return ctx.random.randint(1, 6)
        >>> runtime.rpc("dice-1", dice).result() in range(1, 7)
        True
        """
        return self._run.replay.strand.random

    def uuid(self) -> uuid.UUID:
        """Make a random UUID, the same in every replay.

        Returns
        -------
        uuid.UUID
            A UUID of version 4; another one with each use.

        Examples
        --------
        >>> @runtime.register
        ... def ticket(ctx):
        ...     return ctx.uuid().version
        >>> runtime.rpc("ticket-1", ticket).result()
        4
        """
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def get_dependency(self, name: str) -> Any:
        """Return an object that `Runtime.set_dependency` was given in this process.

        Parameters
        ----------
        name : str
            The name of the dependency.

        Returns
        -------
        object
            The object itself.

        Raises
        ------
        ConfigurationError
            No dependency has that name in this process.

        Examples
        --------
        >>> runtime.set_dependency("greeting", "Hello")
        >>> @runtime.register
        ... def greet(ctx, name):
        ...     return f"{ctx.get_dependency('greeting')}, {name}"
        >>> runtime.rpc("greet-1", greet, "Ann").result()
        'Hello, Ann'
        """
        return self._env.dependency(name)

    # While it works ------------------------------------------------------------------------------

    def progress(self, fraction: float | None = None, text: str = "") -> None:
        """Tell how far this function is, for people who look at the call.

        ``understudy tree``, ``understudy tasks get`` and the HTTP API show the latest that was
        told. It may be called very often: the node tells the brokers a few times in a second. It is
        not stored, and is gone when the function ends or its node dies.

        Parameters
        ----------
        fraction : float, optional
            The part of the work that is done, from 0 to 1.
        text : str, optional
            A line for people, of at most 200 characters; what is beyond is cut.

        Raises
        ------
        ConfigurationError
            The fraction is no number from 0 to 1, or the text is no text.

        Examples
        --------
        >>> @runtime.register
        ... def resize(ctx, names):
        ...     for number, name in enumerate(names):
        ...         ctx.progress(number / len(names), name)
        ...     return len(names)
        >>> runtime.rpc("resize-1", resize, ["a.png", "b.png"]).result()
        2
        """
        signals_of(self._run).progress = checked_progress(fraction, text)
        self._env.on_progress(self._run)

    @property
    def canceled(self) -> bool:
        """True once nobody wants the result of this function any more.

        The call was canceled or has passed its deadline, or the task has gone to another node,
        because this one had lost its lease. What the function still does is wasted, so a plain
        function that works for long should look now and then, and return. (An ``async def`` is
        canceled at its next ``await`` anyway.)

        Examples
        --------
        >>> @runtime.register
        ... def search(ctx, numbers):
        ...     for number in numbers:
        ...         if ctx.canceled:
        ...             return None
        ...         if number % 7 == 0:
        ...             return number
        >>> runtime.rpc("search-1", search, [5, 6, 7]).result()
        7
        """
        return self._run.canceled

    def wait_canceled(self, timeout: float | timedelta) -> bool:
        """Wait on this thread until the function is canceled: a pause that ends early then.

        For plain functions; an ``async def`` sleeps as usual, and is canceled where it waits.

        Parameters
        ----------
        timeout : float or timedelta
            How long to wait at most; a number counts seconds.

        Returns
        -------
        bool
            `canceled`, as it is then.

        Raises
        ------
        ConfigurationError
            The time is negative or no time.

        Examples
        --------
        >>> @runtime.register
        ... def watch_printer(ctx, looks):
        ...     for look in range(looks):
        ...         if ctx.wait_canceled(0.01):
        ...             return "canceled"
        ...     return "done"
        >>> runtime.rpc("printer-1", watch_printer, 3).result()
        'done'
        """
        return wait_canceled(self._run, seconds("timeout", timeout, zero=True))

    def on_cancel(self, callback: Callable[[], object]) -> AbstractContextManager[None]:
        """Have a function called when this one is canceled, as long as a block runs.

        It can end what the block waits for: close a connection, stop an engine. For subprocesses
        there is `understudy.subprocesses.run`.

        Parameters
        ----------
        callback : callable
            Called without arguments, on a thread of its own, and once at most; at once if the
            function is canceled already.

        Returns
        -------
        context manager

        Examples
        --------
        >>> import threading
        >>> @runtime.register
        ... def listen(ctx):
        ...     stop = threading.Event()
        ...     with ctx.on_cancel(stop.set):
        ...         return stop.wait(0.01)
        >>> runtime.rpc("listen-1", listen).result()
        False
        """
        return calling(self._run, callback)

    @property
    def deadline(self) -> float:
        """The deadline of this call, in seconds since the epoch; that of ``ctx.info.timeout``."""
        return self._run.record.timeout_at / 1000

    @property
    def remaining(self) -> float:
        """The seconds until the deadline by the brokers' clock; 0.0 if it has passed.

        For the time limits of what a function waits for. It is another number in each replay, so a
        workflow must not decide anything by it.

        Examples
        --------
        >>> @runtime.register
        ... def fetch(ctx):
        ...     return min(ctx.remaining, 10.0)  # as the timeout of an HTTP request
        >>> runtime.rpc("fetch-1", fetch).result()
        10.0
        """
        return max(0.0, (self._run.record.timeout_at - self._env.now_ms()) / 1000)

    # Calls ---------------------------------------------------------------------------------------

    @overload
    def begin_rpc(
        self, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def begin_rpc(
        self, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def begin_rpc(
        self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def begin_rpc(self, f: str, /, *args: Any, **kwargs: Any) -> Call[Promise[Any]]: ...
    def begin_rpc(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call a function on a node of its group, and go on; also known as `rfi`.

        Calls that are begun before any is waited for run side by side. The function does not end
        before the calls that it began.

        Parameters
        ----------
        f : function or str
            A function that is registered here, or the name of one that the node knows.
        *args, **kwargs
            The arguments.

        Returns
        -------
        Call
            A request to yield; it gives a `Promise`, which is yielded later to wait for the result.
            Set options before, with ``.options(target=..., timeout=...)``.

        Raises
        ------
        ConfigurationError
            The function is not registered here.
        InvalidArgumentsError
            The arguments do not suit the function, if it is registered here.
        EncodingError
            An argument cannot be sent.
        RequestError
            An argument is a request that was not yielded.

        Examples
        --------
        >>> @runtime.register
        ... def count(ctx, side):
        ...     return len(side)
        >>> @runtime.register
        ... def total(ctx):
        ...     left = yield ctx.begin_rpc(count, "left")
        ...     right = yield ctx.begin_rpc(count, "right")
        ...     return (yield left) + (yield right)
        >>> runtime.rpc("total-1", total).result()
        9
        """
        return remote_call(self._run, self._env, "rfi", f, args, kwargs, _site(sys._getframe(1)))

    @overload
    def rpc(self, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    @overload
    def rpc(self, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    @overload
    def rpc(self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    @overload
    def rpc(self, f: str, /, *args: Any, **kwargs: Any) -> Call[Any]: ...
    def rpc(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call a function on a node of its group and wait for its result; also known as `rfc`.

        The call gets an id that follows from the order of calls: the third call of ``order-7`` is
        ``order-7.3``. In a replay its stored result is used, and the function does not run again.

        Parameters
        ----------
        f : function or str
            A function that is registered here, or the name of one that the node knows.
        *args, **kwargs
            The arguments.

        Returns
        -------
        Call
            A request to yield; it gives the value that the function returned, or raises what the
            function raised. Set options before, with ``.options(target=..., timeout=...)``.

        Raises
        ------
        ConfigurationError
            The function is not registered here.
        InvalidArgumentsError
            The arguments do not suit the function, if it is registered here.
        EncodingError
            An argument cannot be sent.
        RequestError
            An argument is a request that was not yielded.

        Examples
        --------
        >>> @runtime.register
        ... def price(ctx, item):
        ...     return {"book": 12, "pen": 2}[item]
        >>> @runtime.register
        ... def bill(ctx, items):
        ...     total = 0
        ...     for item in items:
        ...         total += yield ctx.rpc(price, item).options(timeout=30)
        ...     return total
        >>> runtime.rpc("bill-1", bill, ["book", "pen"]).result()
        14

        A failure is raised where the call is yielded, as the exception that it was:

        >>> from understudy import Never
        >>> @runtime.register
        ... def careful(ctx, item):
        ...     try:
        ...         return (yield ctx.rpc(price, item).options(retry=Never()))
        ...     except KeyError:
        ...         return "not for sale"
        >>> runtime.rpc("careful-1", careful, "shop").result()
        'not for sale'
        """
        return remote_call(self._run, self._env, "rfc", f, args, kwargs, _site(sys._getframe(1)))

    @overload
    def detached(
        self, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def detached(
        self, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def detached(
        self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def detached(self, f: str, /, *args: Any, **kwargs: Any) -> Call[Promise[Any]]: ...
    def detached(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Start a call graph of its own, for which this function does not wait.

        Parameters
        ----------
        f : function or str
            A function that is registered here, or the name of one that the node knows.
        *args, **kwargs
            The arguments.

        Returns
        -------
        Call
            A request to yield; it gives a `Promise`. The function may wait for it, and ends without
            waiting for it otherwise. The deadline of the call is its own.

        Raises
        ------
        ConfigurationError
            The function is not registered here.
        InvalidArgumentsError
            The arguments do not suit the function, if it is registered here.
        EncodingError
            An argument cannot be sent.
        RequestError
            An argument is a request that was not yielded.

        Examples
        --------
        >>> @runtime.register
        ... def send_mail(ctx, text):
        ...     return f"sent: {text}"
        >>> @runtime.register
        ... def sign_up(ctx, name):
        ...     mail = yield ctx.detached(send_mail, f"Welcome, {name}")
        ...     return mail.id
        >>> mail_id = runtime.rpc("sign-up-1", sign_up, "Ann").result()
        >>> runtime.get(mail_id).result()
        'sent: Welcome, Ann'
        """
        return remote_call(
            self._run, self._env, "detached", f, args, kwargs, _site(sys._getframe(1))
        )

    @overload
    def begin_run(
        self, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def begin_run(
        self, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    @overload
    def begin_run(
        self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Promise[T]]: ...
    def begin_run(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Start a step in this process, and go on; also known as `lfi`.

        Parameters
        ----------
        f : function
            Any function whose first parameter is the context, registered or not.
        *args, **kwargs
            The arguments. They stay in this process and are not stored.

        Returns
        -------
        Call
            A request to yield; it gives a `Promise`, which is yielded later to wait for the result.

        Raises
        ------
        InvalidFunctionError
            `f` cannot be called durably, for example because it has no parameter for the context.
        InvalidArgumentsError
            The arguments do not suit the function.
        RequestError
            An argument is a request that was not yielded.

        Examples
        --------
        >>> def fetch(ctx, page):
        ...     return f"page {page}"
        >>> @runtime.register
        ... def collect(ctx):
        ...     pages = []
        ...     for number in range(2):
        ...         pages.append((yield ctx.begin_run(fetch, number)))
        ...     return (yield ctx.all(pages))
        >>> runtime.rpc("collect-1", collect).result()
        ['page 0', 'page 1']
        """
        return local_call(self._run, self._env, "lfi", f, args, kwargs, _site(sys._getframe(1)))

    @overload
    def run(self, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    @overload
    def run(self, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    @overload
    def run(self, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]: ...
    def run(self, f: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Run a step in this process and wait for its result; also known as `lfc`.

        A step is the place for side effects and for reading what may change. Its result is stored
        once; in a replay the stored result is used. A step whose process died while it was under
        way runs again, so let it be repeatable.

        Parameters
        ----------
        f : function
            Any function whose first parameter is the context, registered or not.
        *args, **kwargs
            The arguments. They stay in this process and are not stored.

        Returns
        -------
        Call
            A request to yield; it gives the value that the function returned, or raises what the
            function raised. Of the options a step takes `id`, `timeout`, `retry` and `tags`.

        Raises
        ------
        InvalidFunctionError
            `f` cannot be called durably, for example because it has no parameter for the context.
        InvalidArgumentsError
            The arguments do not suit the function.
        RequestError
            An argument is a request that was not yielded.

        Examples
        --------
        >>> def read_rate(ctx, currency):
        ...     return {"EUR": 1.1}[currency]
        >>> @runtime.register
        ... def convert(ctx, amount, currency):
        ...     rate = yield ctx.run(read_rate, currency)
        ...     return amount * rate
        >>> runtime.rpc("convert-1", convert, 10, "EUR").result()
        11.0
        """
        return local_call(self._run, self._env, "lfc", f, args, kwargs, _site(sys._getframe(1)))

    # The same by older names.
    rfi = begin_rpc
    rfc = rpc
    lfi = begin_run
    lfc = run

    # Waiting -------------------------------------------------------------------------------------

    def sleep(self, duration: float | timedelta) -> Sleep:
        """Pause durably: the pause survives every crash and holds no thread and no process.

        Parameters
        ----------
        duration : float or timedelta
            The length of the pause, in seconds.

        Returns
        -------
        Sleep
            A request to yield; it gives None. It may be one of the promises of `race`, which makes
            it a time limit.

        Raises
        ------
        ConfigurationError
            `duration` is not a number of seconds, 0 or more.

        Examples
        --------
        >>> @runtime.register
        ... def remind(ctx):
        ...     yield ctx.sleep(7 * 24 * 3600)
        ...     return "a week has passed"
        >>> runtime.rpc("remind-1", remind).result()
        'a week has passed'
        """
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
        return Sleep(spec, apply_options)

    def promise(
        self, *, id: str | None = None, timeout: float | timedelta | None = None
    ) -> Call[Promise[Any]]:
        """Create a promise that a person or another system settles.

        They settle it by its id, with ``runtime.promises.resolve`` or ``understudy promises
        resolve``.

        Parameters
        ----------
        id : str, optional
            The id of the promise; by default it follows from the order of calls.
        timeout : float or timedelta, optional
            Seconds to its deadline; by default that of this call.

        Returns
        -------
        Call
            A request to yield; it gives the `Promise`, which is yielded in turn to wait for it.

        Raises
        ------
        ConfigurationError
            An id or a timeout that cannot be used.

        Examples
        --------
        >>> @runtime.register
        ... def publish(ctx, title):
        ...     approval = yield ctx.promise(id=f"{ctx.id}.approval")
        ...     return title if (yield approval) == "yes" else None
        >>> handle = runtime.rpc("publish-1", publish, "Durable calls")
        >>> settled = runtime.promises.resolve("publish-1.approval", "yes")
        >>> handle.result()
        'Durable calls'
        """
        spec = self._run.calls.new_call("promise", "", _site(sys._getframe(1)))
        if id is not None or timeout is not None:
            apply_options(spec, {"id": id, "timeout": timeout})
        return Call(spec, apply_options, wait=False)

    @overload
    def all(
        self, promises: Iterable[Call[Promise[T]]], *, return_exceptions: Literal[False] = False
    ) -> All[T]: ...
    @overload
    def all(
        self, promises: Iterable[Request[T]], *, return_exceptions: Literal[False] = False
    ) -> All[T]: ...
    @overload
    def all(
        self, promises: Iterable[Call[Promise[T]]], *, return_exceptions: bool
    ) -> All[T | BaseException]: ...
    @overload
    def all(
        self, promises: Iterable[Request[T]], *, return_exceptions: bool
    ) -> All[T | BaseException]: ...
    def all(
        self, promises: Iterable[Request[Any]], *more: object, return_exceptions: bool = False
    ) -> All[Any]:
        """Wait for several promises.

        Parameters
        ----------
        promises : iterable of Promise
            What `begin_rpc`, `begin_run`, `detached` or `promise` gave when they were yielded.
            Requests that were not yielded yet may stand there too: calls, sleeps, and whole `all`,
            `race` and (without a window) `map`.
        *more : object
            Nothing. Promises that do not stand in one list are refused.
        return_exceptions : bool, optional
            Whether failures stand among the values, as exceptions. By default the first one is
            raised.

        Returns
        -------
        All
            A request to yield; it gives a list of the values, in the order of the promises. If some
            fail, it raises the first failure in that order, once all have settled. A note on it
            names the call: its place in the list, its function and arguments, its id.

        Raises
        ------
        ConfigurationError
            `return_exceptions` is no bool.
        RequestError
            The promises are not in one list. Or an item is not a promise; raised where the request
            is yielded.

        Examples
        --------
        >>> @runtime.register
        ... def double(ctx, number):
        ...     return number * 2
        >>> @runtime.register
        ... def both(ctx):
        ...     left = yield ctx.begin_rpc(double, 1)
        ...     right = yield ctx.begin_rpc(double, 2)
        ...     return (yield ctx.all([left, right]))
        >>> runtime.rpc("both-1", both).result()
        [2, 4]

        With ``return_exceptions=True`` a failure does not hide the other values:

        >>> from understudy import Never
        >>> @runtime.register(retry=Never())
        ... def inverse(ctx, number):
        ...     return 1 / number
        >>> @runtime.register
        ... def inverses(ctx, numbers):
        ...     calls = [ctx.begin_rpc(inverse, number) for number in numbers]
        ...     found = yield ctx.all(calls, return_exceptions=True)
        ...     return [str(value) for value in found]
        >>> runtime.rpc("inverses-1", inverses, [4, 0, 2]).result()
        ['0.25', 'division by zero', '0.5']
        """
        check_bool("return_exceptions", return_exceptions)
        items = _refuse_unlisted("all") if more else list(promises)
        return All(items, return_exceptions=return_exceptions)

    @overload
    def race(self, promises: Iterable[Call[Promise[T]]], *, cancel: bool = False) -> Race[T]: ...
    @overload
    def race(self, promises: Iterable[Request[T]], *, cancel: bool = False) -> Race[T]: ...
    def race(
        self, promises: Iterable[Request[Any]], *more: object, cancel: bool = False
    ) -> Race[Any]:
        """Wait for the first of several promises to settle.

        The winner is stored, so a replay sees the same one.

        Parameters
        ----------
        promises : iterable of Promise
            As for `all`. A sleep among them is a time limit.
        *more : object
            Nothing, as for `all`.
        cancel : bool, optional
            Whether to cancel the others. By default they go on, and the function does not end
            before they do.

        Returns
        -------
        Race
            A request to yield; it gives the value of the winner, or raises its failure.

        Raises
        ------
        ConfigurationError
            There are no promises.
        RequestError
            The promises are not in one list. Or an item is not a promise; raised where the request
            is yielded.

        Examples
        --------
        >>> @runtime.register
        ... def ask(ctx):
        ...     answer = yield ctx.promise()
        ...     first = yield ctx.race([answer, ctx.sleep(30)], cancel=True)
        ...     return "no answer" if first is None else first
        >>> runtime.rpc("ask-1", ask).result()
        'no answer'

        A time limit for several calls together, since `all` and `race` nest:

        >>> @runtime.register
        ... def square(ctx, number):
        ...     return number**2
        >>> @runtime.register
        ... def squares_soon(ctx):
        ...     squares = ctx.all([ctx.begin_rpc(square, number) for number in range(3)])
        ...     return (yield ctx.race([squares, ctx.sleep(30)], cancel=True))
        >>> runtime.rpc("squares-1", squares_soon).result()
        [0, 1, 4]
        """
        spec = self._run.calls.new_call("race", "", _site(sys._getframe(1)))
        items = _refuse_unlisted("race") if more else list(promises)
        if not items:
            raise ConfigurationError("ctx.race needs at least one promise")
        return Race(spec, items, cancel=cancel)

    @overload
    def map(
        self,
        f: Callable[[Any, U], Generator[Any, Any, T]],
        items: Iterable[U],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: Literal[False] = False,
    ) -> Subroutine[list[T]]: ...
    @overload
    def map(
        self,
        f: Callable[[Any, U], Coroutine[Any, Any, T]],
        items: Iterable[U],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: Literal[False] = False,
    ) -> Subroutine[list[T]]: ...
    @overload
    def map(
        self,
        f: Callable[[Any, U], T],
        items: Iterable[U],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: Literal[False] = False,
    ) -> Subroutine[list[T]]: ...
    @overload
    def map(
        self,
        f: Callable[[Any, U], Generator[Any, Any, T]],
        items: Iterable[U],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: bool,
    ) -> Subroutine[list[T | BaseException]]: ...
    @overload
    def map(
        self,
        f: Callable[[Any, U], Coroutine[Any, Any, T]],
        items: Iterable[U],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: bool,
    ) -> Subroutine[list[T | BaseException]]: ...
    @overload
    def map(
        self,
        f: Callable[[Any, U], T],
        items: Iterable[U],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: bool,
    ) -> Subroutine[list[T | BaseException]]: ...
    @overload
    def map(
        self,
        f: str,
        items: Iterable[Any],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: bool = False,
    ) -> Subroutine[list[Any]]: ...
    def map(
        self,
        f: Any,
        items: Iterable[Any],
        *,
        window: int | None = None,
        target: str | None = None,
        return_exceptions: bool = False,
    ) -> Subroutine[list[Any]]:
        """Call a function once for each item, on the nodes of its group.

        Parameters
        ----------
        f : function or str
            A registered function, or the name of one.
        items : iterable
            The argument of each call.
        window : int, optional
            How many calls may be under way at a time; by default all of them.
        target : str, optional
            The group or node that performs the calls; by default the group of this node.
        return_exceptions : bool, optional
            Whether failures stand among the values, as exceptions. By default the first one is
            raised.

        Returns
        -------
        Subroutine
            A request to yield; it gives a list of the values, in the order of the items. If some
            calls fail, it raises the first failure in that order, with a note that names the call.

        Raises
        ------
        ConfigurationError
            `window` is not an int of at least 1, `return_exceptions` is no bool, or a function is
            not registered here.

        Examples
        --------
        >>> @runtime.register
        ... def square(ctx, number):
        ...     return number**2
        >>> @runtime.register
        ... def squares(ctx, count):
        ...     return (yield ctx.map(square, range(count), window=2))
        >>> runtime.rpc("squares-1", squares, 5).result()
        [0, 1, 4, 9, 16]
        """
        if window is not None:
            check_int("window", window, 1, WINDOW_MAX)
        check_bool("return_exceptions", return_exceptions)
        call = partial(remote_call, self._run, self._env, "rfi", f, site=_site(sys._getframe(1)))
        return Subroutine(lambda: _call_each(call, items, target, window, return_exceptions))


def _call_each(
    call: Callable[..., Call[Any]],
    items: Iterable[Any],
    target: str | None,
    window: int | None,
    return_exceptions: bool,
) -> Generator[Any, Any, list[Any]]:
    """Begin a call for each item, at most `window` at a time, and wait for all."""
    promises: list[Promise[Any]] = []
    settled = 0
    for item in items:
        if window is not None and len(promises) - settled >= window:
            settled = len(promises) - window + 1
            yield Gather(promises, settled)
        made = call((item,), {})
        promises.append((yield made if target is None else made.options(target=target)))
    values: list[Any] = yield All(promises, return_exceptions=return_exceptions, label="ctx.map")
    return values


class FunctionLog(logging.LoggerAdapter[logging.Logger]):
    """The logger ``ctx.log``: it names the run, and is silent during a replay.

    Its records have the attributes ``understudy_id`` and so on (see `understudy.logs.run_facts`),
    and those of ``extra``.

    Examples
    --------
    >>> @runtime.register
    ... def pack(ctx, parcel):
    ...     ctx.log.warning("parcel %s is heavy", parcel)
    >>> runtime.rpc("pack-1", pack, 7).result()
    """

    def __init__(self, logger: logging.Logger, run: RunView, owner: OwnNode) -> None:
        # Here and not by a filter only: another thread than the run's may use this logger.
        current = CurrentRun(run.calls.frame, run.function, run.attempt, owner)
        super().__init__(logger, current.facts())
        self._run = run

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's own name
        run = self._run
        is_silent = run.replay.replaying or (run.dropped and not run.is_over)
        return not is_silent and self.logger.isEnabledFor(level)

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log a message after the name of the run; all other methods of a logger end here."""
        if not self.isEnabledFor(level):
            return
        prefix = f"{self._run.function.name} {self._run.id}: "
        if args:
            # The id is no part of the user's format.
            prefix = prefix.replace("%", "%%")
        # The place of the record is the caller's, as if this method were part of logging.
        stacklevel = kwargs.pop("stacklevel", 1) + 1
        extra = {**(self.extra or {}), **(kwargs.pop("extra", None) or {})}
        self.logger.log(
            level, f"{prefix}{msg}", *args, stacklevel=stacklevel, extra=extra, **kwargs
        )


def _refuse_unlisted(name: str) -> NoReturn:
    raise RequestError(
        f"ctx.{name} takes one list of promises: write ctx.{name}([a, b]), not ctx.{name}(a, b)"
    )


def _site(frame: FrameType) -> str:
    """Return where in the user's code a call stands: ``folder/file.py:12``."""
    return f"{_file(frame.f_code)}:{frame.f_lineno}"


@lru_cache(maxsize=4096)
def _file(code: CodeType) -> str:
    return "/".join(code.co_filename.replace("\\", "/").rsplit("/", 2)[-2:])
