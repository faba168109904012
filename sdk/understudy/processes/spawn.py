"""Nodes started from a script (`Runtime.spawn`): its functions travel to them by cloudpickle.

`spawned` is the child's side. Parent and child share one description of a node, the *shipment*: a
pickle of the parent's module search path, followed by a pickle of a dict.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import trio

from understudy.client.keys import key_variables
from understudy.client.seal_keys import seal_variables
from understudy.client.session import ClientSession
from understudy.errors import ConfigurationError, innermost
from understudy.processes.pickle_report import describe_unpicklable
from understudy.processes.script_names import script_names
from understudy.values.pickles import dumps
from understudy_actors.processes import LinePrinter, Pool, ProcessSpec, open_pool
from understudy_broker.transport.loop_lock import LoopThread
from understudy_store.addresses import check_name


class Spawned:
    """The node processes that `Runtime.spawn` has started, in one group.

    A pool on a thread of its own starts a process again when it dies.

    Attributes
    ----------
    group : str
        The group of the nodes.

    Examples
    --------
    >>> with Runtime.local() as runtime:
    ...     workers = runtime.spawn("workers", nodes=2)
    ...     print(workers.group, len(workers.pids))
    ...     workers.stop()
    ...     print(len(workers.pids))
    workers 2
    0
    """

    def __init__(
        self, session: ClientSession, runtime_class: Callable[..., Any], group: str, nodes: int
    ) -> None:
        check_name(group, "group")
        count: object = nodes
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigurationError(f"nodes={nodes!r}: it must be an int, 1 or more")
        self.group = group
        self._specs = _process_specs(session, runtime_class, group, nodes)
        self._started = threading.Event()
        self._loop: LoopThread | None = None
        self._pool: Pool | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"understudy-pool-{group}", daemon=True
        )
        self._thread.start()
        self._started.wait()
        self.check()

    @property
    def pids(self) -> list[int]:
        """The process ids of the nodes that run now."""
        if self._pool is None:
            return []
        found = (process.pid for process in self._pool.statistics().processes)
        return [pid for pid in found if pid is not None]

    def stop(self) -> None:
        """Let the nodes finish or hand back their tasks, and wait for their processes to end.

        Examples
        --------
        >>> with Runtime.local() as runtime:
        ...     workers = runtime.spawn("workers")
        ...     workers.stop()
        ...     workers.pids
        []
        """
        if self._loop is not None and self._pool is not None:
            self._loop.run_soon(self._pool.request_stop)
            self._thread.join()

    def check(self) -> None:
        """Check that the pool has not given up.

        Raises
        ------
        RestartLimitError
            A process kept dying, and the pool has stopped all of them.

        Examples
        --------
        >>> with Runtime.local() as runtime:
        ...     workers = runtime.spawn("workers")
        ...     workers.check()
        """
        if self._error is not None:
            raise innermost(self._error)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        printer = LinePrinter([spec.name for spec in self._specs])
        self._loop = LoopThread()
        async with open_pool(on_line=printer) as pool:
            self._pool = pool
            await pool.prepare(self._specs)
            for spec in self._specs:
                await pool.start(spec)
            self._started.set()
            await pool.wait()


def _process_specs(
    session: ClientSession, runtime_class: Callable[..., Any], group: str, nodes: int
) -> list[ProcessSpec]:
    shipment = _pack_shipment(session, runtime_class)
    env = {
        **os.environ,
        **key_variables(*session.keys, has_none=session.embedded is not None),
        **seal_variables(*session.seals),
        "UNDERSTUDY_URL": session.url,
        "UNDERSTUDY_GROUP": group,
    }
    return [
        ProcessSpec(
            name=f"{group}/{number}",
            argv=[sys.executable, "-m", "understudy.processes.spawned"],
            env=env,
            stdin_data=shipment,
            forks=True,
            watches_lifeline=True,
        )
        for number in range(1, nodes + 1)
    ]


def _pack_shipment(session: ClientSession, runtime_class: Callable[..., Any]) -> bytes:
    """Pickle everything that a child needs; functions of a script travel as code."""
    env = session.env
    functions = [
        {
            "fn": function.fn,
            "name": function.name,
            "version": function.version,
            "retry": function.retry,
            "timeout_s": function.timeout_s,
            "target": function.target,
            "loop": function.loop,
        }
        for function in env.registry.functions()
    ]
    shipment: dict[str, Any] = {
        "names": script_names(),
        "runtime_class": runtime_class,
        "functions": functions,
        "dependencies": env.dependencies,
        "node_start_hooks": session.node_start_hooks,
        "pickle": session.pickle,
        "timeout_s": env.timeout_ms / 1000,
        "retry": env.values.default_retry,
        "loop": env.registry.loop,
        "concurrency": session.config.concurrency,
    }
    try:
        return dumps(sys.path) + dumps(shipment)
    except Exception as error:
        named = {function.name: function.fn for function in env.registry.functions()}
        which = describe_unpicklable(named, env.dependencies) or error
        raise ConfigurationError(
            f"the functions of this process cannot be sent to others: {which}. A function or a "
            "dependency holds something that belongs to this process, such as a lock or a socket: "
            "make it inside the function, or put the code in a module and use `understudy spawn`"
        ) from error
