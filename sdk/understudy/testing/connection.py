"""A runtime's connection to a stage, in the place of the one to a broker."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.client.duplicate_calls import DuplicateCalls
from understudy.client.log import ConnectionLog
from understudy.client.requests import PendingRequests
from understudy.handle import in_async_code
from understudy_broker.protocol.messages import AnyCommand, Response
from understudy_store.commands import PromiseCreate
from understudy_store.records import PromiseRecord

if TYPE_CHECKING:
    from understudy.client.node_environment import NodeEnvironment
    from understudy.testing.components import Peer
    from understudy.testing.stage import Stage

T = TypeVar("T")


class StageFuture(Future[T]):
    """Waiting for it is what makes things happen on the stage."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def result(self, timeout: float | None = None) -> T:
        """As `Future.result`; `timeout` in seconds of the stage's clock."""
        if not self.done():
            self._stage.wait_for(self.done, timeout)
        return super().result(0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Somebody on an event loop waits."""
        super().add_done_callback(fn)
        if not self.done():
            self._stage.wait_on_loop(self.done)


class StageConnection:
    """The connection of a runtime on a stage: requests run in the caller's thread."""

    def __init__(self, stage: Stage, env: NodeEnvironment, client: Peer) -> None:
        self.os_pid = os.getpid()
        self.is_ready = True
        self._stage = stage
        self._client = client
        duplicates = DuplicateCalls(env.values.codec, ConnectionLog().warn)
        self._requests = PendingRequests(duplicates, client.request)
        client.on_settled = self._requests.resolve

    def wait_connected(self, timeout_s: float | None = None) -> None:
        """Return at once: a stage is always connected."""

    def check(self) -> None:
        """Return at once: a stage does not fail."""

    def serve(self) -> None:
        """Do nothing: the stage has a node for this runtime."""

    def serve_dedicated(self, on_ended: Callable[[], None]) -> None:
        """Do nothing: the stage has a node for this runtime."""

    def stop(self, timeout_s: float) -> None:
        """Do nothing: the stage ends this connection."""

    def command(self, command: AnyCommand) -> Future[Response]:
        """Send a command; see `Connection.command`."""
        future: Future[Response] = StageFuture(self._stage)
        self._post(self._requests.command, command, future)
        return future

    def watch(self, id: str) -> Future[PromiseRecord]:
        """Watch a promise; see `Connection.watch`."""
        future: Future[PromiseRecord] = StageFuture(self._stage)
        self._post(self._requests.watch, id, future)
        return future

    def invoke(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]:
        """Create a promise and watch it; see `Connection.invoke`."""
        stored: Future[None] = StageFuture(self._stage)
        result: Future[PromiseRecord] = StageFuture(self._stage)
        self._post(self._requests.invoke, create, stored, result)
        return stored, result

    #: the node of this runtime is another process on the stage
    perform = invoke

    def _post(self, function: Callable[..., None], *args: Any) -> None:
        self._stage.post(self._client, function, *args)


def off_loop(function: Callable[[], T]) -> T:
    """Call `function` where no event loop runs, so that functions may start one of their own."""
    __tracebackhide__ = True
    if not in_async_code():
        return function()
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=work, name="understudy-stage", daemon=True)
    thread.start()
    thread.join()
    return future.result()
