"""The pool: starts child processes, restarts the ones that die, and stops them all.

Each module answers one question.

- `pool`: the pool itself: supervision, draining, giving up.
- `handle`: one supervised process through all its restarts.
- `restart`: when a dead process runs again, and when it is hopeless (pure, the time is passed in).
- `spawner`: how a process is started: forked where possible, otherwise as a new program.
- `child`: one running process, its input and its output.
- `forker`, `fork_client`, `fork_server`: processes that are forked from a program which has already
  imported everything.
- `import_watch`: values of an app that have to differ in each process.
- `lifeline`, `reaper`, `reaper_main`: why no process outlives a pool that was killed.
- `printer`: the output of many processes in one terminal.
- `topology`: TOML files that describe a whole deployment.
"""

from understudy_actors.errors import ProcessStartError, RestartLimitError
from understudy_actors.processes.child import ProcessSpec, ProcessState, ProcessStatistics
from understudy_actors.processes.handle import ProcessHandle
from understudy_actors.processes.pool import Pool, PoolStatistics, open_pool
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
