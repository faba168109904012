"""Faults of the native HTTP API: signatures, ids of events, arguments, bounds, feeds."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk/edge/native").mutant
_HOOKS: Final = "test_hooks.py"
_SCHEMAS: Final = "test_schemas.py"
_REQUESTS: Final = "test_requests.py"
_NATIVE: Final = "understudy.edge.native"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "old-webhooks-are-taken",
        None,
        "a signature with an old time is refused",
        f"{_NATIVE}.signatures._check_time",
        swap("away_s > TOLERANCE_S", "away_s > 10 * TOLERANCE_S"),
        _HOOKS,
    ),
    _mutant(
        "webhooks-of-the-future-are-taken",
        None,
        "a signature with a time in the future is refused",
        f"{_NATIVE}.signatures._check_time",
        swap("abs(int(text) - now_s)", "now_s - int(text)"),
        _HOOKS,
    ),
    _mutant(
        "slack-time-is-not-signed",
        None,
        "the time of a request of Slack is part of what is signed",
        f"{_NATIVE}.signatures.verify_slack",
        swap('f"v0:{time}:".encode() + body', "body"),
        _HOOKS,
    ),
    _mutant(
        "last-secret-only",
        None,
        "each of several secrets is good",
        f"{_NATIVE}.signatures._check",
        swap("hmac.compare_digest(wanted, candidate) or is_right", "False"),
        _HOOKS,
    ),
    _mutant(
        "events-by-their-bodies-alone",
        None,
        "an event that has an id of its own is known by it",
        f"{_NATIVE}.hooks.event_id",
        swap("isinstance(own, str) and 0 < len(own) <= 200", "False"),
        _HOOKS,
    ),
    _mutant(
        "functions-get-signatures",
        None,
        "a function does not get the signature of its webhook",
        f"{_NATIVE}.hooks.passed_headers",
        swap('name.startswith(_HEADERS) and "signature" not in name', "name.startswith(_HEADERS)"),
        _HOOKS,
    ),
    _mutant(
        "arguments-of-any-name",
        None,
        "an argument that the function does not have is refused",
        f"{_NATIVE}.schemas._Reading.arguments",
        drop("self._check_names(named)"),
        _SCHEMAS,
    ),
    _mutant(
        "first-member-of-a-union",
        None,
        "a union is converted by a member that fits",
        f"{_NATIVE}.schemas._Reading._convert_member",
        swap("self._check.failure(member, value) is None", "True"),
        _SCHEMAS,
    ),
    _mutant(
        "bodies-of-any-depth",
        None,
        "a body that is nested too deep is refused",
        f"{_NATIVE}.bodies.parse",
        drop("_check_depth(value)"),
        _REQUESTS,
    ),
    _mutant(
        "misspelled-parameters-are-ignored",
        None,
        "a parameter that does not exist is refused",
        f"{_NATIVE}.parameters.Parameters.__init__",
        swap("name not in known", "False"),
        _REQUESTS,
    ),
    _mutant(
        "segments-are-not-decoded",
        None,
        "an id in a path may have slashes",
        f"{_NATIVE}.paths._decoded",
        swap("unquote_to_bytes(segment)", "segment"),
        _REQUESTS,
    ),
    _mutant(
        "feeds-without-growing-pauses",
        None,
        "a quiet graph is read less and less often",
        f"{_NATIVE}.feeds.Feed._follow",
        swap("min(2 * pause_s, PAUSE_MAX_S)", "PAUSE_S"),
        "test_feeds.py",
    ),
    _mutant(
        "events-after-a-late-id-are-lost",
        None,
        "a client that comes back is told what changed shortly before its last event",
        f"{_NATIVE}.events.is_known",
        swap("last_id - OVERLAP_MS", "last_id"),
        "test_events.py",
    ),
)
