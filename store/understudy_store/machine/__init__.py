"""The machine: every rule of the promise store, pure. No clock, no I/O, no randomness.

``apply(command, now)`` answers one command and remembers what it dirtied and what it now owes; the
shell around it writes the one and sends the other, in batches. Where a rule stands:

=================  ================================================================================
`transitions`      which event is legal in which state: two tables
`validation`       what a command must look like (400, 413), and `Refusal`, which becomes a reply
`promises`         the commands of promises
`tasks`            the commands of tasks
`schedules`        the commands of schedules, and their occurrences
`settling`         how a promise ends, and all that follows from it; cancel
`holding`          what a task holds in each state: timers, leases, warmth
`deaths`           how often in a row a holder vanished
`sweep`            what time alone brings about
`cold`             promises at rest, as bytes
`ledger`           batches of changes, history, restart
`state`,           the containers, the objects in them, timers
`objects`, `timers`
`machine`          the face
=================  ================================================================================
"""

from understudy_store.machine.live import (
    Assigned,
    Execute,
    MachineConfig,
    Reason,
    Revocation,
    Settlement,
    Statistics,
)
from understudy_store.machine.machine import Machine

__all__ = [
    "Assigned",
    "Execute",
    "Machine",
    "MachineConfig",
    "Reason",
    "Revocation",
    "Settlement",
    "Statistics",
]
