"""The brokers of a deployment as they answer by themselves, also if some of them are down.

Other commands ask through a router, which makes one answer of all and waits for each broker. Here
each is asked over a link of its own, for a short time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import trio

from understudy.client.address import broker_address
from understudy.client.keys import process_keys
from understudy.client.strangers import Found, flaw, passing_hello
from understudy.client.way import open_way
from understudy.errors import BrokerUnavailableError, ConfigurationError, innermost
from understudy_broker.address import split_addresses
from understudy_broker.errors import LinkError
from understudy_broker.link.link import Link, open_link
from understudy_broker.protocol.messages import (
    AnyCommand,
    GroupsGet,
    GroupsReport,
    Response,
    SlotMap,
    ToPeer,
    Welcome,
)
from understudy_broker.protocol.placement import merged, owners
from understudy_store.commands import Reply
from understudy_store.slots import SLOTS

#: seconds in which a broker must answer; short, because a person is waiting
PATIENCE_S: Final = 1.5
#: seconds in which other addresses may answer after the first one
OTHERS_S: Final = 0.3

_NO_ANSWER: Final = "no broker answers"


class Placement(NamedTuple):
    """The brokers of a deployment, and the owner of each slot.

    Attributes
    ----------
    deployment
        The name of the deployment; empty for a single broker that has none.
    version
        The version of the map of slots. None: there is one broker, which has all slots.
    brokers
        Name and address of each.
    owners
        The name of the broker of each slot; None: nobody has it at the moment.
    """

    deployment: str
    version: int | None
    brokers: tuple[tuple[str, str], ...]
    owners: list[str | None]

    def slots_of(self, broker: str | None) -> list[int]:
        """Return the slots of a broker, in order."""
        return [slot for slot, owner in enumerate(self.owners) if owner == broker]


class BrokerStatus(NamedTuple):
    """One broker of a deployment.

    Attributes
    ----------
    report
        Its own report on its groups, with its counters. None: it has not answered.
    problem
        Why not, in words, if more is known than that nothing answers there.
    is_there
        It accepts connections, whether it has answered the question or not.
    """

    name: str
    address: str
    slots: list[int]
    report: GroupsReport | None
    problem: str | None
    is_there: bool


class _Answer(NamedTuple):
    welcome: Welcome | None
    report: GroupsReport | None
    problem: str | None


def read_placement(url: str | None) -> Placement:
    """Ask for the owners of all slots: the first broker that answers, and then the others.

    Parameters
    ----------
    url
        The address of a broker, or several; by default that of the environment.

    Raises
    ------
    BrokerUnavailableError
        None of them answers in time.
    """
    return trio.run(_read_placement, broker_address(url))


def read_statuses(url: str | None) -> list[BrokerStatus]:
    """Ask each broker of the deployment for its report, all at the same time; raises as above."""
    return trio.run(_read_statuses, broker_address(url))


def ask(url: str, address: str, commands: Sequence[AnyCommand]) -> list[Reply]:
    """Ask one broker by itself, and return its replies in the order of the commands.

    Parameters
    ----------
    url
        That of the deployment: if it leads through an edge, so does the question.

    Raises
    ------
    BrokerUnavailableError
        It does not answer in time.
    """
    return trio.run(_ask_for_replies, url, address, commands)


async def _ask_for_replies(url: str, address: str, commands: Sequence[AnyCommand]) -> list[Reply]:
    replies: list[Reply] = []
    problem = ""
    try:
        async with _open(url, address) as link:
            with trio.move_on_after(PATIENCE_S):
                await link.wait_connected()
                for command in commands:
                    answer = await link.call(command)
                    if not isinstance(answer, Response):
                        problem = answer.error
                        break
                    replies.append(answer.reply)
    except* LinkError as errors:
        problem = str(innermost(errors))
    if len(replies) < len(commands):
        raise BrokerUnavailableError(address, problem, others_answer=True)
    return replies


async def _read_placement(url: str) -> Placement:
    address, welcome = await _first_welcome(url)
    # A slot may have moved without the knowledge of the broker that answered first.
    answers = await _ask_all(url, _placement(address, welcome, []).brokers, wants_report=False)
    return _placement(address, welcome, [each.welcome for each in answers.values()])


async def _read_statuses(url: str) -> list[BrokerStatus]:
    address, welcome = await _first_welcome(url)
    brokers = _placement(address, welcome, []).brokers
    answers = await _ask_all(url, brokers, wants_report=True)
    placement = _placement(address, welcome, [each.welcome for each in answers.values()])
    if unknown := [broker for broker in placement.brokers if broker not in brokers]:
        answers.update(await _ask_all(url, unknown, wants_report=True))
        brokers = placement.brokers
    return [_status(name, address, placement, welcome, answers[name]) for name, address in brokers]


def _placement(address: str, first: Welcome, others: Iterable[Welcome | None]) -> Placement:
    """Return the placement by all maps in the welcomes of a deployment."""
    if first.slots is None:
        sole = first.broker
        return Placement(first.deployment, None, ((sole, address),), [sole] * SLOTS)
    known: SlotMap = first.slots
    for other in others:
        if other is None or other.slots is None or other.deployment != first.deployment:
            continue
        known = merged(known, other.slots)
    return Placement(first.deployment, known.version, known.brokers, owners(known))


def _status(
    name: str, address: str, placement: Placement, first: Welcome, answer: _Answer
) -> BrokerStatus:
    found, report, problem = answer
    if found is not None and (found.broker, found.deployment) != (name, first.deployment):
        report = None
        problem = (
            f"the broker at {address} is {found.broker!r} of the deployment {found.deployment!r}, "
            f"and not {name!r} of {first.deployment!r}: check the addresses"
        )
    is_there = found is not None and problem is None
    if is_there and report is None:
        problem = (
            f"it accepts connections at {address}, but does not answer requests: most often it "
            "waits for its database or disk, or has too much to do. Its log says which"
        )
    return BrokerStatus(name, address, placement.slots_of(name), report, problem, is_there)


# Links -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _open(url: str, address: str) -> AsyncIterator[Link]:
    """Open a link to a broker, through the edge at `url` if it is one."""
    async with (
        open_way(url, process_keys()) as way,
        open_link(address, passing_hello, _ignore, way=way) as link,
    ):
        yield link


async def _first_welcome(url: str) -> tuple[str, Welcome]:
    """Ask all addresses at the same time; return the first that answers, and its welcome.

    Raises
    ------
    BrokerUnavailableError
        None of them answers.
    ConfigurationError
        They lead to two deployments.
    """
    found: list[Found] = []
    problems: list[str] = []
    async with trio.open_nursery() as nursery:

        async def ask(address: str) -> None:
            answer = await _ask(address, address)
            if answer.welcome is not None:
                found.append(Found(address, answer.welcome))
                # Others that answer may be of another deployment; those that are away are left.
                nursery.cancel_scope.deadline = min(
                    nursery.cancel_scope.deadline, trio.current_time() + OTHERS_S
                )
            elif answer.problem is not None:
                problems.append(answer.problem)

        for address in split_addresses(url):
            nursery.start_soon(ask, address)
    if not found:
        raise BrokerUnavailableError(url, "; ".join(problems))
    if wrong := flaw(url, found):
        raise ConfigurationError(wrong)
    return found[0]


async def _ask_all(
    url: str, brokers: Iterable[tuple[str, str]], *, wants_report: bool
) -> dict[str, _Answer]:
    """Ask brokers at the same time, each at its address; return the answers by name."""
    answers: dict[str, _Answer] = {}

    async def ask(name: str, address: str) -> None:
        answers[name] = await _ask(url, address, wants_report=wants_report)

    async with trio.open_nursery() as nursery:
        for broker in brokers:
            nursery.start_soon(ask, *broker)
    return answers


async def _ask(url: str, address: str, *, wants_report: bool = False) -> _Answer:
    """Ask one broker for its welcome, and for its report."""
    welcome: Welcome | None = None
    report: GroupsReport | None = None
    problem: str | None = None
    last_error: str | None = None
    try:
        async with _open(url, address) as link:
            with trio.move_on_after(PATIENCE_S):
                welcome = await link.wait_connected()
                if wants_report:
                    answer = await link.call(GroupsGet())
                    if isinstance(answer, Response):
                        report = answer.report
                    else:
                        problem = answer.error
            last_error = link.last_error
    except* LinkError as errors:
        problem = str(innermost(errors))
    if problem is None and welcome is None:
        problem = last_error
    if problem is not None and problem.startswith(_NO_ANSWER):
        problem = None
    return _Answer(welcome, report, problem)


def _ignore(messages: Sequence[ToPeer]) -> None:
    """Ignore what is no answer to a request."""
