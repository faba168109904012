"""The commands by which calls become promises: ids, deadlines, tags and headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from understudy_actors.interpreter.determinism import RECORDED_KIND
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.commands import PromiseCreate, PromiseSettle
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_PLACE,
    HEADER_RETRY,
    HEADER_SITE,
    HEADER_VERSION,
    RESOLVED,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_PRIORITY,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    Value,
)

if TYPE_CHECKING:
    from understudy_actors.interpreter.routine import Routine

#: deadlines stay below this, far beyond any clock (year 9999)
TIME_MS_MAX: Final = 253_402_300_799_000


def create_command(routine: Routine, spec: CallSpec) -> PromiseCreate:
    """For a remote or detached call, or a promise that the outside will settle."""
    tags = lineage(routine)
    if spec.kind == "promise":
        tags[TAG_EXTERNAL] = "true"
    elif spec.target is not None:
        tags[TAG_TARGET] = spec.target
    if spec.kind == "detached":
        # a root of its own: its deadline is not its caller's
        del tags[TAG_ORIGIN]
        tags[TAG_SCOPE] = "detached"
    if spec.tags:
        tags |= spec.tags
    if spec.delay_ms:
        tags[TAG_DELAY] = str(routine.now_ms + spec.delay_ms)
    if spec.priority:
        tags[TAG_PRIORITY] = str(spec.priority)
    return PromiseCreate(
        spec.id, _timeout_at(routine, spec), Value(_headers(spec), spec.data), tags
    )


def timer_command(routine: Routine, spec: CallSpec) -> PromiseCreate:
    """For a durable pause: a promise that resolves at its deadline."""
    tags = lineage(routine)
    tags[TAG_TIMER] = "true"
    if spec.tags:
        tags |= spec.tags
    return PromiseCreate(spec.id, _timeout_at(routine, spec), Value(_headers(spec)), tags)


def local_create(routine: Routine, spec: CallSpec) -> PromiseCreate:
    """For a step inside this activation; its arguments need not be stored."""
    tags = lineage(routine)
    tags[TAG_SCOPE] = "local"
    if spec.tags:
        tags |= spec.tags
    return PromiseCreate(spec.id, _timeout_at(routine, spec), Value(_headers(spec)), tags)


def race_commands(
    routine: Routine, spec: CallSpec, winner: int
) -> list[PromiseCreate | PromiseSettle]:
    """Store the place of a race's winner, in one step."""
    value = Value({}, routine.env.values.encode_value(winner, "the winner of a race"))
    return [local_create(routine, spec), PromiseSettle(spec.id, RESOLVED, value)]


def lineage(routine: Routine) -> dict[str, str]:
    """Tags that place a child in its call graph."""
    tags = {TAG_ORIGIN: routine.origin, TAG_BRANCH: routine.branch}
    if routine.id != routine.branch:
        tags[TAG_PARENT] = routine.id
    return tags


def _headers(spec: CallSpec) -> dict[str, str]:
    headers = {HEADER_KIND: RECORDED_KIND[spec.kind], HEADER_SITE: spec.site}
    if spec.name:
        headers[HEADER_FUNCTION] = spec.name
    version = spec.version or spec.passed_version
    if version:
        headers[HEADER_VERSION] = str(version)
    if spec.retry:
        headers[HEADER_RETRY] = spec.retry
    if spec.place:
        headers[HEADER_PLACE] = spec.place
    return headers


def _timeout_at(routine: Routine, spec: CallSpec) -> int:
    """The deadline, never later than the parent's; a detached call has only its own."""
    timeout_ms = routine.env.timeout_ms if spec.timeout_ms is None else spec.timeout_ms
    at = min(routine.now_ms + timeout_ms, TIME_MS_MAX)
    return at if spec.kind == "detached" else min(at, routine.record.timeout_at)
