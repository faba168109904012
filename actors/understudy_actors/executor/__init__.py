"""Where users' code runs: never on the mailbox's thread, so that leases are kept meanwhile."""

from understudy_actors.executor.async_loop import AsyncLoop
from understudy_actors.executor.executor import Executor
from understudy_actors.executor.results import Results
from understudy_actors.executor.worker_pool import WorkerPool

__all__ = ["Executor", "Results", "AsyncLoop", "WorkerPool"]
