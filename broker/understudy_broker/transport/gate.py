"""`Gate`: decides about each connection of a broker that asks for keys, before it brings a frame.

ZeroMQ's thread does the handshake, and asks at a socket within the process whether the key is
permitted. The gate is a task beside the broker's loop that looks the key up in memory, so an answer
takes no longer than the loop's turn. The gate must be open before the broker listens.

The rights may change while a connection lives, so the transport asks again at the first frame of a
connection (`admit`), and at each change for all of them (`expel_revoked`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio
import zmq

from understudy_broker.keys.key_files import KeyPair
from understudy_broker.keys.rights import Holder
from understudy_broker.transport.curve import DOMAIN, as_server
from understudy_broker.transport.socket import TrioSocket
from understudy_broker.transport.zap import Refusal, answer, key_of, user_id

_ADDRESS: Final = "inproc://zeromq.zap.01"
#: refusals that are kept until the log takes them; strangers may make more of them
REFUSALS_MAX: Final = 1_000


class Gate:
    """Decides about connections.

    Parameters
    ----------
    context
        The context of the broker's socket. A context has one gate.
    pair
        The broker's keys.
    find
        Returns the holder of a public key, or in words why it is refused, as of this moment.

    Attributes
    ----------
    admitted
        The holders by the peers whose connections are theirs; of others no frame may be delivered.
        To be read only.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        pair: KeyPair,
        find: Callable[[str], Holder | str],
    ) -> None:
        self._pair = pair
        self._find = find
        self.admitted: dict[bytes, Holder] = {}
        self._refusals: deque[Refusal] = deque(maxlen=REFUSALS_MAX)
        socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        try:
            socket.set(zmq.LINGER, 0)
            socket.bind(_ADDRESS)
            self._socket = TrioSocket(socket)
        except BaseException:
            # A context does not end while one of its sockets is open.
            socket.close(0)
            raise

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Have a socket that is to be bound ask here."""
        as_server(socket, self._pair)

    def admit(self, peer: bytes, frame: zmq.Frame) -> bool:
        """Note whose connection a new peer's is, by its first frame; return whether it may stay."""
        user = frame.get("User-Id")
        found = self._find(key_of(user)) if isinstance(user, str) else ""
        if isinstance(found, str) or user_id(found) != user:
            self.refuse(Refusal("its key was revoked during the handshake"))
            return False
        self.admitted[peer] = found
        return True

    def forget(self, peer: bytes) -> None:
        """Forget a peer whose connection has closed."""
        self.admitted.pop(peer, None)

    def expel_revoked(self) -> list[bytes]:
        """Forget the peers whose keys are no longer permitted, or another's; return them."""
        revoked = [peer for peer, holder in self.admitted.items() if not self._permits(holder)]
        for peer in revoked:
            del self.admitted[peer]
        return revoked

    def _permits(self, holder: Holder) -> bool:
        found = self._find(holder.key)
        return not isinstance(found, str) and found.identity == holder.identity

    def refuse(self, refusal: Refusal) -> None:
        """Note a refusal."""
        self._refusals.append(refusal)

    def take_refusals(self) -> list[Refusal]:
        """Return the refusals since the last call."""
        taken = list(self._refusals)
        self._refusals.clear()
        return taken

    async def run(self, wake: Callable[[], None]) -> None:
        """Answer for ever; `wake` is called when there are refusals."""
        while True:
            await self._socket.wait()
            for parts in self._socket.receive_nowait():
                # The envelope: who asks, and an empty part.
                reply, refusal = answer(parts[2:], self._find, DOMAIN)
                self._socket.send_nowait([*parts[:2], *reply])
                if refusal is not None:
                    self.refuse(refusal)
                    wake()
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Refuse everybody from now on."""
        self._socket.close()
