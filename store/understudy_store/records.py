"""What the store keeps and the wire carries: promises, tasks, schedules.

Plain msgspec structs, encoded as arrays. They are values: a record shows one moment, projected to
the time at which it was read (semantics: Projection), and never changes afterwards.

Well-known tags give a promise its role (semantics: Objects). Everything else in ``tags`` is the
user's.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

PromiseState: TypeAlias = Literal[
    "pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout"
]
#: what a client may ask for; the deadline alone makes ``rejected_timedout``
SettleState: TypeAlias = Literal["resolved", "rejected", "rejected_canceled"]
TaskState: TypeAlias = Literal["pending", "acquired", "suspended", "halted", "fulfilled"]

# Well-known tags ---------------------------------------------------------------------------------
#: address of the group that performs it; makes a promise *targeted*: it has a task
TAG_TARGET: Final = "understudy:target"
#: "true": a *timer*, resolves at its deadline
TAG_TIMER: Final = "understudy:timer"
#: "true": may be waited for from outside the activation that made it (a person, a webhook)
TAG_EXTERNAL: Final = "understudy:external"
#: "local": a step inside one activation; "detached": a call graph of its own
TAG_SCOPE: Final = "understudy:scope"
#: id of the root of the call graph; absent: the promise is a root
TAG_ORIGIN: Final = "understudy:origin"
#: id of the task under which it was created: that task's preload holds it
TAG_BRANCH: Final = "understudy:branch"
#: id of the promise whose function made the call, where that is not the branch itself
TAG_PARENT: Final = "understudy:parent"
#: epoch milliseconds before which the task is not due
TAG_DELAY: Final = "understudy:delay"
#: integer from -100 to 100 as text; higher goes first within a group
TAG_PRIORITY: Final = "understudy:priority"

# Well-known headers of a param -------------------------------------------------------------------
#: name of the function to call
HEADER_FUNCTION: Final = "fn"
#: version of the function, as text; absent: the highest
HEADER_VERSION: Final = "v"
#: where in the code the call stands: ``file.py:12``
HEADER_SITE: Final = "at"
#: the kind of call: rfi, lfi, detached, sleep, promise
HEADER_KIND: Final = "kind"
#: retry policy in its wire form; absent: the function's own
HEADER_RETRY: Final = "retry"
#: of a child with an id of its own: the id that its place among the calls would have given it
HEADER_PLACE: Final = "place"

# Well-known headers of a value -------------------------------------------------------------------
#: which attempt it is from, as text; absent: the first
HEADER_ATTEMPT: Final = "attempt"

PENDING: Final = "pending"
RESOLVED: Final = "resolved"
REJECTED: Final = "rejected"
CANCELED: Final = "rejected_canceled"
TIMEDOUT: Final = "rejected_timedout"


class Value(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A param or a value; opaque to the store and the broker."""

    headers: dict[str, str]
    data: bytes | None = None


EMPTY: Final = Value({}, None)


class PromiseRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A durable promise; times in epoch milliseconds."""

    id: str
    state: PromiseState
    param: Value
    value: Value
    tags: dict[str, str]
    timeout_at: int
    created_at: int
    settled_at: int | None = None

    @property
    def settled(self) -> bool:
        return self.state != PENDING


def payload_bytes(record: PromiseRecord) -> int:
    """Return the bytes of data in the param and the value of a promise."""
    return len(record.param.data or b"") + len(record.value.data or b"")


class TaskRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The task of a targeted promise; the lease's `ttl` in milliseconds."""

    id: str
    state: TaskState
    version: int
    target: str
    pid: str | None = None
    ttl: int | None = None
    expires_at: int | None = None
    retry_at: int | None = None
    resumes: tuple[str, ...] = ()
    #: how often it was given back because its function raised: attempts are one more
    failures: int = 0
    #: how often in a row its holder vanished while it had this task
    deaths: int = 0
    #: how the last of them vanished; of a parked task: why it is halted
    cause: str | None = None


class ScheduleRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A cron line that makes promises; `promise_id` may hold ``{id}`` and ``{timestamp}``."""

    id: str
    cron: str
    promise_id: str
    promise_timeout: int
    promise_param: Value
    promise_tags: dict[str, str]
    next_run_at: int
    created_at: int
    last_run_at: int | None = None
