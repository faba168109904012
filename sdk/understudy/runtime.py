"""The runtime: a process's place in the system (API: Runtime)."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, overload

import msgspec

from understudy.connection import Connection, now_ms
from understudy.context import CoroutineFn, GeneratorFn, PlainFn
from understudy.environment import NodeEnvironment
from understudy.errors import ConfigurationError
from understudy.handle import Handle, in_async_code
from understudy.options import Options, seconds
from understudy.promises import Promises
from understudy.registry import Function, Registry
from understudy.retry import Retry, to_wire
from understudy.schedules import Schedules
from understudy.values import Codec
from understudy_actors.node.config import NodeConfig
from understudy_broker.protocol.messages import GroupsGet, GroupsReport
from understudy_store.addresses import check_name, poll
from understudy_store.commands import PromiseCancel, PromiseCreate
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_RETRY,
    HEADER_VERSION,
    TAG_DELAY,
    TAG_PRIORITY,
    TAG_TARGET,
    PromiseRecord,
    Value,
)

if TYPE_CHECKING:
    from understudy.embedded import Embedded
    from understudy.spawning import Spawned

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL: Final = "tcp://127.0.0.1:5577"
#: a call's deadline where nothing says otherwise, seconds
DEFAULT_TIMEOUT_S: Final = 24 * 3600.0


class Shared:
    """What a runtime and its copies made by `options` have in common."""

    def __init__(
        self,
        env: NodeEnvironment,
        *,
        url: str,
        name: str,
        config: NodeConfig,
        connect_timeout_s: float,
        pickle: bool,
        embedded: Embedded | None = None,
    ) -> None:
        self.env = env
        self.url = url
        self.name = name
        self.config = config
        self.connect_timeout_s = connect_timeout_s
        self.pickle = pickle
        self.embedded = embedded
        self.made_by = os.getpid()
        #: the process that connected first: the embedded broker and spawned nodes are its own
        self.owner: int | None = None
        self.serving = False
        self.spawned: list[Spawned] = []
        self.lock = threading.Lock()
        self._connection: Connection | None = None

    @property
    def started(self) -> bool:
        """Whether there is a connection, or was one in the process that this was forked from."""
        return self._connection is not None

    @property
    def connection(self) -> Connection:
        """The connection of this process; a forked child makes its own."""
        connection = self._connection
        if connection is None or connection.os_pid != os.getpid():
            with self.lock:
                connection = self._connection
                if connection is None or connection.os_pid != os.getpid():
                    connection = self._connection = self._connect()
        return connection

    def _connect(self) -> Connection:
        context = None
        name = self.name
        if self.made_by != os.getpid():
            # forked: the parent, and its other children, go by names of their own
            name = f"{name}-{os.getpid()}"
        if self.owner is None:
            self.owner = os.getpid()
        if self.embedded is not None and self.owner == os.getpid():
            self.embedded.start()
            context = self.embedded.context
        return Connection(
            self.url,
            self.env,
            name=name,
            boot=secrets.token_hex(4),
            config=self.config,
            connect_timeout_s=self.connect_timeout_s,
            context=context,
        )

    def stop(self, timeout_s: float) -> None:
        connection = self._connection
        if self.owner != os.getpid():
            # forked: only the connection is this process's own, all else is the parent's
            if connection is not None and connection.os_pid == os.getpid():
                connection.stop(timeout_s)
            return
        for spawned in self.spawned:
            spawned.stop()
        self.spawned.clear()
        self._connection = None
        if connection is not None:
            connection.stop(timeout_s)
        self.serving = False
        if self.embedded is not None:
            self.embedded.stop()


class Runtime:
    """Joins a group, registers functions, calls functions anywhere.

    Nothing connects before it is needed: a call, `start` or `serve`.

    Parameters
    ----------
    group
        The group of this node; calls that name no target go there.
    id
        Unique among all nodes; by default a fresh one.
    url
        The broker's address; by default UNDERSTUDY_URL, else ``tcp://127.0.0.1:5577``.
    pickle
        Whether values that are no plain data may travel by cloudpickle. Only among processes that
        trust each other: who can send pickles can run code.
    timeout
        Deadline of calls that bring none, seconds; a day by default.
    retry
        The policy of leaves that bring none.
    concurrency
        Functions that may run at the same time in this process.
    connect_timeout
        Seconds to wait for a broker before `BrokerUnavailableError`.
    """

    def __init__(
        self,
        group: str | None = None,
        id: str | None = None,
        url: str | None = None,
        *,
        pickle: bool = False,
        timeout: float | timedelta = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        concurrency: int = NodeConfig().concurrency,
        connect_timeout: float | timedelta = 30.0,
        node: NodeConfig | None = None,
    ) -> None:
        group = group or os.environ.get("UNDERSTUDY_GROUP") or "default"
        self._setup(
            group, id, _checked_url(url), pickle, timeout, retry, concurrency, connect_timeout, node
        )

    def _setup(
        self,
        group: str,
        id: str | None,
        url: str,
        pickle: bool,
        timeout: float | timedelta,
        retry: Retry | None,
        concurrency: int,
        connect_timeout: float | timedelta,
        node: NodeConfig | None,
        embedded: Embedded | None = None,
    ) -> None:
        slots: object = concurrency
        if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
            raise ConfigurationError(f"concurrency={concurrency!r}: it must be an int, 1 or more")
        check_name(group, "group")
        name = check_name(id or f"{group}-{secrets.token_hex(3)}", "id")
        env = NodeEnvironment(
            Registry(),
            Codec(pickle=pickle),
            group=group,
            timeout_s=seconds("timeout", timeout, zero=False),
            retry=retry,
        )
        self._shared = Shared(
            env,
            url=url,
            name=name,
            config=node or NodeConfig(concurrency=concurrency),
            connect_timeout_s=seconds("connect_timeout", connect_timeout, zero=True),
            pickle=pickle,
            embedded=embedded,
        )
        self._options = Options()

    @classmethod
    def local(
        cls,
        store: str = "memory",
        *,
        group: str = "local",
        id: str | None = None,
        pickle: bool = True,
        timeout: float | timedelta = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        concurrency: int = NodeConfig().concurrency,
    ) -> Self:
        """Broker, store and node in this process: no other program is needed.

        Parameters
        ----------
        store
            ``"memory"``, or a path: then calls survive this process, and the next one that opens
            the same path goes on with them.
        """
        from understudy.embedded import Embedded  # loads the store, which clients do without

        embedded = Embedded(store)
        runtime = cls.__new__(cls)
        runtime._setup(
            group, id, embedded.url, pickle, timeout, retry, concurrency, 10.0, None, embedded
        )
        return runtime

    def configure(
        self,
        *,
        group: str | None = None,
        id: str | None = None,
        url: str | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Change who this is; None leaves a thing as it is. For those who run another's module.

        Valid until it connects; all copies made by `options` change too.

        Raises
        ------
        ConfigurationError
            It has connected already, or is embedded and is to get a `url`.
        """
        shared = self._shared
        if shared.started:
            raise ConfigurationError(
                f"{self!r} has connected already: it must not call or serve while its module is "
                'imported; put that under if __name__ == "__main__"'
            )
        if url is not None:
            if shared.embedded is not None:
                raise ConfigurationError(
                    "a Runtime.local() has its own broker and cannot join another: "
                    "write Runtime(group=...) instead"
                )
            shared.url = _checked_url(url)
        if group is not None:
            shared.env.join(check_name(group, "group"))
        if id is not None:
            shared.name = check_name(id, "id")
        elif group is not None:
            shared.name = f"{group}-{secrets.token_hex(3)}"
        if concurrency is not None:
            if concurrency < 1:
                raise ConfigurationError(f"concurrency={concurrency}: it must be 1 or more")
            shared.config = msgspec.structs.replace(shared.config, concurrency=concurrency)

    # Who this is ---------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        return self._shared.env.group

    @property
    def id(self) -> str:
        return self._shared.name

    @property
    def url(self) -> str:
        return self._shared.url

    @property
    def functions(self) -> list[Function]:
        """What is registered here."""
        return self._shared.env.registry.functions()

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
    ) -> Any:
        """Make a function callable by its name: ``@runtime.register``, ``@register(name=...)``.

        Returns the function itself, so that it can be passed to ``ctx.rfc`` with its types.
        """
        if isinstance(fn, str):
            fn, name = None, fn
        if fn is None:
            return lambda f: self.register(
                f, name=name, version=version, retry=retry, timeout=timeout
            )
        self._shared.env.registry.register(
            fn, name=name, version=version, retry=retry, timeout_s=timeout
        )
        return fn

    def set_dependency(self, name: str, value: Any) -> None:
        """What functions in this process get from ``ctx.get_dependency(name)``."""
        self._shared.env.set_dependency(name, value)

    # Calls ---------------------------------------------------------------------------------------

    def options(
        self,
        *,
        target: str | None = None,
        send_to: str | None = None,
        timeout: float | timedelta | None = None,
        version: int | None = None,
        tags: Mapping[str, str] | None = None,
        retry: Retry | None = None,
        delay: float | timedelta | None = None,
        priority: int | None = None,
    ) -> Runtime:
        """A copy of this runtime, with the same connection, whose calls have these options."""
        copy = object.__new__(type(self))
        copy._shared = self._shared
        copy._options = self._options.merge(
            target=target,
            send_to=send_to,
            timeout=timeout,
            version=version,
            tags=tags,
            retry=retry,
            delay=delay,
            priority=priority,
        )
        return copy

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
        """Call `f` durably in its group. The same id attaches to the call that there is.

        Returns when the call is stored; on an event loop it returns at once, and waiting for the
        handle tells of any trouble.
        """
        create, function = self._create(id, f, args, kwargs)
        connection = self._connected()
        stored, result = connection.invoke(create)
        return self._handle(create.id, stored, result, function)

    begin_rpc = rpc

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
        """Call `f` durably here, in this process; if it dies, another node of the group goes on."""
        registry = self._shared.env.registry
        if callable(f) and registry.of(f) is None:
            registry.register(f)
        elif isinstance(f, str):
            registry.get(f, self._options.version)
        create, function = self._create(id, f, args, kwargs, here=True)
        self._shared.serving = True
        connection = self._connected()
        stored, result = connection.perform(create)
        return self._handle(create.id, stored, result, function)

    begin_run = run

    def get(self, id: str) -> Handle[Any]:
        """Attach to a promise; waiting raises if there is none of that id."""
        connection = self._connected()
        stored: Future[None] = Future()
        stored.set_result(None)
        return self._handle(id, stored, connection.watch(id), None)

    def cancel(self, id: str) -> None:
        """Cancel a call graph: this promise and all that it still waits for."""
        self._command(PromiseCancel(id))

    @property
    def promises(self) -> Promises:
        """The promises in the store, directly."""
        return Promises(self._command, self._shared.env)

    @property
    def schedules(self) -> Schedules:
        """The schedules in the store, directly."""
        return Schedules(self._command, self._shared.env, self._options)

    def groups(self) -> GroupsReport:
        """All groups with their nodes, as the broker sees them now, and what it has counted."""
        report = self._connected().command(GroupsGet()).result().report
        assert report is not None
        return report

    def _command(self, command: Any) -> Any:
        return self._connected().command(command).result().reply

    # Lifetime ------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Be a node: connect, and perform tasks of the group in the background."""
        self._shared.serving = True
        connection = self._shared.connection
        connection.serve()
        if not in_async_code():
            connection.wait_connected()
        return self

    def stop(self, timeout: float = 15.0) -> None:
        """Finish or hand back what is held, stop spawned nodes, disconnect."""
        self._shared.stop(timeout)

    def serve(self) -> int:
        """Be a node until SIGTERM or SIGINT: the first drains, the second exits.

        Returns the signal's number. The node keeps trying to reach its broker for as long as it
        lives.
        """
        from understudy_actors.lifeline import watch_lifeline

        stopped = threading.Event()
        received: list[int] = []

        def on_signal(number: int, _: FrameType | None) -> None:
            if received:
                os._exit(128 + number)
            received.append(number)
            stopped.set()

        main = threading.current_thread() is threading.main_thread()
        before = {
            number: signal.signal(number, on_signal)
            for number in (signal.SIGTERM, signal.SIGINT)
            if main
        }
        watch_lifeline(stopped.set)
        try:
            self._shared.serving = True
            self._shared.connection.serve()
            self._wait(stopped)
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)
        return received[0] if received else 0

    def _wait(self, stopped: threading.Event) -> None:
        connection = self._shared.connection
        while not stopped.wait(0.5):
            connection.check()

    def spawn(self, group: str, nodes: int = 1) -> Spawned:
        """Start `nodes` processes of `group` with the functions that are registered here.

        Functions travel by cloudpickle, so they may be defined in a script. A process that dies is
        started again. They stop with this runtime.
        """
        from understudy.spawning import Spawned

        self._connected()
        spawned = Spawned(self._shared, group, nodes)
        self._shared.spawned.append(spawned)
        return spawned

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await _in_thread(self.stop)

    # Inside --------------------------------------------------------------------------------------

    def _connected(self) -> Connection:
        connection = self._shared.connection
        if self._shared.embedded is not None and not self._shared.serving:
            self._shared.serving = True
            connection.serve()
        if not in_async_code():
            connection.wait_connected()
        return connection

    def _handle(
        self,
        id: str,
        stored: Future[None],
        result: Future[PromiseRecord],
        function: Function | None,
    ) -> Handle[Any]:
        values = self._shared.env.values

        def decode(record: PromiseRecord) -> Any:
            if record.state == "resolved":
                hint = None if function is None else function.result_hint
                return values.decode_value(record.value.data, hint)
            raise values.settled_error(record)

        handle: Handle[Any] = Handle(id, stored, result, decode, self.cancel)
        if not in_async_code():
            stored.result()
        return handle

    def _create(
        self, id: str, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any], here: bool = False
    ) -> tuple[PromiseCreate, Function | None]:
        """The promise that a call from outside begins with."""
        env, options = self._shared.env, self._options
        given: object = id
        if not isinstance(given, str) or not given:
            raise ConfigurationError(f"id={id!r}: a call from outside needs an id, a string")
        function = env.registered(f) if callable(f) else env.registry_find(f, options.version)
        name = f if function is None else function.name
        headers = {HEADER_KIND: "rpc", HEADER_FUNCTION: name}
        if options.version is not None:
            headers[HEADER_VERSION] = str(options.version)
        if options.retry is not None:
            headers[HEADER_RETRY] = to_wire(options.retry)
        now = now_ms()
        if here:
            target = f"{poll(self.group)}/{self.id}"
        else:
            target = options.target or env.target
        tags = dict(options.tags or {})
        tags[TAG_TARGET] = target
        if options.delay_s:
            tags[TAG_DELAY] = str(now + int(options.delay_s * 1000))
        if options.priority:
            tags[TAG_PRIORITY] = str(options.priority)
        timeout_s = options.timeout_s
        if timeout_s is None and function is not None:
            timeout_s = function.timeout_s
        timeout_ms = env.timeout_ms if timeout_s is None else int(timeout_s * 1000)
        data = env.values.encode_call(function, args, kwargs)
        return PromiseCreate(id, now + timeout_ms, Value(headers, data), tags), function


def _checked_url(url: str | None) -> str:
    url = url or os.environ.get("UNDERSTUDY_URL") or DEFAULT_URL
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("tcp", "ipc", "inproc") or not rest:
        raise ConfigurationError(
            f"url={url!r} is no address of a broker: it looks like tcp://127.0.0.1:5577 or "
            "ipc:///path/to/socket"
        )
    if scheme == "tcp" and not rest.rpartition(":")[2].isdigit():
        raise ConfigurationError(f"url={url!r} has no port: it looks like {DEFAULT_URL}")
    return url


async def _in_thread(function: Callable[[], None]) -> None:
    """Run something that blocks, off the event loop."""
    import trio

    if trio.lowlevel.in_trio_run():
        await trio.to_thread.run_sync(function)
    else:
        import asyncio

        await asyncio.to_thread(function)
