"""A runtime's connection to a stage, in the place of the one to a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.client.connection import Connection
from understudy.handle import in_async_code
from understudy_actors.node.config import NodeConfig
from understudy_broker.protocol.messages import AnyCommand, Refused, Response
from understudy_store.commands import PromiseCreate
from understudy_store.records import PromiseRecord

if TYPE_CHECKING:
    from understudy.client.session import ClientSession
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


class StageConnection(Connection):
    """Asks the stage's broker, in the caller's thread."""

    def __init__(self, stage: Stage, shared: ClientSession, client: Peer) -> None:
        super().__init__(
            "stage",
            shared.env,
            name=client.name,
            boot=client.boot,
            config=NodeConfig(),
            connect_timeout_s=0.0,
        )
        self.stage = stage
        self.client = client
        client.on_settled = self._asking.resolve

    def ensure_started(self) -> None:
        """Nothing has to be started."""

    def wait_connected(self, timeout_s: float | None = None) -> None:
        """It always is."""

    def serve(self) -> None:
        """The stage has a node for this runtime."""

    def stop(self, timeout_s: float) -> None:
        """The stage ends it."""

    def command(self, command: AnyCommand) -> Future[Response]:
        future: Future[Response] = StageFuture(self.stage)
        self._post(self._asking.command, command, future)
        return future

    def watch(self, id: str) -> Future[PromiseRecord]:
        future: Future[PromiseRecord] = StageFuture(self.stage)
        self._post(self._asking.watch, id, future)
        return future

    def invoke(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]:
        stored: Future[None] = StageFuture(self.stage)
        result: Future[PromiseRecord] = StageFuture(self.stage)
        self._post(self._asking.invoke, create, stored, result)
        return stored, result

    #: the node of this runtime is another process here
    perform = invoke

    def _post(self, function: Callable[..., None], *args: Any) -> None:
        self.stage.post(self.client, function, *args)

    def _request(self, command: AnyCommand, on_reply: Callable[[Response | Refused], None]) -> None:
        self.client.request(command, on_reply)


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
