"""Conversations with a broker: generators that yield batches of commands and get their answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias, TypeVar

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


def accepted(answer: Answer) -> Reply:
    """Return an answer that must not be a refusal; raises `CommandError` if it is one."""
    if isinstance(answer, CommandError):
        raise answer
    return answer
