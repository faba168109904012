"""The runtime: one process's place in the system."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeAlias, TypeVar, Unpack, overload

from understudy.calls import Calls
from understudy.client.address import broker_address
from understudy.client.caller import Caller
from understudy.client.node_environment import NodeEnvironment
from understudy.client.session import ClientSession, fresh_id
from understudy.context import CoroutineFn, GeneratorFn, PlainFn
from understudy.errors import ConfigurationError, InvalidFunctionError
from understudy.groups import Groups, read_groups
from understudy.handle import Handle, Handles, in_async_code
from understudy.options import (
    UNSET,
    CallOptions,
    check_bool,
    check_int,
    check_retry,
    check_text,
    seconds,
)
from understudy.promises import Promises
from understudy.registry import Function, Registry
from understudy.retry import Retry
from understudy.schedules import Schedules
from understudy.values import Codec
from understudy_actors.interpreter.ports import LoopName
from understudy_actors.node.config import NodeConfig
from understudy_broker.monitoring.address import MonitoringAddressError, Place, parse_place
from understudy_store.addresses import check_name

if TYPE_CHECKING:
    from understudy.processes.spawn import Spawned
    from understudy.queues.addresses import TaskSourceAddress

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
_R = TypeVar("_R", bound="Runtime")
#: what the ids of several calls begin with, or the id of each
Ids: TypeAlias = str | Iterable[str]
F = TypeVar("F", bound=Callable[..., Any])
StartHook = TypeVar("StartHook", bound=Callable[[], object])

#: The deadline of a call that has none of its own, in seconds.
DEFAULT_TIMEOUT_S: Final = 30 * 24 * 3600.0
#: seconds that a stop may take after a start that failed
_FAILED_STOP_S: Final = 1.0
CONCURRENCY: Final = NodeConfig().concurrency
#: the environment variable for the task source, which may hold a password
TASK_SOURCE_VARIABLE: Final = "UNDERSTUDY_TASK_SOURCE"
CONCURRENCY_MAX: Final = 2**31 - 1


def _enter(runtime: _R) -> _R:
    try:
        return runtime.start()
    except BaseException:
        # Nobody calls `__exit__` then, and the node would join as soon as a broker answers.
        runtime.stop(timeout=_FAILED_STOP_S)
        raise


class Runtime:
    """Register functions, call functions anywhere, and be a node of a group.

    A process has one runtime. Making it connects nothing: the first call, `start` or `serve` does.

    Parameters
    ----------
    group : str, optional
        The group of this process: calls without a target go there. By default the environment
        variable UNDERSTUDY_GROUP, else ``default``.
    id : str, optional
        The name of this node, unique among all nodes. By default one is made up.
    url : str, optional
        The broker's address. By default the environment variable UNDERSTUDY_URL, else
        ``tcp://127.0.0.1:5577``.
    pickle : bool, optional
        Whether values other than plain data may travel by cloudpickle. Allow it only among
        processes that trust each other, because a pickle can run any code. By default False.
    timeout : float or timedelta, optional
        Seconds to the deadline of calls that have none of their own; by default thirty days.
    retry : Retry, optional
        The retry policy of functions and calls that have none of their own; by default
        `Exponential`.
    concurrency : int, optional
        How many functions may run at the same time in this process; by default 32.
    loop : str, optional
        The event loop of ``async def`` functions that name none: ``"trio"`` or ``"asyncio"``. By
        default trio.
    connect_timeout : float or timedelta, optional
        Seconds to wait for a broker that does not answer; by default 10.
    task_source : str, optional
        The URL of a queue that this process takes its tasks from, instead of those of its group:
        ``amqp://mq.internal/orders``, ``nats://…`` or ``redis://…``. It may have a user and a
        password. Calls without a target go there. By default the environment variable
        UNDERSTUDY_TASK_SOURCE, else none.
    key : str or path, optional
        The path of the secret key of this process, which others must not be able to read, or the
        name of a systemd credential; for brokers that ask for keys. By default the environment
        variable UNDERSTUDY_KEY, else none. It is read when the runtime connects, which raises
        `ConfigurationError` if that fails.
    broker_key : str or path, optional
        The brokers' public key, or its path. By default UNDERSTUDY_BROKER_KEY, else none.
    seal_keys : str or path, optional
        The path of a file of seal keys, or the name of a systemd credential: arguments, results and
        errors are then encrypted before they leave this process (the extra [seal]). By default
        UNDERSTUDY_SEAL_KEYS, else none. It is read as `key` is.
    seal_required : bool, optional
        Whether values that are not sealed are refused. By default as UNDERSTUDY_SEAL_REQUIRED says,
        else False.
    metrics : str, optional
        Where this process shows metrics and its health once it is a node, as ``HOST:PORT`` or as a
        port of this machine alone: ``"9100"``. With port 0 the system chooses one, and the log says
        which. By default nowhere. `start` and `serve` raise `ConfigurationError` if it is taken.

    Attributes
    ----------
    promises : Promises
        The promises in the store.
    calls : Calls
        The calls in the store that begin a call graph, as lists show them.
    schedules : Schedules
        The schedules in the store.
    task_source : str or None
        The address of the queue that this process takes its tasks from, without a password.

    Raises
    ------
    ConfigurationError
        A parameter has a value that cannot be used.
    InvalidAddressError
        `group` or `id` is not a valid name.

    Examples
    --------
    >>> runtime = Runtime.local()
    >>> @runtime.register
    ... def add(ctx, a, b):
    ...     return a + b
    >>> with runtime:
    ...     runtime.rpc("add-1", add, 1, 2).result()
    3
    """

    promises: Promises
    calls: Calls
    schedules: Schedules

    def __init__(
        self,
        group: str | None = None,
        id: str | None = None,
        url: str | None = None,
        *,
        pickle: bool = False,
        timeout: float | timedelta = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        concurrency: int = CONCURRENCY,
        loop: LoopName = "trio",
        connect_timeout: float | timedelta = 10.0,
        task_source: str | None = None,
        key: str | os.PathLike[str] | None = None,
        broker_key: str | os.PathLike[str] | None = None,
        seal_keys: str | os.PathLike[str] | None = None,
        seal_required: bool | None = None,
        metrics: str | None = None,
    ) -> None:
        group = check_name(group or os.environ.get("UNDERSTUDY_GROUP") or "default", "group")
        env = NodeEnvironment(
            Registry(loop),
            Codec(pickle=pickle),
            group=group,
            timeout_s=seconds("timeout", timeout, zero=False),
            retry=None if retry is None else check_retry("retry", retry),
        )
        #: What the copies share; for the command line and the testing kit, and not public.
        self.session = ClientSession(
            env,
            url=_address(url),
            name=check_name(id or fresh_id(group), "id"),
            config=NodeConfig(concurrency=_checked_concurrency(concurrency)),
            connect_timeout_s=seconds("connect_timeout", connect_timeout, zero=True),
            pickle=pickle,
            task_source=_task_source(task_source),
            keys=(_path("key", key), _path("broker_key", broker_key)),
            seals=(_path("seal_keys", seal_keys), _flag("seal_required", seal_required)),
            metrics=_metrics(metrics),
        )
        self.task_source = self.session.task_source and self.session.task_source.target
        self.promises, self.calls = Promises(self.session), Calls(self.session)
        self.schedules = Schedules(self.session, UNSET)
        self._caller = Caller(self.session, UNSET)

    @classmethod
    def local(
        cls,
        store: str = "memory",
        *,
        group: str = "local",
        id: str | None = None,
        pickle: bool | None = None,
        timeout: float | timedelta = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        concurrency: int = CONCURRENCY,
        loop: LoopName = "trio",
        seal_keys: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Make a runtime with a broker and a store of its own: no other program is needed.

        Parameters
        ----------
        store : str, optional
            ``"memory"``, or a path: then calls survive this process, and the next one that opens
            the same path goes on with them.
        group, id, timeout, retry, concurrency, loop, seal_keys
            As for `Runtime`; the group is ``local`` by default.
        pickle : bool, optional
            Whether values other than plain data may travel by cloudpickle. True by default,
            because they stay in this process and the ones that it spawns. A store that a broker has
            served is not opened by default: others may have put pickles into it.

        Returns
        -------
        Runtime
            The runtime. The store is opened at the first call, `start` or `serve`, which raise
            `StoreError` if that fails.

        Raises
        ------
        ConfigurationError
            A parameter has a value that cannot be used.
        InvalidAddressError
            `group` or `id` is not a valid name.

        Examples
        --------
        >>> with Runtime.local("calls.db") as runtime:
        ...     runtime.promises.create("approval-1").state
        'pending'
        >>> with Runtime.local("calls.db") as runtime:
        ...     runtime.promises.get("approval-1").state
        'pending'
        """
        from understudy.client.embedded import Embedded  # loads the store, which clients do without

        check_text("store", store)
        embedded = Embedded(store, pickle)
        runtime = cls(
            check_name(group, "group"),
            id,
            embedded.url,
            pickle=pickle is not False,
            timeout=timeout,
            retry=retry,
            concurrency=concurrency,
            loop=loop,
            task_source="",
            seal_keys=seal_keys,
        )
        runtime.session.embedded = embedded
        runtime.session.pickle_asked = bool(pickle)
        return runtime

    def configure(
        self,
        *,
        group: str | None = None,
        id: str | None = None,
        url: str | None = None,
        concurrency: int | None = None,
        metrics: str | None = None,
    ) -> None:
        """Change group, id, broker, concurrency or metrics of a runtime that has not connected yet.

        Programs that run another module's runtime use this, such as ``understudy node``. All copies
        made by `options` change too. A runtime made by `local` that gets a `url` joins that broker
        instead of having one of its own.

        Parameters
        ----------
        group, id, url, concurrency, metrics
            As for `Runtime`; None leaves the value as it is.

        Raises
        ------
        ConfigurationError
            The runtime has connected already, or a value cannot be used.
        InvalidAddressError
            `group` or `id` is not a valid name.

        Examples
        --------
        >>> runtime = Runtime("shop")
        >>> runtime.configure(group="bank", id="bank-1")
        >>> runtime
        <Runtime bank-1 of group bank at tcp://127.0.0.1:5577>
        """
        self.session.configure(
            group=None if group is None else check_name(group, "group"),
            id=None if id is None else check_name(id, "id"),
            url=None if url is None else _address(url),
            concurrency=None if concurrency is None else _checked_concurrency(concurrency),
            metrics=None if metrics is None else _metrics(metrics),
        )

    # Identity ------------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        """The name of this process's group."""
        return self.session.env.group

    @property
    def id(self) -> str:
        """The name of this node."""
        return self.session.name

    @property
    def url(self) -> str:
        """The broker's address."""
        return self.session.url

    @property
    def functions(self) -> list[Function]:
        """The functions that are registered here, by name and version."""
        return self.session.env.registry.functions()

    def __repr__(self) -> str:
        return f"<Runtime {self.id} of group {self.group} at {self.url}>"

    # Functions -----------------------------------------------------------------------------------

    @overload
    def register(self, fn: F, /) -> F: ...
    @overload
    def register(
        self,
        fn: F,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        target: str | None = None,
        loop: LoopName | None = None,
        replace: bool = False,
    ) -> F: ...
    @overload
    def register(
        self,
        fn: str | None = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        target: str | None = None,
        loop: LoopName | None = None,
        replace: bool = False,
    ) -> Callable[[F], F]: ...
    def register(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        target: str | None = None,
        loop: LoopName | None = None,
        replace: bool = False,
    ) -> Any:
        """Make a function callable by its name: ``@runtime.register``, ``@register(name=...)``.

        Parameters
        ----------
        fn : callable
            A generator function, an ``async def`` or a plain function; a bound method, a partial or
            an object with ``__call__``. Its first parameter is the `Context`.
        name : str, optional
            The name that calls use; by default the function's own.
        version : int, optional
            The version of the function, from 1. Calls without a version get the highest.
        retry : Retry, optional
            The retry policy of calls that have none of their own.
        timeout : float or timedelta, optional
            Seconds to the deadline of calls that have none of their own.
        target : str, optional
            The group or node of calls that name none: ``"bank"``. By default the task source of
            this runtime, if it has one, else its group.
        loop : str, optional
            The event loop that runs it if it is an ``async def``: ``"trio"`` or ``"asyncio"``. By
            default that of the runtime.
        replace : bool, optional
            Whether it may take the place of another function of that name and version.

        Returns
        -------
        function
            The function itself, so that it can be passed to ``ctx.rpc`` with its types.

        Raises
        ------
        InvalidFunctionError
            `fn` cannot be called durably, for example because it has no parameter for the context.
        ConfigurationError
            Another function is registered under that name and version, or a parameter has a value
            that cannot be used.

        Examples
        --------
        >>> @runtime.register(name="price", version=2, timeout=30)
        ... def price_with_tax(ctx, amount):
        ...     return amount * 1.2
        >>> runtime.rpc("price-1", "price", 10).result()
        12.0
        """
        if isinstance(fn, str):
            fn, name = None, fn
        register = partial(
            self.session.env.registry.register,
            name=name,
            version=version,
            retry=retry,
            timeout_s=timeout,
            target=target,
            loop=loop,
            replace=replace,
        )

        def decorate(f: Any) -> Any:
            register(f)
            return f

        return decorate if fn is None else decorate(fn)

    def on_node_start(self, fn: StartHook, /) -> StartHook:
        """Call a function once in each process that becomes a node, before its first call.

        Nodes of one program may be forked: what their module makes at import is then the same in
        all of them. This is the place for what each node needs for itself: a name, a connection, a
        generator of NumPy or PyTorch.

        Parameters
        ----------
        fn : callable
            A function without parameters. If it raises, the process does not become a node.

        Returns
        -------
        function
            The function itself.

        Raises
        ------
        InvalidFunctionError
            `fn` is no function, or one that returns before it is done (``async def``, a generator).

        Examples
        --------
        >>> runtime = Runtime.local()
        >>> @runtime.on_node_start
        ... def connect():
        ...     runtime.set_dependency("name", "worker-7")
        >>> @runtime.register
        ... def whoami(ctx):
        ...     return ctx.get_dependency("name")
        >>> with runtime:
        ...     runtime.rpc("whoami-1", whoami).result()
        'worker-7'
        """
        self.session.node_start_hooks.append(_checked_hook(fn))
        return fn

    def set_dependency(self, name: str, value: Any) -> None:
        """Give the functions of this process an object that belongs to it, such as a database pool.

        Parameters
        ----------
        name : str
            The name for ``ctx.get_dependency(name)``.
        value : object
            The object. It stays in this process.

        Examples
        --------
        >>> runtime.set_dependency("rates", {"EUR": 1.1})
        >>> @runtime.register
        ... def in_dollars(ctx, amount, currency):
        ...     return amount * ctx.get_dependency("rates")[currency]
        >>> runtime.rpc("convert-1", in_dollars, 10, "EUR").result()
        11.0
        """
        self.session.env.set_dependency(name, value)

    # Calls ---------------------------------------------------------------------------------------

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a copy of this runtime, on the same connection, whose calls have these options.

        Parameters
        ----------
        home : str, optional
            Where the calls live; their ids must begin with it and a dot. It is only a check,
            because the id of a call from outside says where it lives.
        target, send_to : str, optional
            The group or node that performs the calls: ``"bank"``, ``poll("bank")``,
            ``"poll://uni@bank/bank-1"``. By default the group of this runtime.
        timeout : float or timedelta, optional
            Seconds to the deadline.
        delay : float or timedelta, optional
            Seconds before a call is handed to a node.
        version : int, optional
            The version of the function; by default the highest that the node knows.
        tags : mapping of str to str, optional
            Tags to search by.
        retry : Retry, optional
            A retry policy, instead of the function's own.
        priority : int, optional
            -100 to 100; within a group a higher one goes first. And `retention`, as "7d".

        Returns
        -------
        Runtime
            The copy. An option that is None or not given stays as it was.

        Raises
        ------
        ConfigurationError
            An option has a value that cannot be used.
        InvalidArgumentsError
            There is no such option.

        Examples
        --------
        >>> @runtime.register
        ... def report(ctx):
        ...     return ctx.info.tags["month"]
        >>> runtime.options(tags={"month": "may"}, timeout=60).rpc("report-1", report).result()
        'may'
        """
        merged = self._caller.options.merge(**options)
        runtime = copy.copy(self)
        runtime.schedules = Schedules(self.session, merged)
        runtime._caller = Caller(self.session, merged)
        return runtime

    @overload
    def rpc(
        self, id: str, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[T]: ...
    @overload
    def rpc(
        self, id: str, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[T]: ...
    @overload
    def rpc(self, id: str, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]: ...
    @overload
    def rpc(self, id: str, f: str, /, *args: Any, **kwargs: Any) -> Handle[Any]: ...
    def rpc(self, id: str, f: Any, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Call a function durably on a node of its group; also known as `begin_rpc`.

        When this returns, the call is on disk and will happen, even if this process dies. On an
        event loop it returns at once; there, waiting for the handle tells of any trouble.

        Parameters
        ----------
        id : str
            The id of the call, which you choose. The same id is the same call: if it exists,
            nothing is started, and the handle attaches to it.
        f : function or str
            A function that is registered here, or the name of one that the node knows.
        *args, **kwargs
            The arguments.

        Returns
        -------
        Handle
            The call, to wait for its result or to cancel it.

        Raises
        ------
        ConfigurationError
            An id that cannot be used, or a function that is not registered here.
        UnknownFunctionError
            A `Runtime.local` has no function of that name, so nobody could perform the call.
        InvalidArgumentsError
            The arguments do not suit the function, if it is registered here.
        EncodingError
            An argument cannot be sent.
        CommandError
            The broker refused the call: another function has been called under this id (status
            409), or the id is not valid (400).
        BrokerUnavailableError
            No broker answers.
        NameInUseError
            Another node that is alive has the id of this one.

        Examples
        --------
        >>> @runtime.register
        ... def add(ctx, a, b):
        ...     return a + b
        >>> runtime.rpc("sum-1", add, 1, b=2).result()
        3
        >>> runtime.rpc("sum-1", add, 500, 500).result()  # the same id: the same call
        3
        """
        return self._caller.rpc(id, f, args, kwargs)

    begin_rpc = rpc

    @overload
    def map(self, ids: Ids, f: GeneratorFn[[U], T], items: Iterable[U]) -> Handles[T]: ...
    @overload
    def map(self, ids: Ids, f: CoroutineFn[[U], T], items: Iterable[U]) -> Handles[T]: ...
    @overload
    def map(self, ids: Ids, f: PlainFn[[U], T], items: Iterable[U]) -> Handles[T]: ...
    @overload
    def map(self, ids: Ids, f: str, items: Iterable[Any]) -> Handles[Any]: ...
    def map(self, ids: Ids, f: Any, items: Iterable[Any]) -> Handles[Any]:
        """Call a function once for each item, as `rpc` does for one.

        The calls travel together, about a thousand at a time, and the broker stores those that come
        together with one commit. In a loop of `rpc`, each call waits for its own.

        When this returns, all calls are on disk. On an event loop it returns at once; there,
        waiting for the handles tells of any trouble.

        Parameters
        ----------
        ids : str or iterable of str
            What the ids begin with: ``"import"`` gives ``import/0``, ``import/1`` and so on. Or the
            id of each call. As always the same id is the same call, so after a crash, the same
            `map` goes on where it was.
        f : function or str
            A function that is registered here, or the name of one that the node knows.
        items : iterable
            The argument of each call.

        Returns
        -------
        Handles
            The handles of the calls, in order: ``handles.results()`` waits for all.

        Raises
        ------
        ConfigurationError
            An id that cannot be used or that is there twice, not as many ids as items, or a
            function that is not registered here.
        InvalidArgumentsError, EncodingError
            An item cannot be the function's argument, or cannot be sent. Then nothing is called.
        CommandError
            The broker refused a call; see `rpc`. The others are made.
        BrokerUnavailableError
            No broker answers. Some of the calls may have been made: do it again with the same ids.

        Examples
        --------
        >>> @runtime.register
        ... def square(ctx, number):
        ...     return number**2
        >>> runtime.map("squares", square, range(5)).results()
        [0, 1, 4, 9, 16]
        >>> runtime.get("squares/3").result()
        9
        >>> runtime.map(["square-of-7", "square-of-8"], square, [7, 8]).results()
        [49, 64]
        """
        return self._caller.map(ids, f, items)

    @overload
    def run(
        self, id: str, f: GeneratorFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[T]: ...
    @overload
    def run(
        self, id: str, f: CoroutineFn[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[T]: ...
    @overload
    def run(self, id: str, f: PlainFn[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]: ...
    @overload
    def run(self, id: str, f: str, /, *args: Any, **kwargs: Any) -> Handle[Any]: ...
    def run(self, id: str, f: Any, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Call a function durably in this process; also known as `begin_run`.

        If this process dies, another node of its group goes on with the call.

        Parameters
        ----------
        id : str
            The id of the call; see `rpc`.
        f : function or str
            A function, which is registered here if it was not yet, or the name of one.
        *args, **kwargs
            The arguments.

        Returns
        -------
        Handle
            The call, to wait for its result or to cancel it.

        Raises
        ------
        UnknownFunctionError
            No function of that name is registered here.
        UnderstudyError
            As for `rpc`.

        Examples
        --------
        >>> def greet(ctx, name):
        ...     return f"Hello, {name}!"
        >>> runtime.run("greet-1", greet, "Ann").result()
        'Hello, Ann!'
        """
        return self._caller.run(id, f, args, kwargs)

    begin_run = run

    def get(self, id: str) -> Handle[Any]:
        """Attach to a promise that exists, without calling anything.

        Parameters
        ----------
        id : str
            The id of the call or promise.

        Returns
        -------
        Handle
            The promise. Waiting for it raises `CommandError` with status 404 if it does not exist.
            Values of your own classes arrive as dicts, because the types are not known here.

        Raises
        ------
        ConfigurationError
            An id that cannot be used.
        BrokerUnavailableError
            No broker answers.

        Examples
        --------
        >>> made = runtime.promises.create("approval-1")
        >>> handle = runtime.get("approval-1")
        >>> made = runtime.promises.resolve("approval-1", "yes")
        >>> handle.result()
        'yes'
        """
        return self._caller.get(id)

    def cancel(self, id: str) -> Awaitable[None]:
        """Cancel a call and, in its call graph, everything that it still waits for.

        Whoever waits for a canceled call gets `CanceledError`. A settled call stays as it is. On an
        event loop this returns at once, and ``await`` waits until the broker has done it.

        Parameters
        ----------
        id : str
            The id of the call.

        Returns
        -------
        Awaitable
            On an event loop, to wait until it is done; None in a thread, where it is done then.

        Raises
        ------
        CommandError
            With status 404 if it does not exist.

        Examples
        --------
        >>> made = runtime.promises.create("approval-2")
        >>> runtime.cancel("approval-2")
        >>> runtime.promises.get("approval-2").state
        'canceled'
        """
        return self._caller.cancel(id)

    def groups(self) -> Groups:
        """Ask the broker for all groups with their nodes and waiting tasks.

        On an event loop write ``await runtime.groups()``.

        Returns
        -------
        Groups
            The groups as they are now, and numbers that the broker has counted.

        Raises
        ------
        BrokerUnavailableError
            No broker answers.

        Examples
        --------
        >>> [(group.name, len(group.nodes), group.queued) for group in runtime.groups().groups]
        [('shop', 1, 0)]
        """
        return read_groups(self.session)

    # Lifetime ------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Become a node: connect, and perform calls of the group in the background.

        ``with runtime:`` starts and stops it.

        Returns
        -------
        Runtime
            The runtime itself.

        Raises
        ------
        BrokerUnavailableError
            No broker answers. On an event loop this returns at once and does not raise.
        NameInUseError
            Another node that is alive has the id of this one.
        StoreError
            The store of a runtime made by `local` cannot be opened.

        Examples
        --------
        >>> runtime = Runtime.local().start()
        >>> runtime.groups().groups[0].name
        'local'
        >>> runtime.stop()
        """
        connection = self.session.serve()
        if not in_async_code():
            connection.wait_connected()
        return self

    def stop(self, timeout: float | timedelta = 15.0) -> None:
        """Finish or hand back the calls that run here, stop spawned nodes, and disconnect.

        Parameters
        ----------
        timeout : float or timedelta, optional
            Seconds to wait until that is done.

        Raises
        ------
        ConfigurationError
            `timeout` is not a number of seconds.

        Examples
        --------
        >>> runtime = Runtime.local().start()
        >>> runtime.stop(timeout=5)
        """
        self.session.stop(seconds("timeout", timeout, zero=True))

    def serve(self) -> int:
        """Be a node, and nothing else, until the process gets SIGTERM, SIGINT or SIGHUP.

        The first signal lets running functions finish; the second ends the process at once. The
        node keeps trying to reach its broker for as long as it lives.

        Returns
        -------
        int
            The number of the signal.

        Raises
        ------
        NameInUseError
            Another node that is alive has the id of this one.
        StoreError
            The store of a runtime made by `local` cannot be opened.

        Examples
        --------
        >>> import os, signal
        >>> runtime = Runtime("workers")
        >>> @runtime.register
        ... def quit(ctx):
        ...     os.kill(os.getpid(), signal.SIGTERM)
        >>> handle = runtime.rpc("quit-1", quit)  # waits for a node of the group
        >>> runtime.serve() == signal.SIGTERM
        True
        """
        from understudy.processes.signals import stop_at_signal, tune_process

        with stop_at_signal() as stop:
            try:
                self.session.become_node()
                tune_process()
                connection = self.session.serve_dedicated(stop.set, stop.report_ready)
                stop.wait(connection.turns)
                connection.check()
            finally:
                self.stop()
            return stop.signal

    def spawn(self, group: str, nodes: int = 1) -> Spawned:
        """Start node processes with the functions that are registered here.

        The functions travel by cloudpickle, so they may be defined in a script. A process that dies
        is started again. The processes stop with this runtime.

        Parameters
        ----------
        group : str
            The group of the new nodes.
        nodes : int, optional
            How many processes to start.

        Returns
        -------
        Spawned
            The processes: their `pids`, and `stop` to end them before the runtime stops.

        Raises
        ------
        ConfigurationError
            `nodes` is not an int of at least 1, or a function cannot be sent to another process.
        InvalidAddressError
            `group` is not a valid name.
        ProcessStartError
            A process could not be started.
        BrokerUnavailableError
            No broker answers.

        Examples
        --------
        >>> import os
        >>> runtime = Runtime.local()
        >>> @runtime.register
        ... def process_id(ctx):
        ...     return os.getpid()
        >>> with runtime:
        ...     workers = runtime.spawn("workers", nodes=1)
        ...     pid = runtime.options(target="workers").rpc("pid-1", process_id).result()
        ...     pid == os.getpid(), pid in workers.pids
        (False, True)
        """
        from understudy.processes.spawn import Spawned

        self.session.connected()
        spawned = Spawned(self.session, Runtime, group, nodes)
        self.session.spawned.append(spawned)
        return spawned

    __enter__ = _enter

    def __exit__(self, *raised: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *raised: object) -> None:
        await _in_thread(self.stop)


def _address(url: str | None) -> str:
    """Return the address of the brokers; None: that of the environment, or the usual one."""
    check_text("url", url)
    return broker_address(url)


def _path(option: str, value: str | os.PathLike[str] | None) -> str | None:
    """Return the text of a path, or of what may be one."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    check_text(option, text)
    return text


def _flag(option: str, value: bool | None) -> bool | None:
    if value is not None:
        check_bool(option, value)
    return value


def _metrics(address: str | None) -> Place | None:
    if address is None:
        return None
    check_text("metrics", address)
    try:
        return parse_place(address)
    except MonitoringAddressError as error:
        raise ConfigurationError(str(error)) from None


def _task_source(url: str | None) -> TaskSourceAddress | None:
    """Return the queue of a runtime; an empty text stands for none."""
    check_text("task_source", url)
    text = os.environ.get(TASK_SOURCE_VARIABLE, "") if url is None else url
    if not text:
        return None
    from understudy.queues.addresses import parse_task_source

    return parse_task_source(text)


def _checked_concurrency(concurrency: object) -> int:
    return check_int("concurrency", concurrency, 1, CONCURRENCY_MAX)


def _checked_hook(hook: Callable[[], object]) -> Callable[[], object]:
    given: object = hook
    is_plain = callable(given) and not (
        inspect.iscoroutinefunction(given) or inspect.isgeneratorfunction(given)
    )
    if not is_plain:
        raise InvalidFunctionError(
            f"on_node_start needs a plain function without parameters, not {given!r}"
        )
    return hook


async def _in_thread(function: Callable[[], None]) -> None:
    """Run something that blocks, off the event loop."""
    import trio

    if trio.lowlevel.in_trio_run():
        await trio.to_thread.run_sync(function)
    else:
        import asyncio

        await asyncio.to_thread(function)
