"""Starts processes for a pool: forked from a fork server where possible, otherwise as programs."""

from __future__ import annotations

from collections.abc import Iterable

from understudy_actors.processes.child import Process, ProcessSpec, start_process
from understudy_actors.processes.forker import Forker
from understudy_actors.processes.lifeline import Lifeline
from understudy_actors.processes.reaper import Reaper


class Spawner:
    """Starts processes, each with a guarantee that it doesn't outlive the pool.

    A program that watches the lifeline ends by itself when the pool is gone. Any other is entered
    in the list of the reaper for as long as it runs.
    """

    def __init__(self, reaper: Reaper, forker: Forker) -> None:
        self.reaper = reaper
        self._forker = forker

    @property
    def fork_server_pids(self) -> tuple[int, ...]:
        """Process ids of the fork servers that run."""
        return self._forker.pids

    async def prepare(self, specs: Iterable[ProcessSpec]) -> None:
        """Start the fork servers that `specs` need, all at once."""
        await self._forker.prepare(spec for spec in specs if spec.forks)

    async def spawn(self, spec: ProcessSpec) -> tuple[Process, Lifeline]:
        """Start one process, with a lifeline of its own.

        Raises
        ------
        OSError
            If there is no such program or folder, or no right to run it.
        """
        if not spec.watches_lifeline:
            # Opened before the start, because nothing may be awaited between the start of a process
            # and its entry in the list.
            await self.reaper.open()
        lifeline = Lifeline()
        process: Process | None = None
        try:
            if spec.forks:
                process = await self._forker.fork(spec, lifeline.child_fd)
            if process is None:
                process = await start_process(spec, lifeline.child_fd)
        finally:
            if process is None:
                lifeline.close()
            else:
                lifeline.close_child_end()
        if not spec.watches_lifeline:
            self.reaper.add(process.pid)
        return process, lifeline

    def release(self, process: Process, lifeline: Lifeline) -> None:
        """Forget a process that has ended."""
        self.reaper.remove(process.pid)
        lifeline.close()

    def stop_forking(self) -> None:
        """Fork nothing more, and wait for no import any longer."""
        self._forker.stop_forking()

    async def aclose(self) -> None:
        """End the fork servers."""
        await self._forker.aclose()
