"""Calls from outside a durable function, over one session and with one set of options."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from understudy.client.calls import check_id, client_call, promise_of
from understudy.client.session import ClientSession
from understudy.handle import Handle, in_async_code
from understudy.options import Options
from understudy.registry import Function
from understudy_store.addresses import poll
from understudy_store.commands import PromiseCancel, PromiseCreate
from understudy_store.records import RESOLVED, PromiseRecord


class Caller:
    """The calls of a `Runtime`: each becomes a promise, and a handle to wait for it.

    Parameters
    ----------
    session
        Connection and environment of the process.
    options
        The options of every call.
    """

    __slots__ = ("_session", "options")

    def __init__(self, session: ClientSession, options: Options) -> None:
        self._session = session
        self.options = options

    def rpc(self, id: str, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handle[Any]:
        """Call `f` in its group; see `Runtime.rpc`."""
        create, function = self._create(id, f, args, kwargs)
        stored, result = self._session.connected().invoke(create)
        return self._handle(create.id, stored, result, function)

    def run(self, id: str, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handle[Any]:
        """Call `f` in this process; see `Runtime.run`."""
        session = self._session
        registry = session.env.registry
        if callable(f) and registry.of(f) is None:
            registry.register(f)
        elif isinstance(f, str):
            registry.get(f, self.options.version)
        here = f"{poll(session.env.group)}/{session.name}"
        create, function = self._create(id, f, args, kwargs, here)
        session.serving = True
        stored, result = session.connected().perform(create)
        return self._handle(create.id, stored, result, function)

    def get(self, id: str) -> Handle[Any]:
        """Attach to a promise; see `Runtime.get`."""
        result = self._session.connected().watch(check_id(id))
        stored: Future[None] = Future()
        stored.set_result(None)
        return self._handle(id, stored, result, None)

    def cancel(self, id: str) -> None:
        """Cancel a call graph; see `Runtime.cancel`."""
        self._session.command(PromiseCancel(check_id(id)))

    def _create(
        self,
        id: str,
        f: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        target: str | None = None,
    ) -> tuple[PromiseCreate, Function | None]:
        env = self._session.env
        call = client_call(env, self.options, "rpc", f, args, kwargs, target)
        return promise_of(env, call, id), call.function

    def _handle(
        self,
        id: str,
        stored: Future[None],
        result: Future[PromiseRecord],
        function: Function | None,
    ) -> Handle[Any]:
        values = self._session.env.values

        def decode(record: PromiseRecord) -> Any:
            if record.state == RESOLVED:
                hint = None if function is None else function.result_hint
                return values.decode_value(record.value.data, hint)
            raise values.settled_error(record)

        handle: Handle[Any] = Handle(id, stored, result, decode, self.cancel)
        if not in_async_code():
            stored.result()
        return handle
