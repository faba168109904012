"""The runtime: a process's place in the system (API: Runtime)."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, overload

from understudy.client.address import broker_address
from understudy.client.caller import Caller
from understudy.client.node_environment import NodeEnvironment
from understudy.client.session import ClientSession, fresh_id
from understudy.context import CoroutineFn, GeneratorFn, PlainFn
from understudy.errors import ConfigurationError
from understudy.handle import Handle, in_async_code
from understudy.options import UNSET, Options, seconds
from understudy.promises import Promises
from understudy.registry import Function, Registry
from understudy.retry import Retry
from understudy.schedules import Schedules
from understudy.values import Codec
from understudy_actors.node.config import NodeConfig
from understudy_broker.protocol.messages import GroupsGet, GroupsReport
from understudy_store.addresses import check_name

if TYPE_CHECKING:
    from understudy.processes.spawn import Spawned

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
        group = check_name(group or os.environ.get("UNDERSTUDY_GROUP") or "default", "group")
        env = NodeEnvironment(
            Registry(),
            Codec(pickle=pickle),
            group=group,
            timeout_s=seconds("timeout", timeout, zero=False),
            retry=retry,
        )
        self.session = ClientSession(
            env,
            url=broker_address(url),
            name=check_name(id or fresh_id(group), "id"),
            config=node or NodeConfig(concurrency=_slots(concurrency)),
            connect_timeout_s=seconds("connect_timeout", connect_timeout, zero=True),
            pickle=pickle,
        )
        self.promises = Promises(self.session)
        self._set_options(UNSET)

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
        from understudy.client.embedded import Embedded  # loads the store, which clients do without

        embedded = Embedded(store)
        runtime = cls(
            check_name(group, "group"),
            id,
            embedded.url,
            pickle=pickle is not False,
            timeout=timeout,
            retry=retry,
            concurrency=concurrency,
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
    ) -> None:
        """Change who this is; None leaves a thing as it is. For those who run another's module.

        A `Runtime.local()` that gets a `url` joins that broker instead of its own. Valid until it
        connects; all copies made by `options` change too.

        Raises
        ------
        ConfigurationError
            It has connected already.
        """
        self.session.configure(
            group=None if group is None else check_name(group, "group"),
            id=None if id is None else check_name(id, "id"),
            url=None if url is None else broker_address(url),
            concurrency=None if concurrency is None else _slots(concurrency),
        )

    # Who this is ---------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        return self.session.env.group

    @property
    def id(self) -> str:
        return self.session.name

    @property
    def url(self) -> str:
        return self.session.url

    @property
    def is_embedded(self) -> bool:
        """Whether it has a broker of its own: made by `local` and not configured otherwise."""
        return self.session.embedded is not None

    @property
    def functions(self) -> list[Function]:
        """What is registered here."""
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
        self.session.env.registry.register(
            fn, name=name, version=version, retry=retry, timeout_s=timeout, replace=replace
        )
        return fn

    def set_dependency(self, name: str, value: Any) -> None:
        """What functions in this process get from ``ctx.get_dependency(name)``."""
        self.session.env.set_dependency(name, value)

    # Calls ----------------------------------------------------------------------------------------

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
    ) -> Self:
        """A copy of this runtime, with the same connection, whose calls have these options."""
        options = self._caller.options.merge(
            target=target,
            send_to=send_to,
            timeout=timeout,
            version=version,
            tags=tags,
            retry=retry,
            delay=delay,
            priority=priority,
        )
        runtime = copy.copy(self)
        runtime._set_options(options)
        return runtime

    def _set_options(self, options: Options) -> None:
        self._caller = Caller(self.session, options)
        self.schedules = Schedules(self.session, options)

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
        return self._caller.rpc(id, f, args, kwargs)

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
        return self._caller.run(id, f, args, kwargs)

    begin_run = run

    def get(self, id: str) -> Handle[Any]:
        """Attach to a promise; waiting raises if there is none of that id."""
        return self._caller.get(id)

    def cancel(self, id: str) -> None:
        """Cancel a call graph: this promise and all that it still waits for."""
        self._caller.cancel(id)

    def groups(self) -> GroupsReport:
        """All groups with their nodes, as the broker sees them now, and what it has counted."""
        report = self.session.connected().command(GroupsGet()).result().report
        assert report is not None
        return report

    # Lifetime ------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Be a node: connect, and perform tasks of the group in the background."""
        self.session.serving = True
        connection = self.session.connection
        connection.serve()
        if not in_async_code():
            connection.wait_connected()
        return self

    def stop(self, timeout: float = 15.0) -> None:
        """Finish or hand back what is held, stop spawned nodes, disconnect."""
        self.session.stop(timeout)

    def serve(self) -> int:
        """Be a node until SIGTERM or SIGINT: the first drains, the second exits.

        Returns the signal's number. The node keeps trying to reach its broker for as long as it
        lives.
        """
        from understudy.processes.signals import stop_at_signal, tune_process

        with stop_at_signal() as stop:
            try:
                tune_process()
                self.session.serving = True
                connection = self.session.connection
                connection.dedicated = True
                connection.on_ended = stop.set
                connection.serve()
                stop.wait()
                connection.check()
            finally:
                self.stop()
            return stop.signal

    def spawn(self, group: str, nodes: int = 1) -> Spawned:
        """Start `nodes` processes of `group` with the functions that are registered here.

        Functions travel by cloudpickle, so they may be defined in a script. A process that dies is
        started again. They stop with this runtime.
        """
        from understudy.processes.spawn import Spawned

        self.session.connected()
        spawned = Spawned(self.session, group, nodes)
        self.session.spawned.append(spawned)
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


def _slots(concurrency: object) -> int:
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError(f"concurrency={concurrency!r}: it must be an int, 1 or more")
    return concurrency


async def _in_thread(function: Callable[[], None]) -> None:
    """Run something that blocks, off the event loop."""
    import trio

    if trio.lowlevel.in_trio_run():
        await trio.to_thread.run_sync(function)
    else:
        import asyncio

        await asyncio.to_thread(function)
