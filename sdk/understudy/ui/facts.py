"""Facts that were read for a page at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from understudy_store.progress import ProgressRecord
from understudy_store.records import AttemptRecord, PromiseRecord, TaskRecord

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupsReport


class Throughput(NamedTuple):
    """The number of promises that settled in each second.

    Attributes
    ----------
    settled
        Numbers per second, the oldest first.
    step_s
        The time between two of them.
    """

    settled: tuple[float, ...] = ()
    step_s: float = 2.0


NO_THROUGHPUT: Final = Throughput()


class BrokerFacts(NamedTuple):
    """One broker of the deployment.

    Attributes
    ----------
    slots
        The numbers of its slots, in order.
    answers
        Whether it has answered when it was asked last.
    problem
        Why not, if more is known.
    peers
        How many peers are connected to it; None: it is not known.
    """

    name: str
    address: str
    slots: Sequence[int] = ()
    answers: bool = True
    problem: str = ""
    peers: int | None = None


@dataclass(frozen=True, slots=True)
class NowFacts:
    """Facts for the page of this moment.

    Attributes
    ----------
    now_ms
        Epoch milliseconds.
    parked, queued
        Tasks that are parked, and the first tasks in the queues of groups with trouble.
    is_whole
        False if there were more of these than were read.
    """

    now_ms: int
    report: GroupsReport
    parked: Sequence[TaskRecord] = ()
    queued: Sequence[TaskRecord] = ()
    brokers: Sequence[BrokerFacts] = ()
    throughput: Throughput = NO_THROUGHPUT
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class CallFacts:
    """Facts for the page of a call.

    Attributes
    ----------
    id
        Of the call.
    records, tasks, progress
        Of the call and of what is below it, by id.
    attempts
        The attempt logs of tasks, by id, as far as they were read.
    report
        The groups; None: no broker was asked, because a file is shown.
    is_whole
        False if there is more below the call than was read.
    """

    now_ms: int
    id: str
    records: Mapping[str, PromiseRecord]
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)
    progress: Mapping[str, ProgressRecord] = field(default_factory=dict)
    attempts: Mapping[str, Sequence[AttemptRecord]] = field(default_factory=dict)
    report: GroupsReport | None = None
    is_whole: bool = True

    @property
    def record(self) -> PromiseRecord:
        """The promise of the call itself."""
        return self.records[self.id]

    @property
    def nodes_of(self) -> Mapping[str, int] | None:
        """Group to number of nodes; None: it is not known."""
        if self.report is None:
            return None
        return {group.name: len(group.nodes) for group in self.report.groups}
