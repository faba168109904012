"""The settings of an edge."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from understudy.edge.hooks import Hook
from understudy.edge.push.settings import PushSettings
from understudy.edge.server import Limits
from understudy_broker.monitoring.address import Place

#: What a broker takes as one payload, and room for base64 and the rest of the JSON around it.
BODY_BYTES_MAX: Final = 6 * 1024 * 1024


class EdgeSettings(msgspec.Struct, frozen=True):
    """The settings of an edge, given at its start.

    Attributes
    ----------
    url
        The address of a broker, or several.
    host, port
        Where to listen.
    limits
        The bounds of the server.
    body_bytes_max
        Bytes of a request's body.
    waiting_max
        Requests that may wait for a promise at a time; those beyond are refused with 503. So many
        over HTTP, and so many over gRPC.
    streams_max
        Event streams that may be open at a time, over HTTP, and over gRPC.
    tunnels_max
        Connections of nodes and clients to brokers that may go through this edge at a time; a node
        has two to each broker.
    patience_s
        How long a request waits for a broker.
    credit
        Deliveries that may be under way for each broker.
    push
        How pushes are made; None: none are.
    strict
        Whether the Resonate protocol refuses what the newest of its servers refuses.
    debug
        Whether it serves the Resonate protocol from its own memory, debug operations included, and
        has no broker.
    grpc
        Host and port at which to listen for gRPC; None: there is none.
    metrics
        Where metrics and health are shown; None: nowhere.
    wait_max_s
        The longest wait of one request for a promise; a client asks again after it.
    hooks
        Webhooks that are taken.
    names
        Names by which clients reach the edge, besides those of this machine, where it listens to
        this machine alone; ``*``: any.
    tokens
        The file of the tokens that are taken; None: none are asked for.
    tls
        The files of the certificate and of its key; None: connections are in clear.
    legacy_poll
        Where to listen for the event streams of the protocol's older REST, which is then served,
        too. None: it is not.
    """

    url: str
    host: str
    port: int
    limits: Limits = Limits()
    body_bytes_max: int = BODY_BYTES_MAX
    waiting_max: int = 10_000
    streams_max: int = 11_000
    tunnels_max: int = 1_000
    patience_s: float = 10.0
    credit: int = 64
    push: PushSettings | None = None
    strict: bool = False
    debug: bool = False
    grpc: tuple[str, int] | None = None
    metrics: Place | None = None
    wait_max_s: float = 300.0
    hooks: tuple[Hook, ...] = ()
    legacy_poll: tuple[str, int] | None = None
    names: tuple[str, ...] = ()
    tokens: Path | None = None
    tls: tuple[Path, Path] | None = None

    @property
    def places(self) -> dict[str, tuple[str, int] | None]:
        """Hosts and ports at which the edge listens, by option; None: it does not."""
        return {
            "--listen": (self.host, self.port),
            "--grpc": self.grpc,
            "--legacy-poll": self.legacy_poll,
        }
