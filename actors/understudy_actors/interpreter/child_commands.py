"""The command by which a call becomes a promise: id, deadline, tags and headers.

Calls from outside a durable function become promises here too, so that there is one rule.
"""

from __future__ import annotations

from typing import Final

import msgspec

from understudy_actors.interpreter.determinism import RECORDED_KIND
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.commands import PromiseCreate
from understudy_store.records import (
    DETACHED,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_PLACE,
    HEADER_RETRY,
    HEADER_SITE,
    HEADER_VERSION,
    LOCAL,
    PENDING,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_PRIORITY,
    TAG_RETENTION,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    TRUE,
    PromiseRecord,
    Value,
)

#: Deadlines stay below this, the year 9999, so that every one of them can be shown as a date.
TIME_MS_MAX: Final = 253_402_300_799_000

#: the tag that gives the promise of a call its role, by the kind of the call
_ROLES: Final = {
    "promise": (TAG_EXTERNAL, TRUE),
    "sleep": (TAG_TIMER, TRUE),
    "lfi": (TAG_SCOPE, LOCAL),
    "lfc": (TAG_SCOPE, LOCAL),
    "race": (TAG_SCOPE, LOCAL),
    "detached": (TAG_SCOPE, DETACHED),
}


class CallFrame(msgspec.Struct, frozen=True, gc=False):
    """The place of a caller in its call graph, and the bounds of its calls.

    Parameters
    ----------
    id, origin, branch
        Ids of the run that calls, of the root of its call graph, and of its task. All are empty
        for a caller outside of every durable function.
    timeout_at
        Deadline of the run, in epoch milliseconds; no child has a later one.
    timeout_ms
        Milliseconds that a call may take if neither the call nor its function says.
    """

    id: str
    origin: str
    branch: str
    timeout_at: int
    timeout_ms: int


def outside(timeout_ms: int) -> CallFrame:
    """Return the frame of a caller that is no durable function."""
    return CallFrame("", "", "", TIME_MS_MAX, timeout_ms)


def create_command(frame: CallFrame, spec: CallSpec, now_ms: int) -> PromiseCreate:
    """Return the command that makes the promise of a call."""
    tags = call_tags(frame, spec)
    if spec.delay_ms:
        tags[TAG_DELAY] = str(now_ms + spec.delay_ms)
    # A detached call is a root of its own: its deadline is not its caller's.
    latest = TIME_MS_MAX if spec.kind == "detached" else frame.timeout_at
    timeout_at = min(now_ms + call_timeout_ms(frame, spec), latest)
    return PromiseCreate(spec.id, timeout_at, call_param(spec), tags)


def call_timeout_ms(frame: CallFrame, spec: CallSpec) -> int:
    """Return how long a call may take, in milliseconds."""
    return frame.timeout_ms if spec.timeout_ms is None else spec.timeout_ms


def call_tags(frame: CallFrame, spec: CallSpec) -> dict[str, str]:
    """Return the tags of a call's promise, apart from the delay, which depends on the time."""
    tags: dict[str, str] = {}
    if frame.origin:
        if spec.kind != "detached":
            tags[TAG_ORIGIN] = frame.origin
        tags[TAG_BRANCH] = frame.branch
        if frame.id != frame.branch:
            tags[TAG_PARENT] = frame.id
    role = _ROLES.get(spec.kind)
    if role is not None:
        tags[role[0]] = role[1]
    if spec.target is not None:
        tags[TAG_TARGET] = spec.target
    if spec.tags:
        tags |= spec.tags
    if spec.priority:
        tags[TAG_PRIORITY] = str(spec.priority)
    if spec.retention:
        tags[TAG_RETENTION] = spec.retention
    return tags


def call_param(spec: CallSpec) -> Value:
    """Return the headers and encoded arguments of a call.

    Those of a local call are not stored: only the activation that makes the call performs it.
    """
    headers = {HEADER_KIND: RECORDED_KIND.get(spec.kind, spec.kind)}
    if spec.site:
        headers[HEADER_SITE] = spec.site
    if spec.name:
        headers[HEADER_FUNCTION] = spec.name
    version = spec.version or spec.passed_version
    if version:
        headers[HEADER_VERSION] = str(version)
    if spec.retry:
        headers[HEADER_RETRY] = spec.retry
    if spec.place:
        headers[HEADER_PLACE] = spec.place
    if spec.trace:
        headers |= spec.trace
    return Value(headers, spec.data)


def pending_record(create: PromiseCreate, now_ms: int) -> PromiseRecord:
    """Return the promise of a create as it is before the broker has answered."""
    return PromiseRecord(
        create.id, PENDING, create.param, Value({}), create.tags, create.timeout_at, now_ms
    )
