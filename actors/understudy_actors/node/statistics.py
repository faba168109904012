"""Counts of a node."""

from __future__ import annotations

import msgspec


class NodeStatistics(msgspec.Struct, frozen=True):
    """The counts of a node at one moment."""

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
