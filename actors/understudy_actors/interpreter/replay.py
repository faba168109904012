"""What a run knows: its history, what has settled since, and the calls that it has made."""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import Any, Final

from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter import determinism as history
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.requests import CallSpec, Promise
from understudy_actors.interpreter.wait import Wait
from understudy_store.records import RESOLVED, PromiseRecord

# Most runs make no calls. Thousands of them lie in a node's memory, and what is not there need not
# be fetched: containers are made with their first member. Until then one of these stands there,
# which nothing can be put into.
NO_NAMES: Final[Any] = MappingProxyType({})
NO_SET: Final[Any] = frozenset()
NO_LIST: Final[Any] = ()


class ReplayState:
    """The memory of one run; the routine that it belongs to adds the function."""

    __slots__ = (
        "attached",
        "calls",
        "env",
        "id",
        "inbox",
        "known",
        "locals",
        "mismatch",
        "record",
        "replaying",
        "time_ms",
        "wait",
    )

    def __init__(
        self,
        env: Environment,
        record: PromiseRecord,
        recorded: list[PromiseRecord] | None,
        time_ms: int | None,
    ) -> None:
        self.env = env
        self.record = record
        self.id = record.id
        #: promises of this run, by id, as last heard of
        self.known: dict[str, PromiseRecord] = {r.id: r for r in recorded} if recorded else NO_NAMES
        #: recorded calls that this run has not made yet: while there are any, it replays
        self.replaying = {r.id for r in recorded} if recorded else None
        #: settled promises that no step has seen
        self.inbox: deque[PromiseRecord] | None = None
        #: attached children that have not settled
        self.attached: dict[str, None] = NO_NAMES
        #: ids of local calls of this run
        self.locals: set[str] = NO_SET
        #: how many calls were made; numbers the children's ids
        self.calls = 0
        #: `time_ms` is given where `record` is not yet what the store will hold
        self.time_ms = record.created_at if time_ms is None else time_ms
        #: what the function waits for
        self.wait: Wait | None = None
        #: found by this run itself, and so told apart from one that a call of it failed with
        self.mismatch: NonDeterminismError | None = None

    def new_call(self, kind: str, name: str, site: str) -> CallSpec:
        """The next call in order; it is made when it is yielded, or at the next yield."""
        self.calls += 1
        return CallSpec(kind, f"{self.id}.{self.calls}", name, site)

    def learn(self, record: PromiseRecord) -> None:
        """A promise settled; it counts at the next step."""
        if self.inbox is None:
            self.inbox = deque()
        self.inbox.append(record)

    def absorb(self) -> None:
        """Take in what has settled since the last step."""
        inbox = self.inbox
        if not inbox:
            return
        if self.known is NO_NAMES:
            self.known = {}
        known, attached, wait = self.known, self.attached, self.wait
        while inbox:
            record = inbox.popleft()
            known[record.id] = record
            if attached:
                attached.pop(record.id, None)
            if wait is not None:
                wait.hit(record.id)

    def attach(self, id: str) -> None:
        """This run does not settle before that promise does."""
        if self.attached is NO_NAMES:
            self.attached = {}
        self.attached[id] = None

    def local(self, id: str) -> None:
        """That promise is of a step inside this activation."""
        if self.locals is NO_SET:
            self.locals = set()
        self.locals.add(id)

    def match(self, spec: CallSpec) -> PromiseRecord | None:
        """The recorded promise of this call, if the history holds it and agrees."""
        record = self.known.get(spec.id)
        if record is not None:
            try:
                history.check(record, spec)
            except NonDeterminismError as mismatch:
                self.mismatch = mismatch
                raise
            if self.replaying is not None:
                self.replaying.discard(spec.id)
        return record

    def consume(self, promise: Promise[Any]) -> Any:
        """The value of a settled promise; raises what it failed with."""
        record = self.known[promise.id]
        if record.settled_at is not None and record.settled_at > self.time_ms:
            self.time_ms = record.settled_at
        if record.state == RESOLVED:
            return self.env.values.decode_value(record.value.data, promise.hint)
        raise self.env.values.settled_error(record)

    def never_made(self) -> PromiseRecord | None:
        """The first recorded call of this run that the code did not make."""
        if not self.replaying:
            return None
        left = [self.known[i] for i in self.replaying]
        return min(left, key=lambda r: (r.created_at, r.id))
