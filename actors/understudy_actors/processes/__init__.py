"""The pool: starts child processes, restarts those that die, and stops them all.

Each part answers one question. `restart` says whether and when a dead process runs again (pure,
clock passed in); `child` is one running process and its output; `service` is the pool itself;
`guard` sees to it that nothing outlives a pool that was killed; `printer` shows many processes in
one terminal.
"""

from understudy_actors.processes.child import ProcessSpec, ProcessState, ProcessStatistics
from understudy_actors.processes.pool import (
    Pool,
    PoolStatistics,
    ProcessHandle,
    ProcessStartError,
    RestartLimitError,
    open_pool,
)
from understudy_actors.processes.printer import LinePrinter
from understudy_actors.processes.restart import GiveUp, Restart, RestartHistory, RestartPolicy

__all__ = [
    "GiveUp",
    "LinePrinter",
    "Pool",
    "PoolStatistics",
    "ProcessHandle",
    "ProcessSpec",
    "ProcessStartError",
    "ProcessState",
    "ProcessStatistics",
    "Restart",
    "RestartHistory",
    "RestartLimitError",
    "RestartPolicy",
    "open_pool",
]
