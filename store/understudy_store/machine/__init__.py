"""The machine: every rule of the promise store, pure. No clock, no I/O, no randomness.

Theory of operation
-------------------
``Machine.apply(command, now)`` carries out one command and returns its reply. It also remembers two
kinds of debt: the objects that it changed (*dirty*), and the messages that follow from the change
(offers of tasks, settlements, revocations, unblocks). The broker takes both once per turn, has the
engine commit the changes, and sends the messages only then. So a turn is one transaction, and
nobody is told anything that is not durable. The machine never waits for the engine: while one batch
is being committed, the next is applied to memory.

**What is in memory.** All live work: pending promises with their tasks, timers, callbacks,
listeners, schedules. Once a settled promise's commit is durable, it is *history* and leaves memory.
A command may name history, or an id that nobody knows; before a batch is applied, `lookups` says
which ids the engine has to find, and `load` takes them in until the next `take`. An id that is
neither in memory nor found does not exist. This is why no rule of the machine ever reads from a
disk, and why every pending promise must be in memory.

Idle promises are kept as bytes (`packed`), because a million sleeping functions would not fit in
memory as objects. Reading one unpacks it.

**States.** `transitions` is the whole rule of states: which event is legal in which state, where it
leads, and what a task holds there. Its page says which two rules about states stand elsewhere, and
why.

**Time.** Every command carries `now`, and each promise that it names is *projected* first: if its
deadline has passed, it settles, before the command is looked at. So it does not matter when a sweep
runs. A sweep does what is due although no command asks for it: deadlines, leases, schedules,
offers. It is bounded, and says whether more is due. Timers mean "not before"; a lease timer may
fire early, because renewing a lease does not move it. Schedules alone run by the date, which
may be set: `schedules` says how the two go together.

**What is not perfect.** Renewals of leases, offers, and the crashes that a node may still retract
are only in memory: after a restart leases run anew, due tasks are offered again, and a counted
crash stays counted. `sweep` looks at all tasks of a node to lapse one lease. A search never sees
memory; the engine answers it after the commit.

Modules
-------
=================  ================================================================================
`transitions`      the legal transitions: two tables
`projection`       a record as it is at a moment, whatever its row says
`validation`       checks of a command (400, 413), and `Refusal`, which becomes a reply
`promises`         the commands of promises
`tasks`            the commands of tasks
`schedules`        the commands of schedules, and their occurrences
`settlement`       the end of a promise, and all that follows from it; cancel
`task_moves`       the moves of a task between its states: offers, the warm node
`offers`           offers that are put off, because a queue keeps them
`leases`           how a node acquires a task, keeps it, and loses it
`crash_counts`     how often in a row a holder vanished
`sweep`            everything that happens because time has passed
`packed`           idle promises, as bytes
`batches`          changes out to the engine, history in from it
`recovery`         restart from a snapshot, and the slots that come to a machine at work
`expulsion`        the slots that leave it
`state`, `live`,   the containers, the objects in them, their timers
`timers`
`machine`, `view`  the face: commands and debts; questions
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
from understudy_store.machine.view import MachineView

__all__ = [
    "Assigned",
    "Execute",
    "Machine",
    "MachineConfig",
    "MachineView",
    "Reason",
    "Revocation",
    "Settlement",
    "Statistics",
]
