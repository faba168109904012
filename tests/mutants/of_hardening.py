"""Faults of what keeps strangers and neighbours from harming others: bounds, guards and checks."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_core = Area("tests/unit/broker/core").mutant
_broker = Area("tests/unit/broker").mutant
_store = Area("tests").mutant
_values = Area("tests/unit/sdk").mutant
_OTHERS: Final = "test_others_tasks.py"
_GUARD: Final = "transport/test_guard.py"
_COLLISIONS: Final = "values/test_collisions.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _core(
        "anybody-writes-to-a-task",
        None,
        "only the session that holds a task writes to it",
        "understudy_broker.core.requests.RequestHandlers._apply",
        swap("kind in _HELD and self._is_anothers(session, command)", "False"),
        _OTHERS,
    ),
    _core(
        "anybody-parks-a-task",
        None,
        "only the session that holds a task parks it",
        "understudy_broker.core.requests.RequestHandlers._halt",
        swap("command.version and self._is_anothers(session, command)", "False"),
        _OTHERS,
    ),
    _core(
        "an-edge-writes-to-tasks-of-nodes",
        None,
        "an edge writes for clients of other protocols alone",
        "understudy_broker.core.requests.RequestHandlers._is_anothers",
        swap('session.kind != "edge" or foreign_name(pid) is None', 'session.kind != "edge"'),
        _OTHERS,
    ),
    _core(
        "anybody-acknowledges",
        None,
        "only those whom an unblock may have reached acknowledge it",
        "understudy_broker.core.poll_scheme.PollScheme.acknowledge",
        swap("not self._unblocks.may_go_to(session, ack.address, self._members)", "False"),
        _OTHERS,
    ),
    _core(
        "a-long-name-is-taken",
        None,
        "names of functions have a bound",
        "understudy_broker.core.sessions.check_hello",
        swap("len(name) > config.function_chars_max", "False"),
        "test_report.py",
    ),
    _broker(
        "strangers-are-never-cut",
        None,
        "a connection that says no hello is cut",
        "understudy_broker.transport.guard.ConnectionGuard.silent",
        swap("count >= LOOKS_MAX", "False"),
        _GUARD,
    ),
    _broker(
        "strangers-have-no-bound-together",
        None,
        "all strangers together keep no more than a bound",
        "understudy_broker.transport.guard.ConnectionGuard.endless",
        swap("over <= 0", "True"),
        _GUARD,
    ),
    _broker(
        "peers-send-without-end",
        None,
        "a message without an end ends its connection",
        "understudy_broker.transport.guard.ConnectionGuard.endless",
        swap("kept > self._peer_bytes_max", "False"),
        _GUARD,
    ),
    _broker(
        "the-log-has-no-bound",
        None,
        "of lines that are alike only some are written",
        "understudy_broker.server.log_limit.LogLimit.takes",
        swap("lines.left < 1", "False"),
        "server/test_log_limit.py",
    ),
    _values(
        "hashes-are-not-tested",
        None,
        "sets whose items have one hash are not built",
        "understudy.values.collisions.check_hashes",
        swap("comparisons > _COMPARISONS_MAX * count", "False"),
        _COLLISIONS,
    ),
    _values(
        "half-of-the-hashes-may-be-the-same",
        None,
        "sets of which half have one hash are not built",
        "understudy.values.collisions.check_hashes",
        swap("comparisons > _COMPARISONS_MAX * count", "len(set(map(hash, items))) * 2 < count"),
        _COLLISIONS,
    ),
    _values(
        "keys-of-maps-are-not-tested",
        None,
        "dicts whose keys have one hash are not built",
        "understudy.values.collisions.check_keys",
        swap("_MAP_16.search(data) is None", "True"),
        _COLLISIONS,
    ),
    _store(
        "more-schedules-than-may-be",
        None,
        "schedules have a bound",
        "understudy_store.machine.schedules._check_room",
        swap("len(s.schedules) >= s.limits.schedules_max", "False"),
        "unit/store/machine/test_schedules.py",
    ),
    _store(
        "unread-occurrences-are-run",
        None,
        "only occurrences that were looked up are run",
        "understudy_store.machine.schedule_runs.put",
        drop("s.occurrences_read.pop(schedule.id, None)"),
        "unit/store/machine/test_schedule_runs.py",
    ),
    _store(
        "links-are-followed",
        None,
        "files of a store are no links",
        "understudy_store.engines.sqlite.files.open_file",
        swap("flags | os.O_CLOEXEC | os.O_NOFOLLOW", "flags | os.O_CLOEXEC"),
        "integration/store/test_file_modes.py",
    ),
    _store(
        "a-full-disk-is-damage",
        None,
        "a disk that fails at a start is no reason to restore a copy",
        "understudy_store.engines.sqlite.database._plain",
        swap("isinstance(cause, sqlite3.OperationalError)", "False"),
        "integration/store/test_file_modes.py",
    ),
)
