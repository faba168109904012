"""Pools of processes that a terminal shows and stops: ``spawn`` and ``up``."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

import trio

from understudy.cli.client import Client
from understudy.cli.deployment import read_statuses
from understudy.errors import BrokerUnavailableError, innermost
from understudy_actors.processes import LinePrinter, Pool, ProcessSpec, open_pool
from understudy_broker.link.merging import merge_reports
from understudy_broker.process import is_repeated, signals_to_handle
from understudy_broker.protocol.messages import GroupsReport

#: seconds in which a broker must answer after its start
BROKER_START_S: Final = 30.0
#: seconds between two reads of the groups while nodes start
_POLL_S: Final = 0.1
#: seconds between two messages about missing nodes
_MISSING_S: Final = 10.0

#: prints a line
Say = Callable[[str], None]
Body = Callable[[Pool, Say], Awaitable[None]]


def run_pool(label: str, names: Iterable[str], body: Body) -> int:
    """Run `body`, which starts processes, and keep them running until a signal.

    The first SIGINT, SIGTERM or SIGHUP stops the processes in order; the second request, which
    a SIGHUP never is, kills them.

    Parameters
    ----------
    label
        The name in front of the lines that `body` prints.
    names
        The names of the processes, so that the column of names is wide enough from the first line.

    Returns
    -------
    The exit code: 128 plus the number of the signal.
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
    with trio.open_signal_receiver(*signals_to_handle()) as signals:
        task_status.started()
        requested_at = -math.inf
        async for number in signals:
            now = trio.current_time()
            if received and is_repeated(number, received[0], now - requested_at):
                continue
            requested_at = now
            if not received:
                say("stopping: running functions finish or are handed back; Ctrl-C again kills")
            received.append(number)
            pool.request_stop()


async def start_all(pool: Pool, specs: Iterable[ProcessSpec]) -> None:
    """Start processes in order, unless the pool is being stopped."""
    specs = list(specs)
    await pool.prepare(specs)
    for spec in specs:
        if pool.statistics().stopping:
            return
        await pool.start(spec)


async def wait_for_broker(client: Client) -> None:
    """Wait until the broker answers; raises `BrokerUnavailableError` after 30 seconds."""
    await trio.to_thread.run_sync(client.connect, BROKER_START_S, abandon_on_cancel=True)


async def wait_for_all_brokers(client: Client) -> None:
    """Wait until every broker of the deployment answers, once one has; raises as above."""
    await trio.to_thread.run_sync(client.groups, abandon_on_cancel=True)


async def wait_for_nodes(pool: Pool, client: Client, wanted: Mapping[str, int], say: Say) -> None:
    """Wait until each group has its nodes. Nodes that this pool does not run do not count.

    Parameters
    ----------
    wanted
        Group to number of nodes.
    """
    said_at = trio.current_time()
    while True:
        report = await trio.to_thread.run_sync(_read_groups, client, abandon_on_cancel=True)
        ours = {process.pid for process in pool.statistics().processes}
        joined = {
            group.name: sum(node.os_pid in ours for node in group.nodes) for group in report.groups
        }
        missing = {group: count for group, count in wanted.items() if joined.get(group, 0) < count}
        if not missing:
            return
        if trio.current_time() - said_at >= _MISSING_S:
            said_at = trio.current_time()
            counts = (
                f"{group} ({joined.get(group, 0)} of {number} nodes)"
                for group, number in missing.items()
            )
            say(f"still waiting at {client.url} for: {', '.join(counts)}")
        await trio.sleep(_POLL_S)


def _read_groups(client: Client) -> GroupsReport:
    """Return the groups of all brokers, or of those that answer if others are away."""
    try:
        return client.groups()
    except BrokerUnavailableError:
        # The nodes are connected to the others too, so they need not wait for this one.
        reports = [status.report for status in read_statuses(client.url)]
        answers = [report for report in reports if report is not None]
        if not answers:
            raise
        return merge_reports(answers)


def count(number: int, noun: str) -> str:
    """Format a number with its noun: ``1 node``, ``2 nodes``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
