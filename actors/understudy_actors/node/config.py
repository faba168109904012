"""Settings of a node."""

from __future__ import annotations

import msgspec


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a node; names that end in ``_ms`` are milliseconds."""

    #: functions that may run at the same time (in threads, unless they are coroutines)
    concurrency: int = 32
    #: time for which an activation waits in memory, holding its lease, before it is suspended
    linger_ms: int = 250
    #: work to have at hand: credit covers this much of measured service time
    ahead_ms: float = 40.0
    #: most tasks that may be on the way or queued beyond those that run
    ahead_max: int = 4096
    #: most suspended activations that are kept in memory
    warm_max: int = 4096
    #: most commands, and bytes of payload, in one fence
    fence_commands_max: int = 1024
    fence_bytes_max: int = 2 * 1024 * 1024
    #: time for which a stopping node lets functions finish before it hands their tasks back
    drain_ms: int = 10_000
