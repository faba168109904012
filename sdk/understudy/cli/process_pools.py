"""Pools of processes on behalf of a terminal: ``spawn``, ``up`` and ``dev``."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

import trio

from understudy.cli.client import Client
from understudy.errors import innermost
from understudy_actors.processes import LinePrinter, Pool, ProcessSpec, open_pool

#: seconds that a broker may take to answer after its start
BROKER_START_S: Final = 30.0
#: seconds between two looks at the groups, while they fill
LOOK_S: Final = 0.1
#: seconds after which it is said, again and again, who is missing
MISSING_S: Final = 10.0

#: prints a line
Say = Callable[[str], None]
Body = Callable[[Pool, Say], Awaitable[None]]


def run_pool(label: str, names: Iterable[str], body: Body) -> int:
    """Run `body`, which starts processes, and keep them until a signal; returns the exit code.

    The first SIGINT or SIGTERM stops the processes in order, the second kills them.

    Parameters
    ----------
    label
        Under which `body` speaks.
    names
        Of the processes, so that the column of names is wide enough from the first line.
    """
    try:
        return trio.run(_run_pool, label, names, body)
    except BaseExceptionGroup as group:
        raise innermost(group) from None


async def _run_pool(label: str, names: Iterable[str], body: Body) -> int:
    printer = LinePrinter([label, *names])
    received: list[int] = []
    try:
        async with open_pool(on_line=printer) as pool, trio.open_nursery() as nursery:
            say = partial(printer, label)
            await nursery.start(_obey_signals, pool, received, say)
            nursery.start_soon(body, pool, say)
            await pool.wait()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(printer.close)
    return 128 + received[0] if received else 0


async def _obey_signals(
    pool: Pool, received: list[int], say: Say, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if not received:
                say("stopping: what runs is finished or handed back; a second Ctrl-C kills")
            received.append(number)
            pool.request_stop()


async def start_all(pool: Pool, specs: Iterable[ProcessSpec]) -> None:
    """Start them in order; a pool that is being stopped starts no more."""
    specs = list(specs)
    await pool.prepare(specs)
    for spec in specs:
        if pool.statistics().stopping:
            return
        await pool.start(spec)


async def wait_for_broker(client: Client) -> None:
    """Return when it answers; raises `BrokerUnavailableError` after 30 seconds."""
    await trio.to_thread.run_sync(client.connect, BROKER_START_S, abandon_on_cancel=True)


async def wait_for_nodes(pool: Pool, client: Client, wanted: Mapping[str, int], say: Say) -> None:
    """Return when each group has its nodes: those that this pool runs.

    Parameters
    ----------
    wanted
        Group to number of nodes.
    """
    told_at = trio.current_time()
    while True:
        report = await trio.to_thread.run_sync(client.groups, abandon_on_cancel=True)
        ours = {process.pid for process in pool.statistics().processes}
        there = {
            group.name: sum(node.os_pid in ours for node in group.nodes) for group in report.groups
        }
        missing = {group: count for group, count in wanted.items() if there.get(group, 0) < count}
        if not missing:
            return
        if trio.current_time() - told_at >= MISSING_S:
            told_at = trio.current_time()
            have = (f"{group} ({there.get(group, 0)} of {n} nodes)" for group, n in missing.items())
            say(f"still waiting at {client.url} for: {', '.join(have)}")
        await trio.sleep(LOOK_S)


def count(number: int, noun: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
