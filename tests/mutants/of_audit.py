"""Faults of the audit: a chain that does not hold, and what is not noted or noted too freely."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_unit = Area("tests/unit/broker").mutant
_file = Area("tests/integration/broker").mutant
_CHAIN: Final = "audit/test_chain.py"
_TRAIL: Final = "core/test_audit_trail.py"
_AUDIT: Final = "test_audit.py"

_CHAINS: Final = (
    _unit(
        "misfit-unseen",
        None,
        "a line that does not follow the one before it is found",
        "understudy_broker.audit.chain.ChainCheck._misfit",
        swap('found["before"] != self.end.hash', "self.end is None"),
        _CHAIN,
    ),
    _unit(
        "inserted-line-excused",
        None,
        "only what a crash has left is excused",
        "understudy_broker.audit.chain.ChainCheck._misfit",
        swap('found.get("sha256") != self._rest.hexdigest()', "False"),
        _CHAIN,
    ),
    _unit(
        "control-characters-written",
        None,
        "nothing in a line commands a terminal",
        "understudy_broker.audit.chain._encoded",
        swap("ensure_ascii=True", "ensure_ascii=False"),
        _CHAIN,
    ),
    _unit(
        "long-texts-written",
        None,
        "what a peer chooses does not fill the file",
        "understudy_broker.audit.chain._shown",
        swap("len(text) <= chars_max", "text"),
        _CHAIN,
    ),
)

_TRAILS: Final = (
    _unit(
        "audited-while-failing",
        None,
        "what cannot be audited is refused",
        "understudy_broker.core.audit_trail.AuditTrail.begin",
        drop("return self.blocked"),
        _TRAIL,
    ),
    _unit(
        "joined-while-failing",
        None,
        "nobody joins who cannot be noted",
        "understudy_broker.core.admission.Admission.decide",
        drop("refused = Refused(503, audit.blocked)"),
        _TRAIL,
    ),
    _unit(
        "own-parking-refused",
        None,
        "a node parks its own task also while nothing can be audited",
        "understudy_broker.core.audit_trail._is_audited",
        swap("not command.version", "True"),
        _TRAIL,
    ),
    _unit(
        "claimed-identity-noted",
        None,
        "the identity in the audit is the one that the key proves",
        "understudy_broker.core.audit_trail._asker",
        swap("_peer(session.identity,", "_peer(identity,"),
        _TRAIL,
    ),
    _unit(
        "refusals-unbounded",
        None,
        "refusals do not fill the file",
        "understudy_broker.audit.repeats.Repeats.takes",
        swap("window.written < most", "most"),
        "audit/test_repeats.py",
    ),
    _unit(
        "left-out-untold",
        None,
        "what was left out is counted",
        "understudy_broker.core.audit_trail.AuditTrail.tick",
        drop('self.add(now, "repeated", of=kind.what, who=kind.who, count=count)'),
        _TRAIL,
    ),
)

_FILES: Final = (
    _file(
        "link-followed",
        None,
        "the audit is not written through a link",
        "understudy_broker.audit.audit_file._check_file",
        swap("found.st_nlink != 1", "not found.st_nlink"),
        _AUDIT,
    ),
    _file(
        "two-writers",
        None,
        "two brokers do not write one file",
        "understudy_broker.audit.audit_file._check_file",
        drop("fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)"),
        _AUDIT,
    ),
    _file(
        "torn-untold",
        None,
        "what a crash has left is told",
        "understudy_broker.audit.audit_file.AuditFile._go_on",
        drop("self._append(lines[0])"),
        _AUDIT,
    ),
    _file(
        "chain-begins-anew",
        None,
        "a new file goes on with the chain of the older parts",
        "understudy_broker.audit.audit_file.AuditFile._go_on",
        swap("self._end_of_older()", "START"),
        _AUDIT,
    ),
    _file(
        "failed-records-forgotten",
        None,
        "what could not be written is written later",
        "understudy_broker.server.audit.AuditWriter._note",
        swap("if failure is None:", "if True:"),
        _AUDIT,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_CHAINS, *_TRAILS, *_FILES)
