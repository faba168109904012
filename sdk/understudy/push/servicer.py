"""Pushes in gRPC servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy import extras
from understudy.errors import ConfigurationError
from understudy.push.receiver import PushReceiver
from understudy.runtime import Runtime

if TYPE_CHECKING:
    import grpc
    from grpc import aio


def add_push_servicer(
    server: grpc.Server | aio.Server,
    runtime: Runtime,
    *,
    key: str | None = None,
    hold: bool = False,
) -> None:
    """Have a gRPC server take pushes: the service ``understudy.v1.Receiver``.

    Parameters
    ----------
    server : grpc.Server or grpc.aio.Server
        A server that has not started yet. Its other services are as they were.
    runtime : Runtime
        The runtime with the functions, as for `PushASGI`.
    key : str, optional
        The key that the edge signs with, as for `PushASGI`.
    hold : bool, optional
        Answer only once the task is performed, suspended or given back. In a `grpc.Server`, each
        answer that is held keeps a thread of its pool.

    Raises
    ------
    ConfigurationError
        There is no key, or it is none; or grpcio is not installed.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import grpc
    >>> from understudy import Runtime
    >>> from understudy.push import add_push_servicer
    >>> runtime = Runtime(url="http://10.0.0.5:8001")
    >>> server = grpc.server(ThreadPoolExecutor(8))
    >>> add_push_servicer(server, runtime, key="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    """
    if name := extras.missing("grpc", "google.protobuf"):
        raise ConfigurationError(extras.advice("a receiver of pushes over gRPC", name, "grpc"))
    # Imported here, because not everybody who takes pushes needs grpcio.
    from understudy.push import rpc

    rpc.add(PushReceiver(runtime, key, hold, rpc.offer_of), server)
