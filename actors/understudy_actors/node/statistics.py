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
    #: activations that began with a history, settled promises in these, and activations that went
    #: on from memory
    replays: int
    replayed_steps: int
    warm_resumes: int
    #: tasks that the broker may still send
    credit: int
