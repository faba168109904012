"""What a node counts."""

from __future__ import annotations

import msgspec


class NodeStatistics(msgspec.Struct, frozen=True):
    """A moment of a node."""

    #: activations that use credit
    running: int
    #: tasks whose lease the node has
    held: int
    #: suspended activations kept in memory
    warm: int
    #: functions that returned, and that failed, since the start
    done: int
    failed: int
    #: tasks that the broker may still send
    credit: int
