"""Processes by forking: starts one fork server per program and forks from it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

import trio

from understudy_actors.errors import describe_exit
from understudy_actors.processes.child import ProcessSpec, open_child
from understudy_actors.processes.fork_client import (
    ForkClient,
    ForkedProcess,
    ForkServerGoneError,
)
from understudy_actors.processes.fork_server import FORK_ENV, FORK_SERVER_ENV, FORKING_SUPPORTED

#: Fork servers of one program that may fail in a row before its process is started as a program.
_ATTEMPTS: Final = 3

#: The parts of a `ProcessSpec` that a fork server has in common with the processes it forks.
_ProgramKey: TypeAlias = tuple[object, ...]


class Forker:
    """The fork servers of a pool; each is started when a process is first forked from it.

    Parameters
    ----------
    nursery
        Runs the tasks that attend to the fork servers, until `aclose`.
    on_line
        As for the pool. Lines that an import prints appear under the name of the process that was
        wanted; messages about forking appear under `speaker`.
    speaker
        The name of the pool's own lines.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        on_line: Callable[[str, str], None],
        speaker: str,
    ) -> None:
        self._nursery = nursery
        self._on_line = on_line
        self._speaker = speaker
        self._starting = trio.Lock()
        #: the fork servers that new processes are forked from
        self._current: dict[_ProgramKey, ForkClient] = {}
        #: all that run, including retired ones that still have children
        self._running: set[ForkClient] = set()
        self._unforkable: set[_ProgramKey] = set()
        self._none_running = trio.Event()
        self._stopping = False

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of all fork servers that run."""
        return tuple(client.pid for client in self._running)

    async def fork(self, spec: ProcessSpec, lifeline_fd: int) -> ForkedProcess | None:
        """Fork a process as `spec` describes it, with `lifeline_fd` as its lifeline.

        Returns
        -------
        ForkedProcess | None
            None if the process must be started as a program instead.

        Raises
        ------
        OSError
            If the program cannot be started at all.
        """
        key = _program_key(spec)
        for _ in range(_ATTEMPTS):
            if self._stopping or key in self._unforkable or not _may_fork(spec):
                return None
            try:
                client = await self._ready(key, spec)
                if client is None:
                    return None
                forked = await client.fork(spec.own_args, lifeline_fd)
            except ForkServerGoneError as gone:
                self._forget(key, gone.client)
                continue
            if isinstance(forked, ForkedProcess):
                return forked
            # The fork server holds the old code, but a restarted process runs the current code.
            self._say(f"{forked} has changed: {spec.name} is started with the new code")
            self._forget(key, client)
            client.retire()
        return None

    async def prepare(self, specs: Iterable[ProcessSpec]) -> None:
        """Start the fork servers for `specs`, all at once; return when they are ready."""
        async with trio.open_nursery() as nursery:
            for spec in {_program_key(spec): spec for spec in specs if _may_fork(spec)}.values():
                nursery.start_soon(self._prepare, spec)

    def stop_forking(self) -> None:
        """Fork nothing more, and wait for no import any longer, because the pool stops."""
        self._stopping = True
        for client in self._running:
            client.retire()

    async def aclose(self) -> None:
        """End all fork servers. Their children should have ended before."""
        self.stop_forking()
        with trio.CancelScope(shield=True):
            # A fork server that is just being started is in `_running` after this.
            async with self._starting:
                pass
            for client in self._running:
                client.kill()
            while self._running:
                self._none_running = trio.Event()
                await self._none_running.wait()

    async def _prepare(self, spec: ProcessSpec) -> None:
        # A program that cannot be started is reported when its first process is started.
        with suppress(OSError, ForkServerGoneError):
            await self._ready(_program_key(spec), spec)

    async def _ready(self, key: _ProgramKey, spec: ProcessSpec) -> ForkClient | None:
        """Return the fork server for `key` once it can fork; None if there can be none."""
        client = self._current.get(key)
        if client is None:
            async with self._starting:
                client = self._current.get(key)
                if client is None:
                    if self._stopping:
                        return None
                    client = await self._start(key, spec)
        was_ready = client.is_ready
        try:
            await client.wait_ready()
        except ForkServerGoneError:
            if not was_ready:
                # Its import has failed. Started as a program, the process itself shows the error.
                self._forget(key, client)
                return None
            raise
        for line in client.take_lines():
            self._on_line(spec.name, line)
        if client.refusal is not None:
            if key not in self._unforkable:
                self._unforkable.add(key)
                self._say(
                    f"{spec.name} and its like are started one by one, which is slower: their "
                    f"program cannot be forked, because its import {client.refusal}"
                )
            return None
        return client

    async def _start(self, key: _ProgramKey, spec: ProcessSpec) -> ForkClient:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = await open_child(spec, spec.argv, {FORK_SERVER_ENV: theirs.fileno()})
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        client = ForkClient(process, trio.socket.from_stdlib_socket(ours))
        self._current[key] = client
        self._running.add(client)
        self._nursery.start_soon(
            self._attend, key, client, spec, name=f"fork server of {spec.name}"
        )
        return client

    async def _attend(self, key: _ProgramKey, client: ForkClient, spec: ProcessSpec) -> None:
        try:
            await client.run(spec)
        finally:
            self._running.discard(client)
            if not self._running:
                self._none_running.set()
        if client.is_ready and self._current.get(key) is client and not self._stopping:
            # Start another one now, before the next process is wanted.
            self._say(
                f"the fork server of {spec.name} and its like {describe_exit(client.exit_code)}; "
                "starting another"
            )
            self._forget(key, client)
            await self._prepare(spec)

    def _forget(self, key: _ProgramKey, client: ForkClient) -> None:
        if self._current.get(key) is client:
            del self._current[key]

    def _say(self, text: str) -> None:
        self._on_line(self._speaker, text)


def _may_fork(spec: ProcessSpec) -> bool:
    return FORKING_SUPPORTED and {**os.environ, **spec.env}.get(FORK_ENV) != "0"


def _program_key(spec: ProcessSpec) -> _ProgramKey:
    env = tuple(sorted(spec.env.items()))
    return tuple(spec.argv), env, str(spec.cwd or ""), spec.stdin_data
