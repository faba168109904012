"""The runtime: a process's place in the system (API: Runtime)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, overload

import msgspec

from understudy.context import CoroutineFn, GeneratorFn, PlainFn
from understudy.environment import NodeEnvironment
from understudy.errors import ConfigurationError
from understudy.handle import Handle, in_async_code
from understudy.options import Options, seconds
from understudy.outside import outside_call, promise_of
from understudy.promises import Promises
from understudy.registry import Function, Registry
from understudy.retry import Retry
from understudy.schedules import Schedules
from understudy.shared import Shared, checked_url
from understudy.values import Codec
from understudy_actors.node.config import NodeConfig
from understudy_broker.protocol.messages import GroupsGet, GroupsReport
from understudy_store.addresses import check_name, poll
from understudy_store.commands import PromiseCancel, PromiseCreate
from understudy_store.records import PromiseRecord

if TYPE_CHECKING:
    from understudy.connection import Connection
    from understudy.embedded import Embedded
    from understudy.spawning import Spawned

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

#: a call's deadline where nothing says otherwise, seconds
DEFAULT_TIMEOUT_S: Final = 30 * 24 * 3600.0


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
        Deadline of calls that bring none, seconds; thirty days by default.
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
        connect_timeout: float | timedelta = 10.0,
        node: NodeConfig | None = None,
    ) -> None:
        group = group or os.environ.get("UNDERSTUDY_GROUP") or "default"
        self._setup(
            group, id, checked_url(url), pickle, timeout, retry, concurrency, connect_timeout, node
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
        pickle: bool | None = None,
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
        pickle
            On unless it is False: the values stay in this process and those that it spawns.
        """
        from understudy.embedded import Embedded  # loads the store, which clients do without

        embedded = Embedded(store)
        runtime = cls.__new__(cls)
        runtime._setup(
            group,
            id,
            embedded.url,
            pickle is not False,
            timeout,
            retry,
            concurrency,
            10.0,
            None,
            embedded,
        )
        runtime._shared.pickle_asked = bool(pickle)
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

        A `Runtime.local()` that gets a `url` joins that broker instead of its own. Valid until it
        connects; all copies made by `options` change too.

        Raises
        ------
        ConfigurationError
            It has connected already.
        """
        shared = self._shared
        if shared.started:
            raise ConfigurationError(
                f"{self!r} has connected already: it must not call or serve while its module is "
                'imported; put that under if __name__ == "__main__"'
            )
        if url is not None:
            if shared.embedded is not None:
                # it joins others now, who may not be trusted with pickles
                shared.embedded = None
                shared.pickle = shared.pickle_asked
                shared.env.values.codec = Codec(pickle=shared.pickle)
            shared.url = checked_url(url)
        if group is not None:
            shared.env.join(check_name(group, "group"))
        if id is not None or group is not None:
            shared.made_by = os.getpid()  # a name of this process, whoever made the runtime
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
    def is_embedded(self) -> bool:
        """Whether it has a broker of its own: made by `local` and not configured otherwise."""
        return self._shared.embedded is not None

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
        replace: bool = False,
    ) -> Any:
        """Make a function callable by its name: ``@runtime.register``, ``@register(name=...)``.

        Returns the function itself, so that it can be passed to ``ctx.rfc`` with its types. Another
        function under the same name and version is a ValueError, unless `replace` is set.
        """
        if isinstance(fn, str):
            fn, name = None, fn
        if fn is None:
            return lambda f: self.register(
                f, name=name, version=version, retry=retry, timeout=timeout, replace=replace
            )
        self._shared.env.registry.register(
            fn, name=name, version=version, retry=retry, timeout_s=timeout, replace=replace
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
        create, function = self._create(id, f, args, kwargs, f"{poll(self.group)}/{self.id}")
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
        from understudy.serving import stop_at_signal, tune_process

        with stop_at_signal() as stop:
            try:
                tune_process()
                self._shared.serving = True
                connection = self._shared.connection
                connection.dedicated = True
                connection.serve()
                while not stop.wait(0.5):
                    connection.check()
            finally:
                self.stop()
            return stop.signal

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
        self,
        id: str,
        f: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        target: str | None = None,
    ) -> tuple[PromiseCreate, Function | None]:
        call = outside_call(self._shared.env, self._options, "rpc", f, args, kwargs, target)
        return promise_of(call, id, self._options, self._shared.env.now_ms()), call.function


async def _in_thread(function: Callable[[], None]) -> None:
    """Run something that blocks, off the event loop."""
    import trio

    if trio.lowlevel.in_trio_run():
        await trio.to_thread.run_sync(function)
    else:
        import asyncio

        await asyncio.to_thread(function)
