"""Faults of rights and quotas: each row of the table, each check and each limit."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_unit = Area("tests/unit/broker").mutant
_TESTS: Final = "core/test_authorization.py"
_QUOTAS: Final = "core/test_quotas.py"
_AUTHORIZATION: Final = "understudy_broker.core.authorization"

#: the decision of each row, which a mutant replaces by a permission
_ROWS: Final = {
    "create-watched": "return case.create(create)",
    "suspend": "return case.held(id_) or case.read(others)",
    "watch": "return case.read(ids)",
    "get": "return case.read((id_,))",
    "create": "return case.create(command)",
    "acquire": "return case.serve(id_)",
    "settle": "return case.settle(id_)",
    "cancel": "return case.cancel(id_)",
    "callback": "return case.read((awaited_id, awaiter))",
    "listener": "return case.read((awaited_id,)) or case.call(address)",
    "search": "return case.search(prefix, origin)",
    "search-tasks": "return case.search_tasks(group)",
    "halt": 'return case.held(id_) if version else case.admin("halt")',
    "continue": 'return case.admin("continue")',
    "create-schedule": "return case.create_schedule(command)",
    "schedule": 'return case.among("schedule", id_)',
    "search-schedules": 'return case.all_among("schedule", prefix)',
    "functions": "return case.functions(group)",
    "of-brokers": 'return "only a broker of this deployment may send this command"',
}

_OF_ROWS: Final = tuple(
    _unit(
        f"row-{name}-missing",
        None,
        "each command needs its right",
        f"{_AUTHORIZATION}.Authorization._row",
        swap(row, "return None"),
        _TESTS,
    )
    for name, row in _ROWS.items()
)


def _check(name: str, promise: str, where: str, old: str, new: str, test: str = _TESTS) -> Mutant:
    return _unit(name, None, promise, where, swap(old, new), test)


_OF_CHECKS: Final = (
    _check(
        "rights-edges-hold-anything",
        "an edge writes only to tasks of groups that its client may serve",
        f"{_AUTHORIZATION}._Case.held",
        'self.serve(id_) if self._session.kind == "edge" else None',
        "None",
    ),
    _unit(
        "rights-not-asked",
        None,
        "each command is asked for its right",
        "understudy_broker.core.requests.RequestHandlers.perform",
        swap("if refusal is not None:", "if not session:"),
        _TESTS,
    ),
    _check(
        "rights-fence-not-asked",
        "what is in a fence needs its right",
        "understudy_broker.core.requests.RequestHandlers.perform",
        "if refused:",
        "if not session:",
    ),
    _unit(
        "rights-caller-not-stamped",
        None,
        "who has asked is stored",
        "understudy_broker.core.requests.RequestHandlers.perform",
        drop("own = stamped(own, identity)"),
        _TESTS,
    ),
    _check(
        "rights-caller-forged",
        "nobody says who somebody else is",
        f"{_AUTHORIZATION}._with_identity",
        "{**create.tags, TAG_IDENTITY: identity}",
        "{TAG_IDENTITY: identity, **create.tags}",
    ),
    _check(
        "rights-schedule-forged",
        "nobody says who somebody else is",
        f"{_AUTHORIZATION}.stamped",
        "{**command.promise_tags, TAG_IDENTITY: identity}",
        "{TAG_IDENTITY: identity, **command.promise_tags}",
    ),
    _check(
        "rights-graph-of-strangers",
        "a call graph takes in nothing from strangers",
        f"{_AUTHORIZATION}._Case._graph",
        "if not self._grant.ids.has(place):",
        "if not place:",
    ),
    _check(
        "rights-graph-of-strangers-outside",
        "a call graph takes in nothing from strangers",
        f"{_AUTHORIZATION}._Case.create",
        "is_far or self._grant.ids.has(place) or self._holds_above(place)",
        "True",
    ),
    _check(
        "rights-nothing-below",
        "a function may do everything below its own task",
        f"{_AUTHORIZATION}._Case._holds_above",
        "task.pid == self._session.pid",
        "not task.pid",
    ),
    _check(
        "rights-below-anybodys",
        "what is below a task belongs to its holder alone",
        f"{_AUTHORIZATION}._Case._holds_above",
        "task.pid == self._session.pid",
        "bool(task.pid)",
    ),
    _check(
        "rights-not-the-creators",
        "an identity may read what it has created",
        f"{_AUTHORIZATION}._Case._is_own",
        "record.tags.get(TAG_IDENTITY) == self._identity",
        "record.tags.get(TAG_IDENTITY) is None",
    ),
    _check(
        "rights-settles-running-calls",
        "nobody settles a call that a node performs",
        f"{_AUTHORIZATION}._Case.settle",
        "task.pid != self._session.pid",
        "not task.pid",
    ),
    _check(
        "rights-anybody-serves",
        "a node serves only groups that it may",
        f"{_AUTHORIZATION}.Authorization.join_refusal",
        "None if grant.serve.has(group) else",
        "None if group else",
    ),
    _check(
        "rights-anybody-is-an-edge",
        "an edge is only who may be one",
        f"{_AUTHORIZATION}.Authorization.join_refusal",
        "None if grant.edge else",
        "None if group else",
    ),
    _check(
        "rights-anybody-is-a-broker",
        "a broker is only who has the brokers' key",
        f"{_AUTHORIZATION}.Authorization.join_refusal",
        "None if identity == BROKERS else",
        "None if group else",
    ),
    _check(
        "rights-clients-delegate",
        "only an edge asks for others",
        f"{_AUTHORIZATION}.Authorization._delegation_refusal",
        'if session.kind != "edge":',
        "if not session.kind:",
    ),
    _check(
        "rights-edge-for-all",
        "an edge asks only for those that it may",
        f"{_AUTHORIZATION}.Authorization._delegation_refusal",
        "if not self.grant(session.identity).edge.has(identity):",
        "if not identity:",
    ),
    _check(
        "rights-members-anywhere",
        "an edge listens only where its client may serve",
        f"{_AUTHORIZATION}.Authorization.member_refusal",
        "None if self.grant(identity).serve.has(group) else",
        "None if group else",
    ),
    _check(
        "rights-report-of-all",
        "a report shows the groups that one serves or calls",
        f"{_AUTHORIZATION}.Authorization.shows_group",
        "grant.serve.has(group) or grant.call.has(group)",
        "bool(group)",
    ),
    _check(
        "rights-preload-for-all",
        "only the holder of a task reads its children",
        "understudy_broker.core.requests.RequestHandlers._preload",
        "if self._is_anothers(session, command):",
        "if not session:",
    ),
    _check(
        "rights-name-for-all",
        "a name is kept for its identity",
        "understudy_broker.core.sessions.Sessions.kept_for",
        "if owner is not None and owner != identity:",
        "if not name:",
    ),
    _check(
        "rights-unknown-name-replaced",
        "after a start the grace of a name goes on",
        "understudy_broker.core.sessions.Sessions.replaced",
        "identity is None or away in self._away_identities",
        "True",
    ),
    _check(
        "rights-place-kept",
        "who may no longer be a node is none",
        "understudy_broker.core.expulsions.Expulsions.apply",
        "if text is not None:",
        "if not now:",
    ),
    _check(
        "rights-star-in-the-middle",
        "a pattern that is not understood is refused",
        "understudy_broker.keys.grants._names",
        '"*" in text or',
        "not entry or",
        "keys/test_grants.py",
    ),
    _check(
        "rights-pattern-is-beginning",
        "a name without a star is that name alone",
        "understudy_broker.keys.grants._names",
        "if is_pattern and text == entry:",
        "if not text:",
        "keys/test_grants.py",
    ),
)

_OF_QUOTAS: Final = (
    _check(
        "quota-rate-not-kept",
        "what comes too fast is refused",
        "understudy_broker.core.quotas.Bucket.wait_ms",
        "0 if self._level > 0 else",
        "0 if rate else",
        _QUOTAS,
    ),
    _check(
        "quota-bucket-without-bottom",
        "a bucket holds no more than a burst",
        "understudy_broker.core.quotas.Bucket.wait_ms",
        "min(level, most)",
        "level",
        _QUOTAS,
    ),
    _check(
        "quota-bytes-free",
        "bytes are limited",
        "understudy_broker.core.quotas.Quotas.arrival",
        "usage.bytes.take(size)",
        "usage.bytes.take(0)",
        _QUOTAS,
    ),
    _check(
        "quota-fence-counts-once",
        "each command in a fence counts",
        "understudy_broker.core.flow_control.FlowControl.admit",
        "count = len(command.commands) if type(command) is TaskFence else 1",
        "count = 1",
        _QUOTAS,
    ),
    _check(
        "quota-pending-free",
        "pending promises are limited",
        "understudy_broker.core.quotas.Quotas.refusal",
        "usage.pending + usage.new + len(creates) > times * pending",
        "not creates",
        _QUOTAS,
    ),
    _check(
        "quota-stored-free",
        "stored bytes are limited",
        "understudy_broker.core.quotas.Quotas.refusal",
        "usage.stored + usage.new_stored + size > times * stored",
        "not creates",
        _QUOTAS,
    ),
    _check(
        "quota-new-ones-free",
        "requests of one frame do not pass together",
        "understudy_broker.core.quotas.Quotas.refusal",
        "usage.new += len(creates)",
        "usage.new += 0",
        _QUOTAS,
    ),
    _check(
        "quota-schedules-free",
        "schedules are limited",
        "understudy_broker.core.quotas.Quotas.refusal",
        "count >= most and",
        "not count and",
        _QUOTAS,
    ),
    _check(
        "quota-watches-free",
        "watches are limited",
        "understudy_broker.core.quotas.Quotas.watch_refusal",
        "watched + more <= most",
        "watched <= most",
        _QUOTAS,
    ),
    _check(
        "quota-connections-free",
        "connections are limited",
        "understudy_broker.core.quotas.Quotas.connection_refusal",
        "connected < most",
        "most",
        _QUOTAS,
    ),
    _check(
        "quota-settled-counts",
        "what has settled makes room",
        "understudy_broker.core.quotas.Quotas.take",
        "self._add(row.promise, -1)",
        "self._add(row.promise, 0)",
        _QUOTAS,
    ),
    _check(
        "quota-forgotten-at-a-start",
        "after a start what is stored counts",
        "understudy_broker.core.quotas.Quotas._count",
        "self._add(promise, 1)",
        "self._add(promise, 0)",
        _QUOTAS,
    ),
    _check(
        "quota-flood-first",
        "a flood takes no more than its share",
        "understudy_broker.core.lanes.Lanes.draw",
        "min(TURN, count_max - len(drawn), len(lane))",
        "min(count_max - len(drawn), len(lane))",
        _QUOTAS,
    ),
    _check(
        "quota-fence-waits",
        "a fence beyond the limit goes back as a reply",
        "understudy_broker.core.requests.RequestHandlers._refuse_full",
        "if isinstance(command, TaskFence):",
        "if not command:",
        _QUOTAS,
    ),
    _unit(
        "quota-refused-stays-in-flight",
        None,
        "a refused request counts as answered",
        "understudy_broker.core.requests.RequestHandlers._refuse_full",
        drop("session.inflight = max(0, session.inflight - 1)"),
        _QUOTAS,
    ),
    _check(
        "throttle-sends-early",
        "a request waits for as long as the broker says",
        "understudy_broker.link.throttle.Throttle.holds",
        "if now < self.until:",
        "if now < 0:",
        "link/test_throttle.py",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = _OF_ROWS + _OF_CHECKS + _OF_QUOTAS
