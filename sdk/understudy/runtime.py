"""The runtime: a process's place in the system (API: Runtime)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, overload

import msgspec

from understudy.calling import Caller
from understudy.client.node_environment import NodeEnvironment
from understudy.client.session import ClientSession, checked_url
from understudy.errors import ConfigurationError
from understudy.handle import in_async_code
from understudy.options import Options, seconds
from understudy.registry import Function, Registry
from understudy.retry import Retry
from understudy.values import Codec
from understudy_actors.node.config import NodeConfig
from understudy_store.addresses import check_name

if TYPE_CHECKING:
    from understudy.client.embedded import Embedded
    from understudy.processes.spawn import Spawned

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

#: a call's deadline where nothing says otherwise, seconds
DEFAULT_TIMEOUT_S: Final = 30 * 24 * 3600.0


class Runtime(Caller):
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
        self._shared = ClientSession(
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
        from understudy.client.embedded import Embedded  # loads the store, which clients do without

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
        from understudy.processes.signals import stop_at_signal, tune_process

        with stop_at_signal() as stop:
            try:
                tune_process()
                self._shared.serving = True
                connection = self._shared.connection
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


async def _in_thread(function: Callable[[], None]) -> None:
    """Run something that blocks, off the event loop."""
    import trio

    if trio.lowlevel.in_trio_run():
        await trio.to_thread.run_sync(function)
    else:
        import asyncio

        await asyncio.to_thread(function)
