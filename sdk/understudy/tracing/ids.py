"""Ids of traces and spans that follow from ids of promises. Pure.

A span that is made twice, because a client has asked twice or a replay has, is the same span. And
a log or a page can name the trace of a call without anybody having stored it.
"""

from __future__ import annotations

from hashlib import blake2b


def trace_id_of(id: str) -> int:
    """Return the id of the trace that a call begins if its caller has none: 128 bits, not 0.

    Examples
    --------
    >>> f"{trace_id_of('order-7'):032x}"
    '20b706b16f9371bf6e6f2971b63e7add'
    """
    return _number(16, "trace", id)


def call_span_id(id: str) -> int:
    """Return the id of the span in which the call `id` is stored: 64 bits, not 0."""
    return _number(8, "call", id)


def attempt_span_id(id: str, version: int) -> int:
    """Return the id of the span of an attempt: the task `id` under one version."""
    return _number(8, "attempt", id, str(version))


def step_span_id(id: str, version: int, number: int) -> int:
    """Return the id of the span of a step: attempt `number` of it, under a version of its task."""
    return _number(8, "step", id, str(version), str(number))


def _number(size: int, *parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=size).digest()) or 1
