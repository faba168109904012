"""Conversations with a broker: generators that yield batches of commands and get their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import AnyCommand
from understudy_store.commands import Reply

Answer: TypeAlias = Reply | CommandError

_T = TypeVar("_T")
#: yields commands that may be under way at once, is sent their answers in order, and returns a T
Conversation: TypeAlias = Generator[Sequence[AnyCommand], Sequence[Answer], _T]


def hold(
    conversation: Conversation[_T],
    ask: Callable[[Sequence[AnyCommand]], Sequence[Answer]],
    goes_on: Callable[[], bool] = lambda: True,
) -> _T | None:
    """Hold a conversation to its end, batch after batch.

    Parameters
    ----------
    ask
        Sends commands, and returns their answers in order, a refusal as the error.
    goes_on
        Asked before each batch; False ends the conversation there, and all that is under way has
        been answered.

    Returns
    -------
    What the conversation returns; None if it was ended.
    """
    try:
        commands = next(conversation)
        while goes_on():
            commands = conversation.send(ask(commands))
    except StopIteration as end:
        found: _T = end.value
        return found
    conversation.close()
    return None


async def hold_async(
    conversation: Conversation[_T],
    ask_all: Callable[[Sequence[Any]], Awaitable[Sequence[Reply]]],
    goes_on: Callable[[], bool] = lambda: True,
) -> _T | None:
    """Hold a conversation from a task of an event loop, as `hold` does.

    Parameters
    ----------
    ask_all
        Sends commands, and returns their replies in order, refusals among them: the method of that
        name of an edge's brokers.
    """
    try:
        commands = next(conversation)
        while goes_on():
            replies = await ask_all(commands)
            commands = conversation.send([_answer(each) for each in replies])
    except StopIteration as end:
        found: _T = end.value
        return found
    conversation.close()
    return None


def _answer(reply: Reply) -> Answer:
    return reply if reply.ok else CommandError(reply.status, reply.error or "")


def accepted(answer: Answer) -> Reply:
    """Return an answer that must not be a refusal; raises `CommandError` if it is one."""
    if isinstance(answer, CommandError):
        raise answer
    return answer
