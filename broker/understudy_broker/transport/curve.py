"""CURVE on ZeroMQ's sockets: both ends prove their keys, and all bytes are encrypted."""

from __future__ import annotations

from typing import Final

import zmq

from understudy_broker.keys.key_files import KeyPair
from understudy_broker.keys.peer_keys import PeerKeys

#: The name of the broker's connections for whoever authenticates them.
DOMAIN: Final = "understudy"
#: Bytes that encryption adds to each message: the name of a command, a nonce, a flag, and a code
#: that proves who sent it.
SEAL_BYTES: Final = 8 + 8 + 1 + 16
#: ZeroMQ's number for ends of which only one has keys: `zmq.Event.HANDSHAKE_FAILED_PROTOCOL` has it
MECHANISM_MISMATCH: Final = 0x11000002


def as_server(socket: zmq.Socket[bytes], pair: KeyPair) -> None:
    """Make a socket that is not bound yet take only peers with keys that are permitted.

    ZeroMQ asks for each at the `Gate` of the context. Without a gate it refuses them all.
    """
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, pair.secret.encode())
    socket.set_string(zmq.ZAP_DOMAIN, DOMAIN)
    # Without this, ZeroMQ lets everybody in who knows the broker's public key if nobody answers.
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


def as_client(socket: zmq.Socket[bytes], keys: PeerKeys | None) -> None:
    """Give a socket that is not connected yet the keys of its peer; None: it has none."""
    if keys is None:
        return
    socket.set(zmq.CURVE_SERVERKEY, keys.broker.encode())
    socket.set(zmq.CURVE_PUBLICKEY, keys.pair.public.encode())
    socket.set(zmq.CURVE_SECRETKEY, keys.pair.secret.encode())
