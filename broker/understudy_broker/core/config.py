"""Configuration of a broker's core: times, bounds and its name. The defaults stand here only."""

from __future__ import annotations

import msgspec

from understudy_broker.core.audit_trail import AuditTrail
from understudy_broker.core.authorization import GrantOf
from understudy_broker.protocol.frames import FrameLimits
from understudy_broker.protocol.messages import SlotMap
from understudy_store.limits import KIB, MIB, Limits
from understudy_store.records import RetentionRules


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a core. Everything that grows has a bound here and is refused beyond it."""

    #: name of the broker, told to its peers
    name: str = "broker"
    #: names the deployment that the broker is one of; see `Welcome.deployment`
    deployment: str = ""
    #: who owns which slots; None: this broker owns all, and is the only one
    slots: SlotMap | None = None
    #: `slots` comes from this broker's store, which says for certain which slots are its own
    slots_are_stored: bool = False
    #: how long a peer keeps its tasks without a heartbeat
    lease_ttl_ms: int = 10_000
    #: how often peers are asked for a heartbeat
    beat_ms: int = 2_500
    #: how long a node without heartbeats keeps its tasks beyond its lease while its process lives,
    #: because a function holds the interpreter; 0: not at all
    stall_max_ms: int = 600_000
    #: how long a peer whose connection closed may take to come back with its claims
    reconnect_grace_ms: int = 50
    #: how long the holders of tasks may take to come back after the broker started
    boot_grace_ms: int = 5_000
    #: crashes in a row after which a task is parked; 0: a task is never parked
    deaths_max: int = 4
    #: how often an unacknowledged unblock is sent again
    unblock_retry_ms: int = 5_000
    #: how long replies that nobody waits for may be delayed, to share a frame with others
    reply_delay_ms: int = 20
    #: how long the broker polls for the next message before it sleeps, where that pays,
    #: microseconds; 0: it never does, as is right where other work shares its process
    busy_poll_us: int = 0
    #: connected peers
    peers_max: int = 10_000
    #: open connections (a node has two) beyond which no further peer is taken
    connections_max: int = 1_000_000
    #: unanswered requests of one peer, and the bytes of the frames they came in
    inflight_max: int = 4_096
    inflight_bytes_max: int = 64 * MIB
    #: requests and bytes of all peers that wait for one commit; beyond, the broker stops reading
    batch_requests_max: int = 32_768
    batch_bytes_max: int = 128 * MIB
    #: bytes that wait for one peer to read them; beyond, the peer is dropped as too slow
    outgoing_bytes_max: int = 64 * MIB
    #: unanswered searches of all peers, and of one
    searches_max: int = 256
    peer_searches_max: int = 64
    #: how long one search may read the store
    search_ms: int = 5_000
    #: promises that one peer watches
    watches_max: int = 262_144
    #: unused credit of one node
    credit_max: int = 65_536
    #: functions that a node may name
    functions_max: int = 4_096
    #: characters of the name of a function, and of all names of a node
    function_chars_max: int = 256
    functions_chars_max: int = 256 * KIB
    #: how long what has ended is kept; by default, for ever
    retention: RetentionRules = RetentionRules()
    #: the path of the file in which the shell puts what is deleted, before; None: there is none
    archive: str | None = None
    #: bounds of frames
    frames: FrameLimits = FrameLimits()
    #: bounds of promises
    limits: Limits = Limits()
    #: what each identity may do; None: the broker asks for no keys, and permits everything
    grant_of: GrantOf | None = None
    #: other machines can connect, and no keys are asked for; for the report of groups
    is_insecure: bool = False
    #: count calls by group and function, for whoever reads the metrics
    counts_calls: bool = False
    #: takes what is to be audited; None: nothing is
    audit: AuditTrail | None = None
