"""Sessions: connected peers by routing id, by name and by pid; and peers that may still come back.

A *peer* is a connection's routing id, new for each connection. A *pid* is one start of a process,
``name#boot``: it holds leases, and outlives a connection by a short grace.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.function_schemas import Schemas, schemas_of
from understudy_broker.core.task_queue import Callee
from understudy_broker.protocol.frames import FrameSequence
from understudy_broker.protocol.messages import BUILD_CHARS_MAX, Hello
from understudy_store.addresses import InvalidAddressError, check_name
from understudy_store.records import name_of, pid_of


class Stall:
    """The time in which a node sends no heartbeats although its process lives.

    Times in epoch milliseconds.
    """

    __slots__ = ("extended_at", "is_reported", "since")

    def __init__(self, now: int) -> None:
        self.since = now
        #: when the leases of the peer's tasks were last extended
        self.extended_at = now
        self.is_reported = False


class Session:
    """One connected peer. Times in epoch milliseconds."""

    __slots__ = (
        "peer", "kind", "group", "name", "identity", "pid", "os_pid", "host", "sdk", "functions",
        "concurrency", "heard_at", "beat_at", "pulse", "stall", "inflight", "inflight_bytes",
        "watches", "sequence", "refused_slots", "schemas", "blocked", "blocked_since",
        "build",
    )  # fmt: skip

    def __init__(self, peer: bytes, hello: Hello, now: int, identity: str | None = None) -> None:
        self.peer = peer
        #: whose key the peer has; None: the broker asks for none
        self.identity = identity
        self.kind = hello.kind
        self.group = hello.group
        self.name = hello.name
        self.pid = pid_of(hello.name, hello.boot)
        self.os_pid = hello.os_pid
        self.host = hello.host
        self.sdk = hello.sdk
        self.build = hello.build
        self.functions = hello.functions
        self.concurrency = hello.concurrency
        #: of the functions; one object for all nodes that announce the same
        self.schemas: Schemas = schemas_of(hello.functions, hello.versions, hello.schemas)
        #: when anything came from the peer, and when it last renewed its lease
        self.heard_at = now
        self.beat_at = now
        #: the connection that shows its pulse; kept by `Membership`
        self.pulse: bytes | None = None
        #: its lease has lapsed and is extended; None: it is not
        self.stall: Stall | None = None
        #: requests taken and not yet answered, and their bytes
        self.inflight = 0
        self.inflight_bytes = 0
        #: ids of the promises that the peer watches; kept by `Watches`
        self.watches: set[str] = set()
        #: numbers of the frames on this connection; None: the peer does not number its own
        self.sequence: FrameSequence | None = None
        #: what keeps the node from its work, by its own word, and since when; empty: nothing does
        self.blocked = ""
        self.blocked_since = now
        #: slots of requests that were refused because another broker has them; None: none was
        self.refused_slots: set[int] | None = None


def check_hello(hello: Hello, config: BrokerConfig) -> str | None:
    """Return the text that says what is wrong with a hello; None if nothing is."""
    try:
        check_name(hello.name, "name")
        check_name(hello.group, "group")
    except InvalidAddressError as error:
        return str(error)
    if not 1 <= len(hello.boot) <= 64 or "#" in hello.boot:
        return "boot: use 1 to 64 characters, none of them #"
    if len(hello.host) > 255 or len(hello.sdk) > 255:
        return "host and sdk: use at most 255 characters each"
    if len(hello.build) > BUILD_CHARS_MAX:
        return f"build: use at most {BUILD_CHARS_MAX} characters"
    if hello.concurrency is not None and not 1 <= hello.concurrency < 2**31:
        return f"concurrency: {hello.concurrency} is not between 1 and {2**31 - 1}"
    if hello.versions is not None and len(hello.versions) != len(hello.functions):
        return f"{len(hello.functions)} functions, but {len(hello.versions)} versions"
    if hello.schemas is not None and len(hello.schemas) != len(hello.functions):
        return f"{len(hello.functions)} functions, but {len(hello.schemas)} schemas"
    if len(hello.functions) > config.functions_max:
        return f"{len(hello.functions)} functions; at most {config.functions_max} are taken"
    for name in hello.functions:
        if len(name) > config.function_chars_max:
            return (
                f"the function {name[:40]!r}… has a name of {len(name):,} characters; at most "
                f"{config.function_chars_max} are taken"
            )
    total = sum(map(len, hello.functions))
    if total > config.functions_chars_max:
        return (
            f"the names of all functions have {total:,} characters; at most "
            f"{config.functions_chars_max:,} are taken"
        )
    if len(hello.claims) > config.limits.batch_max:
        return f"{len(hello.claims)} claims; at most {config.limits.batch_max} are taken"
    return None


def _nobody(_peer: bytes) -> None:
    """Return None: nobody is asked who it is, or where it is."""


def callees(functions: Iterable[str], versions: Iterable[int]) -> frozenset[Callee]:
    """Return the functions that a node has, as calls name them: with and without a version."""
    found: set[Callee] = set()
    for name, version in zip(functions, versions, strict=False):
        found.add((name, None))
        found.add((name, str(version)))
    return frozenset(found)


class Sessions:
    """The register of peers. Names are unique among the connected ones.

    Attributes
    ----------
    by_peer, by_name, by_pid
        The connected peers. To be read by everybody, and changed by `add` and `remove` only.
    identity_of
        Returns whose key a connection has; None: the broker asks for none. Set by the shell.
    address_of
        Returns where a connection comes from; None: that is not known. Set by the shell.
    """

    def __init__(self) -> None:
        self.by_peer: dict[bytes, Session] = {}
        self.by_name: dict[str, Session] = {}
        self.by_pid: dict[str, Session] = {}
        self.identity_of: Callable[[bytes], str | None] = _nobody
        self.address_of: Callable[[bytes], str | None] = _nobody
        self._by_group: dict[str, dict[str, Session]] = {}
        #: The lease renewed longest ago comes first, so one look can show that no peer is silent.
        self._by_beat: OrderedDict[bytes, Session] = OrderedDict()
        #: Pids that are not connected but may come back, each with the end of its grace.
        self._away: dict[str, int] = {}
        #: How the process vanished, by pid, if its staying away counts as a crash.
        self._crashes: dict[str, str] = {}
        #: identities of pids that are away; after a start of the broker, those are unknown
        self._away_identities: dict[str, str | None] = {}
        #: no later than the first grace that ends; None: no pid is away
        self.overdue_at: int | None = None

    def __len__(self) -> int:
        return len(self.by_peer)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self.by_peer.values()))

    def __contains__(self, peer: bytes) -> bool:
        return peer in self.by_peer

    def group(self, name: str) -> dict[str, Session]:
        """Return the connected peers of a group by name."""
        return self._by_group.get(name, {})

    def watched_by(self, identity: str | None) -> int:
        """Return how many promises the connected peers of an identity watch."""
        sessions = self.by_peer.values()
        return sum(len(each.watches) for each in sessions if each.identity == identity)

    def groups(self) -> list[str]:
        """Return the names of the groups that have connected peers."""
        return list(self._by_group)

    def add(self, session: Session) -> None:
        """Enter a connected peer."""
        self.by_peer[session.peer] = session
        self.by_name[session.name] = session
        self.by_pid[session.pid] = session
        self._by_group.setdefault(session.group, {})[session.name] = session
        self._by_beat[session.peer] = session
        self.forget_away(session.pid)

    def remove(self, session: Session) -> None:
        """Remove a peer whose connection is over."""
        del self.by_peer[session.peer]
        del self.by_name[session.name]
        del self.by_pid[session.pid]
        del self._by_beat[session.peer]
        group = self._by_group[session.group]
        del group[session.name]
        if not group:
            del self._by_group[session.group]

    # Leases --------------------------------------------------------------------------------------

    def renew(self, session: Session, now: int) -> None:
        """Renew a lease; `now` is never before that of an earlier call."""
        session.beat_at = now
        self._by_beat.move_to_end(session.peer)

    def silent(self, until: int) -> list[Session]:
        """Return the peers that have not renewed their lease after `until`, oldest lease first."""
        found: list[Session] = []
        for session in self._by_beat.values():
            if session.beat_at > until:
                break
            found.append(session)
        return found

    # Grace ---------------------------------------------------------------------------------------

    def leave(self, session: Session, until: int, crash: str | None = None) -> None:
        """Let a peer whose connection is over come back until `until`, as `set_away`."""
        self.set_away(session.pid, until, crash)
        self._away_identities[session.pid] = session.identity

    def set_away(self, pid: str, until: int, crash: str | None = None) -> None:
        """Let a pid that is not connected come back until `until`.

        Parameters
        ----------
        crash
            How the process vanished, if it stays away; None: staying away is no crash.
        """
        self._away[pid] = until
        if self.overdue_at is None or until < self.overdue_at:
            self.overdue_at = until
        if crash is not None:
            self._crashes[pid] = crash

    def away_named(self, name: str) -> list[str]:
        """Return the pids of that name that are away."""
        return [pid for pid in self._away if name_of(pid) == name]

    def away_unknown(self, name: str) -> list[str]:
        """Return the pids of that name that are away since a start: nobody knows whose."""
        return [pid for pid in self.away_named(name) if pid not in self._away_identities]

    def kept_for(self, name: str, identity: str | None) -> str | None:
        """Return for which other identity a name is kept whose peer is away; None: for none."""
        for pid in self.away_named(name):
            owner = self._away_identities.get(pid, identity)
            if owner is not None and owner != identity:
                return owner
        return None

    def replaced(self, pid: str, identity: str | None) -> list[str]:
        """Return the other pids of the same name that are away, and whose place a newcomer takes.

        After a start of the broker they may be anybody's. With identities, their grace goes on.
        """
        others = [away for away in self.away_named(name_of(pid)) if away != pid]
        return [away for away in others if identity is None or away in self._away_identities]

    def forget_away(self, pid: str) -> str | None:
        """Note that a pid is no longer away; return the crash that staying away would have been."""
        self._away.pop(pid, None)
        self._away_identities.pop(pid, None)
        return self._crashes.pop(pid, None)

    def take_overdue(self, now: int) -> list[tuple[str, str | None]]:
        """Remove the pids that did not come back in time; return them with their crashes."""
        if self.overdue_at is None or now < self.overdue_at:
            return []
        gone = [pid for pid, until in self._away.items() if until <= now]
        found = [(pid, self.forget_away(pid)) for pid in gone]
        self.overdue_at = min(self._away.values(), default=None)
        return found

    def extend_away(self, until: int) -> None:
        """Let no grace end before `until`."""
        for pid, at in self._away.items():
            self._away[pid] = max(at, until)
