"""Calls of lists, and attempts, as JSON data and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy_store.calls import took_ms
from understudy_store.records import (
    PENDING,
    PROMISE_WORDS,
    TASK_WORDS,
    AttemptRecord,
    CallRecord,
)


def call_json(call: CallRecord, now_ms: int) -> dict[str, Any]:
    """Return a call of a list as JSON data; `now_ms` is the time until which it has taken."""
    return {
        "id": call.id,
        "function": call.function or None,
        "group": call.group,
        "state": PROMISE_WORDS[call.state],
        "status": call_status(call),
        "created_at": call.created_at,
        "started_at": call.started_at,
        "settled_at": call.settled_at,
        "timeout_at": call.timeout_at,
        "duration_ms": max(0, took_ms(call, now_ms)),
        "attempts": call.failures + 1,
        "deaths": call.deaths,
        "suspensions": call.suspensions,
        "error_class": call.error,
        "cause": call.cause,
        "node": call.node,
        "logged_attempts": call.logged,
        "tags": call.tags,
    }


def call_status(call: CallRecord) -> str:
    """Return the state of a call in a word; of a pending one, that of its task."""
    if call.state != PENDING:
        return PROMISE_WORDS[call.state]
    if call.task_state == "halted" and call.cause:
        return "parked"
    return TASK_WORDS[call.task_state]


def call_reason(call: CallRecord) -> str | None:
    """Return why a call failed, or why it does not go on; None if all is well."""
    return call.error if call.state != PENDING else call.cause


def counts_json(counts: Mapping[str, int]) -> dict[str, int]:
    """Return numbers of calls by the words for their states, in the order of a life."""
    return {word: counts[state] for state, word in PROMISE_WORDS.items() if state in counts}


def attempt_json(attempt: AttemptRecord) -> dict[str, Any]:
    """Return an attempt as JSON data."""
    return {
        "number": attempt.n,
        "version": attempt.version,
        "end": attempt.end,
        "node": attempt.node,
        "host": attempt.host,
        "queued_at": attempt.queued_at,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "error_class": attempt.error,
        "text": attempt.text,
    }
