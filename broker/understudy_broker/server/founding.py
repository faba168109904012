"""The start of a broker that must ask the others, most often because it is new.

`start.after_answers` decides; here are the sockets. The broker asks all others again and again,
each over a link of its own. Meanwhile it listens at its own address, and tells every peer to come
back later. If it is new (425), the refusal tells other new brokers that it is there and has no
slots. To a person, it names the brokers that this one waits for.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from typing import Final

import trio
import zmq

from understudy_broker.errors import LinkError
from understudy_broker.link.link import Link, open_link
from understudy_broker.link.way import Direct, Way
from understudy_broker.protocol.frames import FrameError, FrameLimits, decode_to_broker, encode
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    Refused,
    ToPeer,
    Welcome,
)
from understudy_broker.server.keys import BrokerKeys, gate_of
from understudy_broker.server.logs import Log
from understudy_broker.server.placement import Placement
from understudy_broker.server.start import Answer, Map, New, Silent, Wait, Wanted, after_answers
from understudy_broker.transport.socket import Pause
from understudy_broker.transport.zeromq_router import RouterTransport
from understudy_store.limits import KIB, MIB

#: Status of the refusal by a broker that is new, and by one that has slots but does not serve yet.
TOO_EARLY: Final = 425
UNAVAILABLE: Final = 503
#: how long another broker may take to answer, and how long to wait before all are asked again
ANSWER_S: Final = 2.0
ASK_AGAIN_S: Final = 0.25
#: how long to wait before the log says which brokers are missing, because they may be about to
#: start, and how often it repeats that
FIRST_S: Final = 1.5
REPEAT_S: Final = 30.0
#: in a refusal, before the brokers that are waited for
WAITS: Final = " and waits for "
#: for frames of peers, all of which are refused
_LIMITS: Final = FrameLimits(frame_bytes_max=1 * MIB)


async def ask_others(
    wanted: Wanted,
    stored: Placement | None,
    listen: str,
    log: Log,
    stop: trio.Event,
    keys: BrokerKeys | None = None,
) -> Placement | None:
    """Return the placement of a broker, as soon as the others have said enough.

    Parameters
    ----------
    stored
        The placement of its store; None: it is new.
    listen
        Its own address; the broker listens there meanwhile, and not any more on return.
    keys
        As for `serve`.

    Returns
    -------
    None, if `stop` was set before.

    Raises
    ------
    PlacementError
        As of `start.after_answers`.
    ListenError
        It cannot listen at its address.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        transport = RouterTransport.listen(
            context,
            listen,
            frame_bytes_max=_LIMITS.frame_bytes_max,
            outgoing_bytes_max=64 * KIB,
            busy_poll_s=0,
            gate=gate_of(context, keys),
        )
        try:
            way = Direct(None if keys is None else keys.for_brokers)
            founding = _Founding(wanted, stored, context, transport, log, way)
            return await _found(founding, stop)
        finally:
            transport.close()
    finally:
        context.term()


async def _found(founding: _Founding, stop: trio.Event) -> Placement | None:
    found: list[Placement] = []
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def find() -> None:
            try:
                found.append(await founding.find())
            except Exception as error:  # raised below, because here it would be in a group
                failures.append(error)
            nursery.cancel_scope.cancel()

        async def end_at_stop() -> None:
            await stop.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(founding.refuse_peers)
        nursery.start_soon(find)
        nursery.start_soon(end_at_stop)
    if failures:
        raise failures[0]
    return found[0] if found else None


class _Founding:
    """A broker that asks the others, until they have said enough."""

    def __init__(
        self,
        wanted: Wanted,
        stored: Placement | None,
        context: zmq.Context[zmq.Socket[bytes]],
        transport: RouterTransport,
        log: Log,
        way: Way,
    ) -> None:
        self._way = way
        self._wanted = wanted
        self._stored = stored
        self._context = context
        self._transport = transport
        self._log = log
        self._repeat_at = trio.current_time() + FIRST_S
        #: as the refusals say it
        self._who = f"the broker {wanted.name!r} is {'new' if stored is None else 'not up to date'}"
        self._why = f"{self._who} and asks the others which broker has which slots"

    async def find(self) -> Placement:
        """Ask the others until they have said enough."""
        while True:
            step = after_answers(self._wanted, self._stored, await self._ask_all())
            if isinstance(step, Placement):
                self._tell_result(step)
                return step
            self._tell(step)
            await trio.sleep(ASK_AGAIN_S)

    def _tell_result(self, placement: Placement) -> None:
        text = "the other brokers have said which broker has which slots"
        if self._stored is None and placement.version == 1:
            founder = min(placement.brokers) == placement.broker and placement.own
            text = "this broker is new; the others say which slots it has"
            if founder:
                text = "all brokers are new; this one shares the slots out"
        fields = {"deployment": placement.deployment, "slots": len(placement.own)}
        self._log("info", text, {**fields})

    def _tell(self, wait: Wait) -> None:
        # What the others wait for in their turn may be this one.
        reasons = {name: why.partition(WAITS)[0] for name, why in wait.reasons.items()}
        text = "; ".join(f"{name!r} ({why})" for name, why in reasons.items())
        self._why = f"{self._who}{WAITS}{text}"
        if trio.current_time() >= self._repeat_at:
            self._repeat_at = trio.current_time() + REPEAT_S
            more = "it must hear from them who has slots of brokers without a table"
            if self._stored is None:
                more = "a new broker must hear from each of the others that nobody has its slots"
            self._log("warning", f"not started: {self._why}. {more}", {})

    # Asking --------------------------------------------------------------------------------------

    async def _ask_all(self) -> Mapping[str, Answer]:
        answers: dict[str, Answer] = {}

        async def ask(name: str, address: str) -> None:
            answers[name] = await self._ask(name, address)

        async with trio.open_nursery() as nursery:
            for name, address in self._wanted.addresses.items():
                if name != self._wanted.name:
                    nursery.start_soon(ask, name, address)
        # As the file has them, whoever answered first: a person reads the same again and again.
        return {name: answers[name] for name in self._wanted.addresses if name in answers}

    async def _ask(self, name: str, address: str) -> Answer:
        """Ask one broker for its map, by a hello."""
        answer: Answer | None = None
        links: list[Link] = []
        heard = trio.Event()

        def on_connected(welcome: Welcome) -> None:
            nonlocal answer
            answer = _of_welcome(welcome, name, address)
            heard.set()

        def on_messages(messages: list[ToPeer]) -> None:
            nonlocal answer
            for message in messages:
                if answer is None and isinstance(message, Refused):
                    is_new = message.status == TOO_EARLY
                    answer = New() if is_new else Silent(message.error)
                    heard.set()

        problem = None
        try:
            with trio.move_on_after(ANSWER_S):
                async with open_link(
                    address,
                    self._hello,
                    on_messages,
                    context=self._context,
                    on_connected=on_connected,
                    way=self._way,
                ) as link:
                    links.append(link)
                    await heard.wait()
        except* LinkError as errors:
            problem = str(errors.exceptions[0])
        if answer is not None:
            return answer
        if problem is None and links:
            problem = links[0].last_error
        return Silent(problem or f"no broker answers at {address}")

    def _hello(self) -> Hello:
        boot = secrets.token_hex(4)
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind="client",
            group="understudy.brokers",
            # Another name for each link, because a name may be in use only once at a broker.
            name=f"{self._wanted.name}.{boot}",
            boot=boot,
            os_pid=os.getpid(),
            host=socket.gethostname()[:255],
            sdk="broker",
        )

    # Being asked ---------------------------------------------------------------------------------

    async def refuse_peers(self) -> None:
        """Tell every peer to come back later, until this is canceled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._transport.watch)
            await self._transport.drive(self._turn)

    def _turn(self) -> Pause:
        for peer, frame in self._transport.receive().frames:
            if _says_hello(frame):
                status = TOO_EARLY if self._stored is None else UNAVAILABLE
                self._transport.send(peer, encode([Refused(status, self._why)]))
        return Pause()


def _says_hello(frame: bytes | memoryview) -> bool:
    try:
        return any(isinstance(message, Hello) for message in decode_to_broker(frame, _LIMITS))
    except FrameError:
        return False


def _of_welcome(welcome: Welcome, name: str, address: str) -> Answer:
    if welcome.slots is None:
        return Silent(
            f"the broker at {address} is the only one of its deployment; start it again with the "
            "[[broker]] tables of all"
        )
    if welcome.broker != name:
        return Silent(f"the broker at {address} is {welcome.broker!r}; check the addresses")
    return Map(welcome.deployment, welcome.slots)
