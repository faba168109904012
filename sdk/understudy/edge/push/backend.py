"""The network as the HTTP client of an edge sees it: addresses that were checked, and no others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import httpcore
import trio

from understudy.edge.push.allow_list import AllowList, NotAllowedError
from understudy.edge.push.networks import Address
from understudy.edge.push.resolution import ResolutionError, resolve


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name once, checks each address, and connects to one of those that passed."""

    def __init__(self, scheme: str, allowed: AllowList) -> None:
        self._scheme = scheme
        self._allowed = allowed
        self._network = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host, as far as the allow-list has it.

        Raises
        ------
        NotAllowedError
            The host is not on the list, or leads to addresses only that are not allowed.
        httpcore.ConnectError, httpcore.ConnectTimeout
        """
        limit_s = math.inf if timeout is None else timeout
        with _time_limit(limit_s):
            self._allowed.check_host(self._scheme, host, port)
            error: Exception = httpcore.ConnectError(f"{host} has no address")
            for address in await _resolve(host, port):
                try:
                    self._allowed.check_address(self._scheme, host, port, address)
                    return await self._network.connect_tcp(
                        str(address), port, None, local_address, socket_options
                    )
                except (NotAllowedError, httpcore.ConnectError) as refused:
                    error = refused
            raise error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse it: no address of a push leads there."""
        del timeout, socket_options
        raise NotAllowedError(f"nothing is pushed to a Unix socket such as {path}")

    async def sleep(self, seconds: float) -> None:
        """Sleep between two attempts."""
        await trio.sleep(seconds)


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        return await resolve(host, port)
    except ResolutionError as error:
        raise httpcore.ConnectError(str(error)) from None


@contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    with trio.move_on_after(limit_s) as scope:
        yield
    if scope.cancelled_caught:
        raise httpcore.ConnectTimeout(f"no connection within {limit_s:g} s")
