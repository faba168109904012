"""The service ``understudy.v1.Receiver``, for both kinds of servers that grpcio has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio

from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.push.receiver import Offer, PushReceiver

NAME: Final = v1.DESCRIPTOR.services_by_name["Receiver"].full_name
#: statuses of answers; those of 2xx are OK
_CODES: Final[Mapping[HTTPStatus, StatusCode]] = {
    HTTPStatus.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: StatusCode.UNAUTHENTICATED,
    HTTPStatus.SERVICE_UNAVAILABLE: StatusCode.UNAVAILABLE,
}


def offer_of(body: bytes) -> Offer | None:
    """Return the task of a push; None: it is a settlement.

    Raises
    ------
    ValueError
        It is no push.
    """
    try:
        push = v1.Push.FromString(body)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    what = push.WhichOneof("what")
    if what is None:
        raise ValueError("it has neither a task nor a settlement")
    return Offer(push.execute.id, push.execute.version) if what == "execute" else None


def add(receiver: PushReceiver, server: grpc.Server | aio.Server) -> None:
    """Have a server take pushes."""

    def take(request: v1.PushRequest, context: grpc.ServicerContext) -> v1.PushResponse:
        taken = receiver.take(_headers(context.invocation_metadata()), request.push)
        answer = taken.result() if isinstance(taken, Future) else taken
        if not answer.is_taken:
            context.abort(_CODES[answer.status], answer.text)
        return v1.PushResponse()

    async def take_async(
        request: v1.PushRequest, context: aio.ServicerContext[Any, Any]
    ) -> v1.PushResponse:
        taken = receiver.take(_headers(context.invocation_metadata() or ()), request.push)
        answer = await asyncio.wrap_future(taken) if isinstance(taken, Future) else taken
        if not answer.is_taken:
            await context.abort(_CODES[answer.status], answer.text)
        return v1.PushResponse()

    method: Any = grpc.unary_unary_rpc_method_handler(
        take_async if isinstance(server, aio.Server) else take,
        request_deserializer=v1.PushRequest.FromString,
        response_serializer=v1.PushResponse.SerializeToString,
    )
    handler: Any = grpc.method_handlers_generic_handler(NAME, {"Push": method})
    server.add_generic_rpc_handlers((handler,))


def _headers(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    return {name: text for name, text in metadata if isinstance(text, str)}
