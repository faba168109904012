"""The edge as a peer of the brokers: requests that are awaited, and promises that are watched.

Everything here is called on one trio loop, the one that serves the requests.
"""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import trio

from understudy._version import __version__
from understudy.client.keys import process_keys
from understudy.client.seal_keys import process_sealer
from understudy.client.sealed_records import SealedRecords
from understudy.client.sealed_router import SealedRouter
from understudy.edge.asker import ASKER
from understudy.edge.watches import SendRequest, Watches
from understudy_broker.address import split_addresses
from understudy_broker.clock import PeerClock
from understudy_broker.errors import LinkFullError
from understudy_broker.link.link import Link
from understudy_broker.link.router import Router, open_router
from understudy_broker.link.session import Answer, OnReply
from understudy_broker.link.way import Direct
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Delegated,
    FunctionInfo,
    FunctionsGet,
    GroupsGet,
    GroupsReport,
    Hello,
    OwnCommand,
    PromiseCreateWatched,
    Refused,
    Response,
    Settled,
    SlotMap,
    ToBroker,
    ToPeer,
    Welcome,
)
from understudy_store.commands import PromiseCreate, Reply
from understudy_store.errors import UnderstudyError
from understudy_store.records import PromiseRecord

#: what edges introduce themselves as: a part of their names, and of their group
ROLE: Final = "edge"
#: how long a request waits for a broker, by default
PATIENCE_S: Final = 10.0
#: requests that may be unanswered at each broker
BACKLOG_MAX: Final = 16_384
#: functions of a group that are read
FUNCTIONS_MAX: Final = 5_000


class NoBrokerError(UnderstudyError):
    """No broker has answered in time. The request may have been performed, or may be yet."""


class BusyError(UnderstudyError):
    """Too many requests wait for the brokers, so no more are taken."""


class RefusedReportError(UnderstudyError):
    """A broker refuses to report its groups; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.error or "the broker refuses to report its groups")
        self.reply = reply


#: takes a message of a broker
OnMessage: TypeAlias = Callable[[Link, ToPeer], None]
#: takes a new session
OnWelcome: TypeAlias = Callable[[Link, Welcome], None]


class Brokers:
    """All brokers of a deployment, as a request's handler sees them; see `open_brokers`.

    Attributes
    ----------
    clock
        The brokers' clock: deadlines are counted by it.
    watches
        The promises that are waited for.
    takes_progress
        The brokers know the progress of tasks, as far as it was told.
    has_keys
        The brokers take peers by their keys, and this peer has one.
    """

    def __init__(
        self,
        patience_s: float = PATIENCE_S,
        role: str = ROLE,
        *,
        has_keys: bool = False,
        sealed: SealedRecords | None = None,
    ) -> None:
        self.has_keys = has_keys
        self._sealed = sealed
        self.clock = PeerClock()
        #: those of the sessions that there are
        self._welcomes: dict[Link, Welcome] = {}
        self._followers: list[tuple[OnMessage, OnWelcome]] = []
        self._patience_s = patience_s
        self._role = role
        self._name = f"{role}-{secrets.token_hex(4)}"
        self._boot = secrets.token_hex(4)
        self._router: Router | None = None
        #: sends commands, which are sealed if there are seal keys
        self._request: SendRequest
        self._met = trio.Event()
        self._clock_link: Link | None = None
        self._tells_functions = False
        self.takes_progress = False

    def addresses(self, broker: str = "") -> list[str]:
        """Return where a broker is, or where any is if none is named; empty if it is unknown."""
        assert self._router is not None
        links = sorted(self._router.links, key=lambda link: not link.connected)
        known = [each for link in links for each in split_addresses(link.url)]
        return [each for each in known if broker in ("", each)]

    # Asking --------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """True while a broker answers."""
        return self._router is not None and self._router.connected

    async def wait_ready(self) -> None:
        """Return once a broker has answered for the first time."""
        await self._met.wait()

    async def wait_clock(self) -> None:
        """Return once the brokers' time is known, by which deadlines are counted.

        Raises
        ------
        NoBrokerError
            None has ever answered.
        """
        if self._met.is_set():
            return
        with trio.move_on_after(self._patience_s):
            await self._met.wait()
            return
        raise NoBrokerError("no broker has answered yet, so nothing was performed. Ask again")

    async def ask(self, command: OwnCommand) -> Reply:
        """Have a command performed, and return the reply, which may be a refusal.

        Raises
        ------
        NoBrokerError, BusyError
        """
        (answer,) = await self._answers((command,))
        return answer.reply if isinstance(answer, Response) else Reply(answer.status, answer.error)

    async def ask_all(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        """Have commands performed together, in their order in each slot; raises as `ask`.

        They travel in one frame to each broker, so that one commit makes them durable.
        """
        answers = await self._answers(commands)
        return [
            each.reply if isinstance(each, Response) else Reply(each.status, each.error)
            for each in answers
        ]

    def tell(self, message: ToBroker) -> None:
        """Send a message to all brokers that are connected."""
        router = self._router
        assert router is not None
        for link in router.links:
            link.send(message)

    async def groups(self) -> GroupsReport:
        """Return the groups with their nodes, and the brokers' counters; raises as `ask`.

        Raises
        ------
        RefusedReportError
            A broker refuses it to who asks.
        """
        (answer,) = await self._answers((GroupsGet(),))
        if isinstance(answer, Response) and not answer.reply.ok:
            raise RefusedReportError(answer.reply)
        if isinstance(answer, Refused) or answer.report is None:
            raise NoBrokerError(f"the broker does not report its groups: {answer}")
        return answer.report

    async def functions(self, group: str) -> list[FunctionInfo]:
        """Return the functions of a group with their schemas; raises as `ask`.

        None, if the brokers are of a release before they were told.
        """
        found: list[FunctionInfo] = []
        after: tuple[str, int] | None = None
        while self._tells_functions and len(found) < FUNCTIONS_MAX:
            (answer,) = await self._answers((FunctionsGet(group, after),))
            if isinstance(answer, Refused) or answer.functions is None:
                break
            found += answer.functions.functions
            if not answer.functions.more or not answer.functions.functions:
                break
            after = found[-1].name, found[-1].version
        return found

    async def _answers(self, commands: Sequence[OwnCommand]) -> list[Answer]:
        asker = ASKER.get()
        answers: dict[int, Answer] = {}
        answered = trio.Event()

        def on_reply(place: int, answer: Answer) -> None:
            answers[place] = answer
            if len(answers) == len(commands):
                answered.set()

        with trio.move_on_after(self._patience_s):
            # Before the first welcome the brokers' time is unknown, and so is any deadline.
            await self._met.wait()
            try:
                for place, command in enumerate(commands):
                    self._request(command, partial(on_reply, place), asker)
            except LinkFullError as error:
                raise BusyError(str(error)) from None
            await answered.wait()
        if len(answers) < len(commands):
            raise NoBrokerError(
                f"no broker has answered for {self._patience_s:g} s: the request may be performed "
                "yet. Ask again with the same id"
            )
        return [answers[place] for place in range(len(commands))]

    # Watching ------------------------------------------------------------------------------------

    async def settled(self, id_: str) -> PromiseRecord | Reply:
        """Return a promise once it has settled, however long that takes; or a refusal."""
        with self.watches.waiting(id_) as watch:
            if watch.waiting == 1:
                self.watches.ask(id_)
            await watch.done.wait()
        result = watch.record or watch.refusal
        assert result is not None
        return result

    async def create(
        self,
        create: PromiseCreate,
        wait_s: float,
        wait: Callable[[Reply, trio.Event], Awaitable[object]] | None = None,
    ) -> tuple[Reply, PromiseRecord | None]:
        """Create a promise, and wait for its settlement for some time; raises as `ask`.

        Parameters
        ----------
        wait
            Given the reply to the create, waits for the event of the settlement in the caller's own
            way, instead of for `wait_s`.

        Returns
        -------
        The reply to the create, and the promise if it has settled in time.
        """
        if wait_s <= 0:
            reply = await self.ask(create)
            found = reply.promise
            return reply, found if found is not None and found.settled else None
        with self.watches.waiting(create.id) as watch:
            is_watched = False
            try:
                reply = await self.ask(PromiseCreateWatched(create))
                is_watched = reply.ok
            finally:
                if watch.waiting > 1 and not is_watched:
                    self.watches.ask(create.id)  # for those who have joined meanwhile
            if not reply.ok:
                return reply, None
            self.watches.permit(create.id)
            if reply.promise is not None and reply.promise.settled:
                self.watches.resolve((reply.promise,))
                return reply, reply.promise
            if wait is not None:
                await wait(reply, watch.done)
            else:
                with trio.move_on_after(wait_s):
                    await watch.done.wait()
        return reply, watch.record

    def follow(self, on_message: OnMessage, on_welcome: OnWelcome) -> None:
        """Tell a part of the edge each new session, and each message that is about no watch.

        Of brokers that have been met already, it learns at once.
        """
        self._followers.append((on_message, on_welcome))
        for link, welcome in self._welcomes.items():
            on_welcome(link, welcome)

    # For the router ------------------------------------------------------------------------------

    def open(self, router: Router) -> None:
        """Take the router, before it says hello to anybody."""
        self._router = router
        sealed = self._sealed
        requests = router if sealed is None else SealedRouter(router, sealed)
        self._request = partial(_request, requests, self.has_keys)
        self.watches = Watches(self._request)

    def hello(self, link: Link) -> Hello:
        """Introduce the edge to a broker."""
        del link
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind="edge",
            group=f"understudy-{self._role}",
            name=self._name,
            boot=self._boot,
            os_pid=os.getpid(),
            host=platform.node(),
            sdk=f"python {__version__}",
        )

    def on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        """Hand out settlements, and pass on everything else."""
        if self._sealed is not None:
            messages = self._sealed.open_messages(messages)
        for message in messages:
            if isinstance(message, Settled):
                self.watches.resolve(message.promises)
            else:
                for on_message, _ in self._followers:
                    on_message(link, message)

    def on_connected(self, link: Link, welcome: Welcome) -> None:
        """Watch again what is watched at that broker, which has forgotten it."""
        self._tells_functions = welcome.tells_functions
        self.takes_progress = welcome.takes_progress
        followed = self._clock_link
        if welcome.now and (followed is None or followed is link or not followed.connected):
            self._clock_link = link
            self.clock.synchronize(welcome.now, link.round_trip_ms)
        self._met.set()
        router = self._router
        assert router is not None
        self.watches.renew(partial(router.owns, link))
        self._welcomes[link] = welcome
        for _, on_welcome in self._followers:
            on_welcome(link, welcome)

    def on_disconnected(self, link: Link, why: str) -> None:
        """Forget the session; requests wait for the next one."""
        del why
        self._welcomes.pop(link, None)

    def on_link(self, link: Link) -> None:
        """Do nothing: what is to be known of a broker is in its welcome."""

    def on_gone(self, link: Link) -> None:
        """Forget the session; the router sends its requests to others."""
        self._welcomes.pop(link, None)

    def on_map(self, link: Link, slots: SlotMap) -> None:
        """Do nothing: the router follows the map."""

    def is_busy(self) -> bool:
        """Return whether a silent broker would delay somebody."""
        return bool(self.watches)

    def minds_moves(self) -> bool:
        """Return whether a broker is to be joined anew to which slots have come."""
        return bool(self.watches)

    def leaves(self) -> bool:
        """Return True: whenever an edge ends, it leaves nothing behind."""
        return True


def _request(
    requests: Router | SealedRouter,
    has_keys: bool,
    command: OwnCommand,
    on_reply: OnReply,
    asker: str | None,
) -> None:
    """Send a command; all commands of an edge go through here.

    Parameters
    ----------
    asker
        For whom it is; None: for the edge itself.

    Raises
    ------
    LinkFullError
    """
    whole: AnyCommand = command
    if asker is not None and has_keys:  # brokers without keys ask for nobody's rights
        whole = Delegated(asker, command)
    requests.request(whole, on_reply)


@asynccontextmanager
async def open_brokers(
    url: str, patience_s: float = PATIENCE_S, role: str = ROLE
) -> AsyncIterator[Brokers]:
    """Be a peer of the brokers at `url` while the block runs.

    Parameters
    ----------
    url
        The address of a broker, or several with commas between them.
    patience_s
        How long a request waits for an answer.
    role
        What this peer introduces itself as: ``edge``, or another program that does its work.

    Raises
    ------
    LinkError
        From the block, in an exception group, when a broker refuses this peer for good, or `url` is
        no address.
    ConfigurationError
        The keys of this process (UNDERSTUDY_KEY, UNDERSTUDY_SEAL_KEYS) cannot be used.
    """
    keys, sealer = process_keys(), process_sealer()
    sealed = None if sealer is None else SealedRecords(sealer)
    brokers = Brokers(patience_s, role, has_keys=keys is not None, sealed=sealed)
    way = Direct(keys)
    async with open_router(url, brokers, backlog_max=BACKLOG_MAX, way=way) as router:
        brokers.open(router)
        yield brokers
