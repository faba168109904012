"""Where users' code runs: never on the thread of the mailbox, so that leases are kept whatever it does."""

from understudy_actors.executor.results import Results
from understudy_actors.executor.split import Executor
from understudy_actors.executor.threads import WorkerPool
from understudy_actors.executor.trio_loop import TrioLoop

__all__ = ["Executor", "Results", "TrioLoop", "WorkerPool"]
