"""Operations for the bearer of a token; on the trio loop, where each request is a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from grpc import StatusCode

from understudy.edge.asker import ASKER
from understudy.edge.grpc.statuses import Refusal
from understudy.edge.tokens.gate import TokenGate

T = TypeVar("T")


async def performed(
    gate: TokenGate | None,
    authorization: Sequence[str | bytes],
    operation: Callable[..., Awaitable[T]],
    *args: Any,
) -> T:
    """Perform an operation for who has sent a token.

    Parameters
    ----------
    gate
        Says whose a token is; None: no tokens are asked for.
    authorization
        The values of all metadata ``authorization``.

    Raises
    ------
    RefusedError
        The token is not taken. Otherwise what the operation raises.
    """
    if gate is not None:
        ASKER.set((await gate.bearer(authorization)).identity)
    return await operation(*args)


async def watched(
    gate: TokenGate | None,
    authorization: Sequence[str | bytes],
    operation: Callable[..., Awaitable[None]],
    *args: Any,
) -> None:
    """Perform the operation of a stream, until its token is no longer taken; as `performed`.

    Raises
    ------
    Refusal
        The token has expired, or was taken out of the file.
    """
    if gate is None:
        await operation(*args)
        return
    bearer = await gate.bearer(authorization)
    ASKER.set(bearer.identity)
    with gate.lease(authorization, bearer) as lease:
        lease.end_with_token()
        await operation(*args)
    if lease.scope.cancelled_caught:
        raise Refusal(
            StatusCode.UNAUTHENTICATED,
            "the token is no longer taken: resume with another one, and with the position of the "
            "last event",
        )
