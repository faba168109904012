"""Calls from outside a durable function, over one session and with one set of options."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from understudy.client.answers import ask, done
from understudy.client.calls import check_id, client_call, promise_of
from understudy.client.session import ClientSession, ConnectionPort
from understudy.errors import ConfigurationError
from understudy.handle import Handle, Handles, in_async_code
from understudy.options import Options, check_home
from understudy.registry import Function, Registry
from understudy_actors.errors import CommandError, check_not_dropped
from understudy_store.addresses import poll
from understudy_store.commands import PromiseCancel, PromiseCreate
from understudy_store.records import RESOLVED, PromiseRecord

if TYPE_CHECKING:
    from understudy.tracing.tracer import CallSpan

_LOG: Final = logging.getLogger("understudy")


class _Made(NamedTuple):
    """A call that is about to be sent."""

    create: PromiseCreate
    #: the function, if it is registered here
    function: Function | None
    #: its span, which ends when it is stored; None: nothing is traced
    span: CallSpan | None


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
        create, function, span = self._create(id, f, args, kwargs)
        if function is None:
            self._check_known(f)
        connection = self._session.connected()
        stored, result = connection.invoke(create)
        if span is not None:
            stored.add_done_callback(span.stored)
        return _when_stored(self._handle(connection, create.id, stored, result, function), stored)

    def map(self, ids: str | Iterable[str], f: Any, items: Iterable[Any]) -> Handles[Any]:
        """Call `f` once for each item; see `Runtime.map`."""
        if isinstance(ids, str) or callable(ids):
            check_id(ids)
        arguments = list(items)
        if isinstance(ids, str):
            names = [f"{ids}/{number}" for number in range(len(arguments))]
        else:
            names = list(ids)
        if len(names) != len(arguments):
            raise ConfigurationError(
                f"{len(names):,} ids and {len(arguments):,} items: give one id for each item, or a "
                "text that all ids begin with"
            )
        if len(set(names)) != len(names):
            twice = next(id for id, count in Counter(names).items() if count > 1)
            raise ConfigurationError(f"the id {twice!r} is given twice: the same id is one call")
        made = [self._create(id, f, (item,), {}) for id, item in zip(names, arguments, strict=True)]
        if made and made[0].function is None:
            self._check_known(f)
        connection = self._session.connected()
        futures = connection.invoke_many([each.create for each in made])
        handles = Handles(
            self._handle(connection, each.create.id, stored, result, each.function)
            for each, (stored, result) in zip(made, futures, strict=True)
        )
        for each, (stored, _) in zip(made, futures, strict=True):
            if each.span is not None:
                stored.add_done_callback(each.span.stored)
        if not in_async_code():
            _wait_for_all([stored for stored, _ in futures])
        return handles

    def run(self, id: str, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handle[Any]:
        """Call `f` in this process; see `Runtime.run`."""
        session = self._session
        registry = session.env.registry
        if callable(f) and registry.of(f) is None:
            check_id(id)
            _register_here(registry, f)
        elif isinstance(f, str):
            registry.get(f, self.options.version)
        here = f"{poll(session.env.group)}/{session.name}"
        create, function, span = self._create(id, f, args, kwargs, here)
        if not session.serving:
            session.become_node()
        connection = session.connected()
        stored, result = connection.perform(create)
        if span is not None:
            stored.add_done_callback(span.stored)
        return _when_stored(self._handle(connection, create.id, stored, result, function), stored)

    def get(self, id: str) -> Handle[Any]:
        """Attach to a promise; see `Runtime.get`."""
        connection, result = self.attach(check_id(id))
        stored: Future[None] = Future()
        stored.set_result(None)
        return _when_stored(self._handle(connection, id, stored, result, None), stored)

    def attach(self, id: str) -> tuple[ConnectionPort, Future[PromiseRecord]]:
        """Watch a promise over the connection of this process."""
        connection = self._session.connected()
        return connection, connection.watch(id)

    def cancel(self, id: str) -> Awaitable[None]:
        """Cancel a call graph; see `Runtime.cancel`."""
        return ask(self._session, f"cancel({id!r})", PromiseCancel(check_id(id)), done)

    def look(self, id: str) -> None:
        """Tell why a call that is waited for does not go on, if anything keeps it."""
        self._session.notices.look(id)

    def _check_known(self, name: str) -> None:
        """Raise if nobody could perform a call: this process is the only node of its group."""
        session, options = self._session, self.options
        if session.is_alone and (options.target or session.env.target) == session.env.target:
            session.env.registry.get(name, options.version)

    def _create(
        self,
        id: str,
        f: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        target: str | None = None,
    ) -> _Made:
        env = self._session.env
        if id.__class__ is not str:
            check_id(id)
        if self.options.home is not None:
            check_home(self.options.home, id)
        call = client_call(env, self.options, "rpc", f, args, kwargs, target)
        tracer = env.tracer
        span = None if tracer is None else tracer.call(call.spec, id)
        return _Made(promise_of(env, call, id), call.function, span)

    def _handle(
        self,
        connection: ConnectionPort,
        id: str,
        stored: Future[None],
        result: Future[PromiseRecord],
        function: Function | None,
    ) -> Handle[Any]:
        values = self._session.env.values

        def decode(record: PromiseRecord) -> Any:
            if record.state == RESOLVED:
                check_not_dropped(record)
                hint = None if function is None else function.result_hint
                return values.decode_value(record.value.data, hint)
            raise values.settled_error(record)

        if in_async_code():
            # Nobody may ever await the handle, and a call that is refused leaves no other trace.
            stored.add_done_callback(partial(_log_refusal, id))
        return Handle(id, stored, result, decode, self, connection)


def _when_stored(handle: Handle[Any], stored: Future[None]) -> Handle[Any]:
    """Return the handle once its call is stored; on an event loop, at once."""
    if not in_async_code():
        stored.result()
    return handle


def _wait_for_all(stored: Iterable[Future[None]]) -> None:
    """Return when all calls are stored; raise the error of the first that is not, after all."""
    first: Exception | None = None
    for future in stored:
        try:
            future.result()
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def _log_refusal(id: str, stored: Future[None]) -> None:
    error = stored.exception()
    if isinstance(error, CommandError):
        _LOG.warning("the call %r was refused: %s", id, error)


def _register_here(registry: Registry, f: Any) -> None:
    """Register a function as it is registered on another runtime of this process, if it is."""
    known = registry.elsewhere(f)
    if known is None:
        registry.register(f)
    else:
        registry.register(
            f,
            name=known.name,
            version=known.version,
            retry=known.retry,
            timeout_s=known.timeout_s,
            target=known.target,
        )
