"""Calls from outside of any durable function, and what a process asks the store (API: Runtime)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from understudy.client.calls import client_call, promise_of
from understudy.client.session import ClientSession
from understudy.context import CoroutineFn, GeneratorFn, PlainFn
from understudy.handle import Handle, in_async_code
from understudy.options import Options
from understudy.promises import Promises
from understudy.registry import Function
from understudy.retry import Retry
from understudy.schedules import Schedules
from understudy_broker.protocol.messages import GroupsGet, GroupsReport
from understudy_store.addresses import poll
from understudy_store.commands import PromiseCancel, PromiseCreate
from understudy_store.records import PromiseRecord

if TYPE_CHECKING:
    from understudy.client.connection import Connection

P = ParamSpec("P")
T = TypeVar("T")


class Caller:
    """What a `Runtime` calls and asks; it adds who this process is, and for how long."""

    _shared: ClientSession
    _options: Options

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
        shared = self._shared
        registry = shared.env.registry
        if callable(f) and registry.of(f) is None:
            registry.register(f)
        elif isinstance(f, str):
            registry.get(f, self._options.version)
        here = f"{poll(shared.env.group)}/{shared.name}"
        create, function = self._create(id, f, args, kwargs, here)
        shared.serving = True
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
        call = client_call(self._shared.env, self._options, "rpc", f, args, kwargs, target)
        return promise_of(call, id, self._options, self._shared.env.now_ms()), call.function
