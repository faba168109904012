"""Faults of calls through queues: of connectors, and of task sources."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk").mutant
_DELIVERIES: Final = "connectors/test_deliveries.py"
_THREAD: Final = "connectors/test_server_thread.py"
_FEED: Final = "task_source/test_feed.py"
_MESSAGES: Final = "task_source/test_messages.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "connector-delivers-to-any-queue",
        None,
        "a connector puts only into queues that it was told of",
        "understudy.connectors.deliveries.Deliveries.queue_for",
        swap("not allows(self._patterns, queue.name)", "False"),
        _DELIVERIES,
    ),
    _mutant(
        "connector-delivers-for-other-servers",
        None,
        "a connector puts only into queues of its server",
        "understudy.connectors.deliveries.Deliveries.queue_for",
        swap("place_of(address) not in self._server.places", "False"),
        _DELIVERIES,
    ),
    _mutant(
        "puts-of-a-lost-server-succeed",
        13,
        "what was not confirmed is not said to be delivered",
        "understudy.connectors.server_thread.ServerThread._put",
        drop("put.error = error"),
        _THREAD,
    ),
    _mutant(
        "server-is-not-opened-again",
        None,
        "a connector connects again when it has lost its server",
        "understudy.connectors.server_thread.ServerThread._stay_connected",
        swap("await asyncio.sleep(pause_s)", "return"),
        _THREAD,
    ),
    _mutant(
        "message-acknowledged-before-its-task-is-acquired",
        13,
        "a message is acknowledged once its task is acquired or refused",
        "understudy.task_source.feed.TaskFeed._acquire",
        swap(
            "answer, _ = self._taker.acquire(offer.id, offer.version)",
            "self._window.file(entry); answer, _ = self._taker.acquire(offer.id, offer.version)",
        ),
        _FEED,
    ),
    _mutant(
        "message-dropped-without-a-broker",
        13,
        "a message is kept while no broker answers",
        "understudy.task_source.feed.TaskFeed._take_answers",
        swap("isinstance(error, CommandError)", "True"),
        _FEED,
    ),
    _mutant(
        "messages-are-hoarded",
        None,
        "what was sent ahead is given back if there is no room",
        "understudy.task_source.feed.TaskFeed._wait_for_room",
        drop("self._queue.give_back()"),
        _FEED,
    ),
    _mutant(
        "more-is-taken-than-there-is-room-for",
        None,
        "messages whose acquire is unanswered count as tasks",
        "understudy.task_source.feed.TaskFeed._poll",
        swap("self._taker.room - window.unfiled", "self._taker.room"),
        _FEED,
    ),
    _mutant(
        "settlements-are-taken-for-offers",
        None,
        "only a message of the kind execute offers a task",
        "understudy.task_source.messages.parse_offer",
        swap('message.kind != "execute" or task is None', "task is None"),
        _MESSAGES,
    ),
)
