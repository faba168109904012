"""Delivery goes by the scheme of an address; one that no entry knows is logged, and stays owed."""

from __future__ import annotations

from understudy_broker.core.delivery import DEFAULT_SCHEME, Delivery
from understudy_broker.core.events import EventLog
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.progress import ProgressBook
from understudy_broker.core.quarantine import Quarantine
from understudy_broker.core.reply_coalescer import ReplyCoalescer
from understudy_broker.core.sessions import Sessions
from understudy_broker.core.watches import Watches
from understudy_broker.protocol.frames import FrameLimits
from understudy_store.machine import Execute, Machine
from understudy_store.records import PromiseRecord, Value

PROMISE = PromiseRecord("p", "resolved", Value({}), Value({}), {}, 10, 1, 2)


class RecordingScheme:
    """A delivery that keeps what it was given."""

    def __init__(self) -> None:
        self.offered: list[str] = []
        self.unblocked: list[str] = []
        self.assigned = 0

    def offer(self, execute: Execute, _now: int) -> None:
        self.offered.append(execute.target)

    def withdraw(self, _task_id: str) -> None:
        """Nothing is kept."""

    def assign(self, _now: int) -> None:
        self.assigned += 1

    def unblock(self, address: str, _promise: PromiseRecord) -> None:
        self.unblocked.append(address)


class OfferingMachine(Machine):
    """A machine that offers tasks for the addresses that a test names."""

    def __init__(self, *targets: str) -> None:
        super().__init__()
        self.targets = targets

    def take_executes(self) -> list[Execute]:
        return [Execute(target, 1, target, 0, None) for target in self.targets]


def delivery(machine: Machine, events: EventLog, **schemes: RecordingScheme) -> Delivery:
    sessions, metrics = Sessions(), Metrics()
    outbox = Outbox(sessions, ReplyCoalescer(0), FrameLimits(), metrics)
    quarantine = Quarantine(machine, events, metrics, 0)
    return Delivery(
        machine,
        sessions,
        outbox,
        Watches(),
        ProgressBook(machine),
        quarantine,
        schemes,
        events,
        metrics,
    )


def test_tasks_go_to_the_scheme_of_their_address() -> None:
    poll, web = RecordingScheme(), RecordingScheme()
    machine = OfferingMachine("poll://any@g", "web://host/path", "g")
    delivery(machine, EventLog(), poll=poll, web=web).dispatch(1)
    assert (poll.offered, web.offered) == (["poll://any@g", "g"], ["web://host/path"])
    assert (poll.assigned, web.assigned) == (1, 1)
    assert DEFAULT_SCHEME == "poll"


def test_an_address_of_an_unknown_scheme_is_logged_once_and_harms_no_other() -> None:
    poll, events = RecordingScheme(), EventLog()
    machine = OfferingMachine("web://one", "poll://any@g", "web://two")
    deliveries = delivery(machine, events, poll=poll)
    deliveries.dispatch(1)
    deliveries.scheme_of("web://three").unblock("web://three", PROMISE)
    deliveries.dispatch(2)
    assert poll.offered == ["poll://any@g"] * 2
    [event] = events.take()
    assert (event.level, event.fields) == ("error", {"scheme": "web", "address": "web://one"})
