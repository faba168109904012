"""What was read for a page at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from understudy_store.progress import ProgressRecord
from understudy_store.records import PromiseRecord, TaskRecord

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupsReport


class Throughput(NamedTuple):
    """How many promises have settled, and commands were performed, each second.

    Attributes
    ----------
    settled
        Numbers per second, the oldest first.
    step_s
        The time between two of them.
    """

    settled: tuple[float, ...] = ()
    step_s: float = 2.0


class BrokerFacts(NamedTuple):
    """One broker of the deployment.

    Attributes
    ----------
    slots
        How many slots it has.
    answers
        Whether it is connected.
    """

    name: str
    address: str
    slots: int
    answers: bool


@dataclass(frozen=True, slots=True)
class NowFacts:
    """What the page of the moment is made from.

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
    throughput: Throughput = Throughput()
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What the page of a call is made from.

    Attributes
    ----------
    id
        Of the call.
    records, tasks, progress
        Of the call and of what is below it, by id.
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
