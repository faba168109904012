"""Where users' code runs: never on the mailbox's thread, so that leases are kept meanwhile."""

from understudy_actors.executor.results import Results
from understudy_actors.executor.split import Executor
from understudy_actors.executor.threads import WorkerPool
from understudy_actors.executor.trio_loop import TrioLoop

__all__ = ["Executor", "Results", "TrioLoop", "WorkerPool"]
