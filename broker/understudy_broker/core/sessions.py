"""Who is connected: peers by routing id, by name and by pid; and who may still come back.

A *peer* is a connection's routing id, new for each connection. A *pid* is one start of a process,
``name#boot``: it holds leases, and outlives a connection by a short grace.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from understudy_broker.core.config import BrokerConfig
from understudy_broker.protocol.frames import FrameSequence
from understudy_broker.protocol.messages import Hello
from understudy_store.addresses import InvalidAddressError, check_name


def pid_of(name: str, boot: str) -> str:
    """The holder of leases: one start of the process of that name."""
    return f"{name}#{boot}"


def name_of(pid: str) -> str:
    """The name in a pid."""
    return pid.rpartition("#")[0]


class Session:
    """One connected peer. Times in epoch milliseconds."""

    __slots__ = (
        "peer", "kind", "group", "name", "pid", "os_pid", "host", "sdk", "functions",
        "heard_at", "beat_at", "inflight", "inflight_bytes", "watches", "order",
    )  # fmt: skip

    def __init__(self, peer: bytes, hello: Hello, now: int) -> None:
        self.peer = peer
        self.kind = hello.kind
        self.group = hello.group
        self.name = hello.name
        self.pid = pid_of(hello.name, hello.boot)
        self.os_pid = hello.os_pid
        self.host = hello.host
        self.sdk = hello.sdk
        self.functions = hello.functions
        #: when anything came from it, and when it last renewed its lease
        self.heard_at = now
        self.beat_at = now
        #: requests taken and not yet answered, and their bytes
        self.inflight = 0
        self.inflight_bytes = 0
        #: ids of promises it is to be told of
        self.watches: set[str] = set()
        #: of the frames on this connection, where the peer numbers its own
        self.order: FrameSequence | None = None


def check_hello(hello: Hello, config: BrokerConfig) -> str | None:
    """What is wrong with a hello; None: nothing."""
    try:
        check_name(hello.name, "name")
        check_name(hello.group, "group")
    except InvalidAddressError as error:
        return str(error)
    if not 1 <= len(hello.boot) <= 64 or "#" in hello.boot:
        return "boot: 1 to 64 characters, without #"
    if len(hello.host) > 255 or len(hello.sdk) > 255:
        return "host and sdk: at most 255 characters each"
    if len(hello.functions) > config.functions_max:
        return f"{len(hello.functions)} functions; at most {config.functions_max} are taken"
    if len(hello.claims) > config.limits.batch_max:
        return f"{len(hello.claims)} claims; at most {config.limits.batch_max} are taken"
    return None


class Sessions:
    """The register of peers. Names are unique among all that are connected."""

    def __init__(self) -> None:
        self._by_peer: dict[bytes, Session] = {}
        self._by_name: dict[str, Session] = {}
        self._by_pid: dict[str, Session] = {}
        self._by_group: dict[str, dict[str, Session]] = {}
        #: by peer, whose lease was renewed longest ago first: one look says that nobody is silent
        self._by_beat: OrderedDict[bytes, Session] = OrderedDict()
        #: pids that are not connected but may come back: until when; and how they went, of those
        #: whose staying away is a death
        self._away: dict[str, int] = {}
        self._went: dict[str, str] = {}
        #: nobody of them is overdue before; None: nobody is away
        self._overdue_at: int | None = None

    def __len__(self) -> int:
        return len(self._by_peer)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_peer.values()))

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._by_peer

    def peer(self, peer: bytes) -> Session | None:
        return self._by_peer.get(peer)

    def named(self, name: str) -> Session | None:
        return self._by_name.get(name)

    def holder(self, pid: str) -> Session | None:
        return self._by_pid.get(pid)

    def group(self, name: str) -> dict[str, Session]:
        """The connected peers of a group by name."""
        return self._by_group.get(name, {})

    def groups(self) -> list[str]:
        return list(self._by_group)

    def add(self, session: Session) -> None:
        self._by_peer[session.peer] = session
        self._by_name[session.name] = session
        self._by_pid[session.pid] = session
        self._by_group.setdefault(session.group, {})[session.name] = session
        self._by_beat[session.peer] = session
        self.forget(session.pid)

    def remove(self, session: Session) -> None:
        del self._by_peer[session.peer]
        del self._by_name[session.name]
        del self._by_pid[session.pid]
        del self._by_beat[session.peer]
        group = self._by_group[session.group]
        del group[session.name]
        if not group:
            del self._by_group[session.group]

    # Signs of life ------------------------------------------------------------------------------

    def beaten(self, session: Session, now: int) -> None:
        """A connected peer renews its lease; `now` is never before that of another's."""
        session.beat_at = now
        self._by_beat.move_to_end(session.peer)

    def silent(self, until: int) -> list[Session]:
        """Those that have not renewed their lease after `until`, the most silent first."""
        found: list[Session] = []
        for session in self._by_beat.values():
            if session.beat_at > until:
                break
            found.append(session)
        return found

    # Those who may come back --------------------------------------------------------------------

    def away(self, pid: str, until: int, how: str | None = None) -> None:
        """`pid` is not connected; it has until then to say hello. `how`: its death, if it stays."""
        self._away[pid] = until
        if self._overdue_at is None or until < self._overdue_at:
            self._overdue_at = until
        if how is not None:
            self._went[pid] = how

    def away_named(self, name: str) -> list[str]:
        """Pids of that name that are away."""
        return [pid for pid in self._away if name_of(pid) == name]

    def forget(self, pid: str) -> str | None:
        """It is no longer away; returns how it went, if its staying away is a death."""
        self._away.pop(pid, None)
        return self._went.pop(pid, None)

    def overdue(self, now: int) -> list[tuple[str, str | None]]:
        """Pids that did not come back in time, and how they went; they are forgotten."""
        if self._overdue_at is None or now < self._overdue_at:
            return []
        gone = [pid for pid, until in self._away.items() if until <= now]
        found = [(pid, self.forget(pid)) for pid in gone]
        self._overdue_at = min(self._away.values(), default=None)
        return found

    def extend_away(self, until: int) -> None:
        """Nobody is overdue before `until`."""
        for pid, at in self._away.items():
            self._away[pid] = max(at, until)

    def next_overdue(self) -> int | None:
        """No later than when the next one of them is overdue; None: nobody is away."""
        return self._overdue_at
