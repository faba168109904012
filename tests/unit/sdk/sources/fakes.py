"""A queue and a store in memory, which a test drives step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from understudy.errors import CommandError
from understudy.queues.port import Message, QueueKind, SourceAwayError
from understudy.sources.filing import Answer, Command
from understudy.sources.template import IdTemplate
from understudy.sources.translator import Translator
from understudy_store.commands import PromiseCreate, PromiseSettle, Reply
from understudy_store.records import HEADER_FUNCTION, PromiseRecord, Value

KIND = QueueKind(
    "list",
    {"partition": "", "offset": "", "message_id": ""},
    [frozenset({"partition", "offset"}), frozenset({"message_id"})],
    "{topic}-{partition}-{offset}",
    "",
)


def message(
    offset: int,
    body: bytes = b"[1]",
    *,
    partition: int = 0,
    id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Message:
    fields = {
        "topic": "t",
        "partition": str(partition),
        "offset": str(offset),
        "message_id": id,
    }
    return Message(partition, offset, fields, body, headers or {})


class FakeForms:
    """Commands without a codec: the arguments are their own text."""

    def call(
        self, id: str, args: tuple[Any, ...], kwargs: dict[str, Any], tags: Mapping[str, str]
    ) -> PromiseCreate:
        param = Value({HEADER_FUNCTION: "f"}, repr((args, kwargs)).encode())
        return PromiseCreate(id, 10, param, dict(tags))

    def record(self, id: str, tags: Mapping[str, str], body: bytes) -> PromiseCreate:
        return PromiseCreate(id, 10, Value({}, body), dict(tags))

    def rejection(self, id: str, text: str) -> PromiseSettle:
        return PromiseSettle(id, "rejected", Value({}, text.encode()))

    def alike(self, found: PromiseRecord, asked: PromiseCreate) -> bool:
        return found.param == asked.param


def translator(template: str = KIND.default_id, headers: Sequence[str] = ()) -> Translator:
    return Translator(IdTemplate(template, KIND), FakeForms().call, headers, 1000)


class FakeStore:
    """Promises by id. Commands wait until the test has them performed."""

    def __init__(self) -> None:
        self.promises: dict[str, PromiseRecord] = {}
        self.waiting: deque[tuple[Command, Callable[[Answer], None]]] = deque()
        #: the calls that were created, each once
        self.created: list[str] = []
        #: refuses everything with this status, while set
        self.refuses: int | None = None

    def submit(self, command: Command, answered: Callable[[Answer], None]) -> None:
        self.waiting.append((command, answered))

    def perform(self, count: int | None = None, *, last_first: bool = False) -> None:
        """Perform commands that wait: all, or so many; from the other end if asked."""
        for _ in range(len(self.waiting) if count is None else min(count, len(self.waiting))):
            command, answered = self.waiting.pop() if last_first else self.waiting.popleft()
            answered(self.apply(command))

    def apply(self, command: Command) -> Answer:
        if self.refuses is not None:
            return CommandError(self.refuses, "no")
        if not command.id.isprintable() or len(command.id) > 64:
            return CommandError(400, "bad id")
        found = self.promises.get(command.id)
        if isinstance(command, PromiseSettle):
            assert found is not None
            if found.state == "pending":
                found = self.promises[command.id] = PromiseRecord(
                    found.id, "rejected", found.param, command.value, found.tags, 10, 0, 1
                )
            return Reply(200, None, found)
        if found is not None:
            return Reply(200, None, found)
        made = PromiseRecord(command.id, "pending", command.param, Value({}), command.tags, 10, 0)
        self.promises[command.id] = made
        if HEADER_FUNCTION in command.param.headers:
            self.created.append(command.id)
        return Reply(201, None, made)


class FakeQueue:
    """Partitions of messages, each with the position up to which it is acknowledged.

    What was polled and not acknowledged is delivered again after the queue was away.
    """

    kind = KIND
    place = "list t"

    def __init__(self, partitions: Sequence[Sequence[Message]]) -> None:
        self.partitions = [list(each) for each in partitions]
        self.acknowledged = [0] * len(partitions)
        self._read = [0] * len(partitions)
        self.is_open = False
        self.is_away = False
        #: the most messages polled and not acknowledged
        self.held_max = 0
        self.limits: list[int] = []

    @property
    def held(self) -> int:
        return sum(self._read) - sum(self.acknowledged)

    @property
    def done(self) -> bool:
        return all(
            done == len(each) for done, each in zip(self.acknowledged, self.partitions, strict=True)
        )

    def go_away(self) -> None:
        self.is_away = True

    def _check(self) -> None:
        if self.is_away:
            raise SourceAwayError("it is away")
        assert self.is_open

    def open(self) -> None:
        assert not self.is_open
        if self.is_away:
            raise SourceAwayError("it is away")
        self.is_open = True
        self._read = list(self.acknowledged)

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        self._check()
        self.limits.append(limit)
        found: list[Message] = []
        for number, each in enumerate(self.partitions):
            start = self._read[number]
            part = each[start : start + limit - len(found)]
            self._read[number] += len(part)
            found += part
        self.held_max = max(self.held_max, self.held)
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self._check()
        for each in messages:
            number = int(each.fields["partition"] or 0)
            expected = self.partitions[number][self.acknowledged[number]]
            assert each is expected, "acknowledged out of order"
            self.acknowledged[number] += 1

    def lag(self) -> int | None:
        self._check()
        return sum(map(len, self.partitions)) - sum(self._read)

    def close(self) -> None:
        self.is_open = False
