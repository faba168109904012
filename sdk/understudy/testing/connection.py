"""A runtime's connection to a stage, in the place of its connection to a broker."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from understudy.client.duplicate_calls import DuplicateCalls
from understudy.client.log import ConnectionLog
from understudy.client.node_environment import NodeEnvironment
from understudy.client.requests import PendingRequests
from understudy.testing.components import Peer
from understudy.testing.driver import Driver
from understudy_broker.protocol.messages import AnyCommand, Response
from understudy_store.commands import PromiseCreate
from understudy_store.records import PromiseRecord

T = TypeVar("T")


class StageFuture(Future[T]):
    """A future whose waiting makes things happen on the stage."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def result(self, timeout: float | None = None) -> T:
        """Return the result, as `Future.result`; `timeout` in seconds of the stage's clock."""
        if not self.done():
            self._driver.wait_for(self.done, timeout)
        return super().result(0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Call `fn` when it is done: a caller on an event loop waits in this way."""
        super().add_done_callback(fn)
        if not self.done():
            self._driver.wait_on_loop(self.done)


class StageConnection:
    """The connection of a runtime on a stage: requests run in the caller's thread.

    Parameters
    ----------
    driver
        Makes the simulation move.
    env
        The environment of the runtime.
    client
        The peer of the simulation that stands for the runtime as a caller. The runtime's node is
        another peer.
    """

    def __init__(self, driver: Driver, env: NodeEnvironment, client: Peer) -> None:
        self.os_pid = os.getpid()
        self.is_ready = True
        self._driver = driver
        self._client = client
        duplicates = DuplicateCalls(env.values.codec, ConnectionLog().warn)
        self._requests = PendingRequests(duplicates, client.request)
        client.on_settled = self._requests.resolve
        self._env = env
        env.registry.on_register = self._on_register

    def wait_connected(self, timeout_s: float | None = None) -> None:
        """Return at once, because a stage is always connected."""

    def check(self) -> None:
        """Return at once, because a stage does not fail."""

    def serve(self, *, joins: bool = True) -> None:
        """Do nothing, because the stage has a node for this runtime."""

    def serve_dedicated(
        self, on_ended: Callable[[], None], on_ready: Callable[[], None], *, joins: bool = True
    ) -> None:
        """Do nothing, because the stage has a node for this runtime."""

    @property
    def turns(self) -> Callable[[], bool]:
        """Return a function that is always true: a stage has no loop that could stand still."""
        return lambda: True

    def stop(self, timeout_s: float) -> None:
        """Do nothing, because the stage ends the connection."""

    def command(self, command: AnyCommand) -> Future[Response]:
        """Send a command; see `Connection.command`."""
        future: Future[Response] = StageFuture(self._driver)
        self._submit(self._requests.command, command, future)
        return future

    def watch(self, id: str) -> Future[PromiseRecord]:
        """Watch a promise; see `Connection.watch`."""
        future: Future[PromiseRecord] = StageFuture(self._driver)
        self._submit(self._requests.watch, id, future)
        return future

    def invoke(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]:
        """Create a promise and watch it; see `Connection.invoke`."""
        stored: Future[None] = StageFuture(self._driver)
        result: Future[PromiseRecord] = StageFuture(self._driver)
        self._submit(self._requests.invoke, create, stored, result)
        return stored, result

    def invoke_many(
        self, creates: Sequence[PromiseCreate]
    ) -> list[tuple[Future[None], Future[PromiseRecord]]]:
        """Create promises and watch them; see `Connection.invoke_many`."""
        return [self.invoke(create) for create in creates]

    #: A task cannot be acquired with the call, because the runtime's node is another peer here.
    perform = invoke

    @property
    def has_room(self) -> bool:
        """True, because on a stage the runtime itself performs nothing."""
        return True

    @property
    def room(self) -> int:
        """None: on a stage nothing is taken from queues."""
        return 0

    def acquire(self, id: str, version: int) -> tuple[Future[bool], Future[None]]:
        """Refuse it: nothing is pushed on a stage, where nodes perform all tasks."""
        raise NotImplementedError(f"task {id!r}, version {version}: nothing is pushed on a stage")

    def _on_register(self) -> None:
        """Have the runtime's node announce a function that was registered after it had started."""
        if not self._driver.closed:
            with self._driver.driving() as simulator:
                simulator.announce(self._env)

    def _submit(self, function: Callable[..., None], *args: Any) -> None:
        self._driver.submit(self._client, function, *args)
