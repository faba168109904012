"""What a broker's core is told once: times, bounds and its name."""

from __future__ import annotations

import msgspec

from understudy_broker.protocol.frames import FrameLimits
from understudy_store.limits import MIB, Limits


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in milliseconds. Everything that grows has a bound here, and is refused beyond it."""

    #: how the broker names itself to its peers
    name: str = "broker"
    #: how long a peer keeps its tasks without a beat
    lease_ttl_ms: int = 10_000
    #: how often peers are asked to beat
    beat_ms: int = 2_500
    #: how long a peer whose connection closed may take to come back with its claims
    reconnect_grace_ms: int = 50
    #: how long the holders of tasks may take to come back after the broker started
    boot_grace_ms: int = 5_000
    #: nodes in a row that may vanish while they hold a task; then it is parked. 0: never
    deaths_max: int = 4
    #: how often an unblock is sent again that nobody has acknowledged
    unblock_retry_ms: int = 5_000
    #: how long answers that nobody waits for may be held back, to share a frame
    patience_ms: int = 20
    #: how long the broker looks for the next message before it sleeps, where that pays,
    #: microseconds. 0: never, as is right where other work shares its process
    busy_poll_us: int = 0
    #: peers at a time
    peers_max: int = 10_000
    #: requests of one peer that are not yet answered, and the bytes of the frames they came in
    inflight_max: int = 4_096
    inflight_bytes_max: int = 64 * MIB
    #: requests and bytes of all peers that wait for one commit; then the broker stops reading
    batch_requests_max: int = 32_768
    batch_bytes_max: int = 128 * MIB
    #: bytes that wait for one peer to read them; beyond, it is dropped as too slow
    outgoing_bytes_max: int = 64 * MIB
    #: promises that one peer watches
    watches_max: int = 262_144
    #: tasks that one node may have room for
    credit_max: int = 65_536
    #: functions that a node may name
    functions_max: int = 4_096
    frames: FrameLimits = FrameLimits()
    limits: Limits = Limits()
