"""Threads and loops that run users' functions.

No function runs on the thread of the node's loop, which must keep the leases whatever functions do.
"""

from understudy_actors.executor.async_loop import AsyncLoop
from understudy_actors.executor.executor import Executor
from understudy_actors.executor.results import Results
from understudy_actors.executor.worker_pool import WorkerPool

__all__ = ["Executor", "Results", "AsyncLoop", "WorkerPool"]
