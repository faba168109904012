"""Faults of keys: who gets in, whose connection it is, and which files are refused."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_unit = Area("tests/unit/broker").mutant
_link = Area("tests/integration/broker").mutant
_FILES: Final = "keys/test_key_files.py"
_RIGHTS: Final = "keys/test_rights.py"
_TEXT: Final = "keys/test_rights_text.py"
_IDENTITIES: Final = "core/test_identities.py"
_KEYS: Final = "test_keys.py"
_KEY_CHANGES: Final = "test_key_changes.py"

_GETTING_IN: Final = (
    _link(
        "gate-missing",
        None,
        "where nobody answers ZeroMQ's question, nobody gets in",
        "understudy_broker.transport.curve.as_server",
        drop("socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)"),
        _KEYS,
    ),
    _link(
        "gate-not-guarding",
        None,
        "a broker with keys has no socket without",
        "understudy_broker.transport.zeromq_router.bind_router",
        drop("gate.guard(router)"),
        _KEYS,
    ),
    _unit(
        "zap-takes-refused",
        None,
        "a key that is not found is refused",
        "understudy_broker.transport.zap.answer",
        swap("if isinstance(holder, str):", "if not holder:"),
        "transport/test_zap.py",
    ),
    _unit(
        "zap-other-domain",
        None,
        "a question about other sockets is refused",
        "understudy_broker.transport.zap.answer",
        swap("question[2] != domain.encode()", "not domain"),
        "transport/test_zap.py",
    ),
    _unit(
        "key-never-expires",
        None,
        "an expired key is not taken",
        "understudy_broker.keys.rights.Holder.is_expired",
        swap("now >= self.expires_at", "now >= self.expires_at * 2"),
        _RIGHTS,
    ),
    _unit(
        "old-key-outlives-identity",
        None,
        "an old key is taken no longer than its identity",
        "understudy_broker.keys.rights._holders",
        swap("until = min(until, expires_at)", "until = max(until, expires_at)"),
        _RIGHTS,
    ),
    _unit(
        "one-key-two-identities",
        None,
        "two identities never have one key",
        "understudy_broker.keys.rights.parse_rights",
        swap("if other is not holder:", "if other is None:"),
        _RIGHTS,
    ),
)

_BEING_IN: Final = (
    _link(
        "revoked-stays",
        None,
        "the connections of a revoked key are cut",
        "understudy_broker.transport.zeromq_router.RouterTransport.cut_revoked",
        drop("shut_down(descriptor)"),
        _KEYS,
    ),
    _link(
        "expired-stays",
        None,
        "an expired key is out without a change of the file",
        "understudy_broker.server.keys.RightsWatch.look",
        swap("is_new or (self._expiry is not None and _now() >= self._expiry)", "is_new"),
        _KEYS,
    ),
    _link(
        "rights-not-followed",
        None,
        "new rights are followed",
        "understudy_broker.server.keys.BrokerKeys.reread",
        drop("self._rights, self.digest = self._read()"),
        _KEYS,
    ),
    _unit(
        "expelled-keeps-tasks",
        None,
        "the tasks of a revoked peer go to others at once",
        "understudy_broker.core.membership.Membership.expel",
        swap("self._machine.release_pid(session.pid, now)", "()"),
        _IDENTITIES,
    ),
    _unit(
        "name-of-another-key",
        None,
        "another key does not take over a name",
        "understudy_broker.core.admission.Admission.reject_reason",
        swap("other.identity != identity", "other.identity == '' != identity"),
        _IDENTITIES,
    ),
    _unit(
        "pulse-of-another-key",
        None,
        "another key's pulse keeps no node alive",
        "understudy_broker.core.stalls.Stalls.on_pulse",
        swap("session.identity == self._sessions.identity_of(peer)", "peer"),
        _IDENTITIES,
    ),
)

_FILES_OF_KEYS: Final = (
    _unit(
        "wide-key-used",
        None,
        "a secret key that others can read is refused",
        "understudy_broker.keys.key_files._check_secret",
        swap("stat.S_IRWXO if is_credential else _OTHERS", "stat.S_IRWXO"),
        _FILES,
    ),
    _unit(
        "wide-folder-used",
        None,
        "a folder that others can write to is refused",
        "understudy_broker.keys.key_files.check_folder",
        swap("found.st_mode & _WRITABLE", "found.st_mode & stat.S_IWOTH"),
        _FILES,
    ),
    _unit(
        "key-written-over",
        None,
        "a key is never written over",
        "understudy_broker.keys.key_files.write_new",
        swap("os.O_CREAT | os.O_EXCL |", "os.O_CREAT |"),
        _FILES,
    ),
    _unit(
        "revoke-unchecked",
        None,
        "a text that is written in an unusual way is left alone",
        "understudy_broker.keys.rights_text._checked",
        drop('raise RightsError("the text would say something else than what is meant")'),
        _TEXT,
    ),
)

_CHANGES: Final = (
    _link(
        "reload-not-at-once",
        None,
        "a command that asks is answered with the rights of that moment",
        "understudy_broker.server.reloads._answer",
        drop("await watch.look(whatever=True)"),
        _KEY_CHANGES,
    ),
    _link(
        "refused-rights-not-told",
        None,
        "whoever has the rights read is told if they are refused",
        "understudy_broker.server.keys.BrokerKeys.reread",
        drop("self.refused = str(error)"),
        _KEY_CHANGES,
    ),
    _link(
        "next-key-too-early",
        None,
        "a broker has its next key only when it is due",
        "understudy_broker.server.keys.BrokerKeys.__init__",
        swap("_now() >= after.since", "after.since"),
        _KEY_CHANGES,
    ),
    _link(
        "other-key-of-brokers-unknown",
        None,
        "brokers know each other by both keys",
        "understudy_broker.server.keys.BrokerKeys._read",
        drop("rights = rights.with_brokers(self._other.public)"),
        _KEY_CHANGES,
    ),
    _unit(
        "one-key-of-broker-tried",
        None,
        "a peer tries each key of its broker",
        "understudy_broker.keys.peer_keys.PeerKeys.after_refusal",
        drop("known = (*known[1:], known[0])"),
        _FILES,
    ),
    _unit(
        "own-key-not-read-again",
        None,
        "a refused peer reads its key file again",
        "understudy_broker.keys.peer_keys.PeerKeys.after_refusal",
        drop("pair = read_pair(self.key_path)"),
        _FILES,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_GETTING_IN, *_BEING_IN, *_FILES_OF_KEYS, *_CHANGES)
